"""Channels behind a node: factors on them before it are factors on them behind it, for every op's samples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import TensorType
from pathlift.passes.layers.layer_pairs import Intermediate, _behind
from pathlift.testing.samples import samples


def places() -> Iterator[tuple[str, Graph, int, Intermediate | None]]:
    for name, graph in samples().items():
        (key,) = (k for k in graph.order if graph[k].op not in ("Input", "Param"))
        (type_,) = graph[graph.inputs[0]].types
        assert isinstance(type_, TensorType)
        for axis in range(1, type_.rank):
            yield name, graph, axis, _behind(graph, Intermediate(graph.inputs[0], axis, 1), key)


FOUND = [(name, graph, axis, stop) for name, graph, axis, stop in places() if stop is not None]
CASES = [pytest.param(*row[1:], id=f"{row[0]}-{row[2]}") for row in FOUND]


@pytest.mark.parametrize(("graph", "axis", "stop"), CASES)
def test_factors_pass(graph: Graph, axis: int, stop: Intermediate) -> None:
    (type_,) = graph[graph.inputs[0]].types
    shape = [d if isinstance(d, int) else 2 for d in type_.shape]
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factors = torch.arange(1, shape[axis] + 1, dtype=torch.float64) / 4

    def along(values: torch.Tensor, at: int, rank: int) -> torch.Tensor:
        return values.reshape([-1 if i == at else 1 for i in range(rank)])

    (y,) = evaluate(Numeric(), graph[stop.key], (x,))
    (z,) = evaluate(Numeric(), graph[stop.key], (x * along(factors, axis, x.ndim),))
    expected = y * along(factors.repeat_interleave(stop.repeats), stop.axis, y.ndim)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)


def test_which_ops_channels_pass() -> None:
    listed = "Relu LeakyRelu Abs Neg Identity Clip/relu MaxPool AveragePool ReduceMean ReduceSum ReduceMax ReduceMin"
    expected = {*listed.split(), "Squeeze", "Flatten", "TopK/sort"}
    assert {name for name, *_ in FOUND} >= expected
    assert {name.split("/")[0] for name, *_ in FOUND} == {name.split("/")[0] for name in expected}


@pytest.mark.parametrize(("row", "repeats"), [(120, 30), (30, None), (60, None), (240, None)])
def test_rows_are_examples(row: int, repeats: int | None) -> None:
    graph = parse_graph(f"%x = Input : f32[2, 4, 5, 6]\n%y = Reshape(%x) {{shape=[-1, {row}]}}\nreturn %y")
    assert _behind(graph, Intermediate("x", 1, 1), "y") == (None if repeats is None else Intermediate("y", 1, repeats))
