"""A final Softmax goes, whatever hands its scores on."""

from __future__ import annotations

import pytest

from pathlift.ir.text import parse_graph
from pathlift.passes.rewrites.strip_head import StripHead

VIEWS = [
    *("Identity(%p)", 'Cast(%p) {to="f64"}', "Flatten(%p)", "Transpose(%p) {perm=[1, 0]}", "Concat(%p, %p) {axis=0}"),
    *("Gather(%p) {axis=1, indices=[2, 0]}", "Tile(%p) {repeats=[2, 1]}", "Pad(%p) {pads=[0, -1, 0, 0]}", "Max(%p)"),
]
OTHERS = ["Neg(%p)", "Pad(%p) {pads=[0, 1, 0, 0]}", "Max(%p, %x)", "TopK(%p) {k=1}", "ReduceMax(%p)", "Clip(%p)"]


@pytest.mark.parametrize("node", VIEWS + OTHERS)
def test_behind_it_are_views_only(node: str) -> None:
    graph = parse_graph(f"%x = Input : f32[2, 3]\n%p = Softmax(%x)\n%y = {node}\nreturn %y")
    stripped = StripHead().run(graph)
    stripped.witness.check(graph, stripped.graph)
    assert (stripped.graph["p"].op == "Identity") == (node in VIEWS)
