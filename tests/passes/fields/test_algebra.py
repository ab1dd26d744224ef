"""Fields through the primitives, against tensors of absolute values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import Activation
from pathlift.ir.text import parse_graph
from pathlift.ir.types import TensorType
from pathlift.passes.fields.algebra import FieldAlgebra
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.semiring import Maxima, Sums
from pathlift.passes.fields.weight import Weight


class Linear(FieldAlgebra):
    """The least analysis there is: activations do nothing."""

    name = "linear"

    def activate(self, x: Field, f: Activation, *slopes: Weight) -> Field:
        return x


def classed(labels: list[int], values: list[float]) -> Field:
    """A vector that holds one value per class."""
    whole = Field.ones((len(values),), torch.float64, torch.device("cpu"), classes=False)
    return Field(whole.value.moved(lambda t: t * torch.tensor(values, dtype=torch.float64)), (np.array(labels),))


def result(graph: Graph, algebra: FieldAlgebra, **feeds: Field) -> np.ndarray:
    given = {name: feeds.get(name) or algebra_ones(graph, algebra, name) for name in graph.inputs}
    (y,) = run(graph, algebra, given).values()
    return torch.exp2(algebra.signal(y).log2()).numpy()


def algebra_ones(graph: Graph, algebra: FieldAlgebra, name: str) -> Field:
    type_ = graph[name].types[0]
    assert isinstance(type_, TensorType)
    shape = [n for n in type_.shape or () if isinstance(n, int)]
    return Field.ones(tuple(shape), algebra.dtype, algebra.device)


def test_a_signal_along_an_axis_keeps_its_classes() -> None:
    algebra, ones = Linear(Sums(1.0)), Field.ones((1, 4, 2, 4), torch.float64, torch.device("cpu"))
    y = algebra.add(ones, classed([0, 0, 1, 1], [1.0, 2.0]), axis=1)
    expected = 1 + np.array([1.0, 1.0, 2.0, 2.0]).reshape(1, 4, 1, 1) * np.ones((1, 4, 2, 4))
    np.testing.assert_allclose(torch.exp2(algebra.signal(y).log2()).numpy(), expected, rtol=1e-12)


DIAMOND = """
    %x = Input : f32[1, 2]
    %w = Param {value=[[1.0, -3.0], [2.0, 0.5]]} : f32[2, 2]
    %b = Param {value=[-1.0, 4.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %y = ReduceMax(%h) {axes=[1], keepdims=false}
    return %y
"""


@pytest.mark.parametrize(
    ("semiring", "pools", "expected"),
    [
        (Sums(1.0), Sums(1.0), (1 + 2 + 1) + (3 + 0.5 + 4)),
        (Sums(2.0), Sums(2.0), (1 + 4 + 1) + (9 + 0.25 + 16)),
        (Sums(1.0), Maxima(), max(1 + 2 + 1, 3 + 0.5 + 4)),
        (Maxima(), Maxima(), 4),
    ],
)
def test_what_meets_in_sums_and_in_pools(semiring: Sums, pools: Sums, expected: float) -> None:
    algebra = Linear(semiring)
    algebra.pools = pools
    np.testing.assert_allclose(result(parse_graph(DIAMOND), algebra), [expected], rtol=1e-12)


def test_what_is_averaged_is_no_pool() -> None:
    algebra = Linear(Sums(1.0))
    algebra.pools = Maxima()
    averaged = parse_graph(DIAMOND.replace("ReduceMax", "ReduceMean"))
    np.testing.assert_allclose(result(averaged, algebra), [(4 + 7.5) / 2], rtol=1e-12)


@pytest.mark.parametrize("factor", [-1.0, 1.0, 3.0])
def test_numbers_scale_both_sorts(factor: float) -> None:
    algebra, ones = Linear(Sums(2.0)), Field.ones((2,), torch.float64, torch.device("cpu"))
    weight = Weight(torch.tensor([1.0, -2.0], dtype=torch.float64))
    scaled, product = algebra.scale(ones, factor), algebra.scale(weight, factor)
    assert isinstance(scaled, Field)
    assert isinstance(product, Weight)
    assert torch.exp2(scaled.log2()).tolist() == pytest.approx([factor**2] * 2)
    assert product.values.tolist() == [factor, -2 * factor]


def test_activations_are_for_the_analysis_to_say() -> None:
    graph = parse_graph("%x = Input : f32[1, 2]\n%y = Relu(%x)\nreturn %y")
    with pytest.raises(UnsupportedError, match=r"PL0302 node 'y' .*: this analysis has no rule for an activation"):
        result(graph, FieldAlgebra(Sums(1.0)))
