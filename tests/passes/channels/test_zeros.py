"""Slices that are always 0: what is claimed is so, and what plainly is so is claimed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.zeros import zero_slices
from pathlift.testing.removal import with_zero_slices
from pathlift.testing.strategies import feeds, graphs


def check(data: Any, graph: Graph) -> None:
    graph = with_zero_slices(graph, np.random.default_rng(data.draw(st.integers(0, 99))))
    zero, numeric = zero_slices(graph), Numeric()
    x = data.draw(feeds(graph))

    def observe(key: str, node: Any, inputs: Any, outputs: Any) -> None:
        for port, y in enumerate(outputs):
            for axis, marks in enumerate(zero[Value(key, port)]):
                if marks is not None and len(marks) == y.shape[axis]:
                    assert not np.moveaxis(np.asarray(y), axis, 0)[marks].any(), f"{node.label} axis {axis}"

    try:
        run(graph, numeric, {name: numeric.tensor(v) for name, v in x.items()}, observe=observe)
    except PathliftError:
        return


@settings(max_examples=25)
@given(st.data())
def test_random_graphs(data: Any) -> None:
    check(data, data.draw(graphs()))


def test_zeros_go_through_layers() -> None:
    graph = parse_graph("""
        %x = Input : f32[N, 2]
        %w = Param {value=[[1.0, 0.0, 0.0], [3.0, 0.0, 1.0]]} : f32[2, 3]
        %b = Param {value=[1.0, 0.0, 0.0]} : f32[3]
        %h = Gemm(%x, %w, %b)
        %r = Relu(%h)
        %s = Sigmoid(%h)
        %v = Param {value=[[0.0, 2.0], [5.0, 0.0], [0.0, 0.0]]} : f32[3, 2]
        %y = Gemm(%r, %v)
        %z = Gemm(%s, %v)
        return %y, %z
    """)
    zero = {graph.name_of(v): axes for v, axes in zero_slices(graph).items()}
    assert [None if m is None else m.tolist() for m in zero["r"]] == [None, [False, True, False]]
    assert zero["s"] == (None, None)
    assert [None if m is None else m.tolist() for m in zero["y"]] == [None, [True, False]]
    assert zero["z"] == (None, None)
