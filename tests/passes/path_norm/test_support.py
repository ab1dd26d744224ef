"""The support of path-norms: refusals and weights are foreseen without computing one."""

import numpy as np
import pytest
from hypothesis import given

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.support import support
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.testing import samples
from pathlift.testing.strategies import graphs


def check_foreseen(graph: Graph) -> None:
    """The first node refused is the one at which a path-norm stops; without one, it does not stop."""
    foreseen = list(support(StripHead().run(graph).graph).refused.values())
    if not foreseen:
        PathNorm().run(graph)
        return
    with pytest.raises(UnsupportedError) as caught:
        PathNorm().run(graph)
    assert str(caught.value) == str(foreseen[0])


@given(graphs())
def test_refusals_of_random_graphs(graph: Graph) -> None:
    check_foreseen(graph)


@pytest.mark.parametrize("name", samples())
def test_refusals_of_samples(name: str) -> None:
    check_foreseen(samples()[name])


@pytest.mark.parametrize(
    ("op", "operands", "refused"),
    [
        ("Gemm", ("x", "x"), True),
        ("Gemm", ("x", "transposed"), False),
        ("Gemm", ("x", "relu"), True),  # a ReLU makes neurons, whose paths start at biases, of a parameter
        ("Gemm", ("w", "w"), False),
        ("Mul", ("w", "x"), True),
        ("Mul", ("x", "product"), False),
        ("Div", ("x", "relu"), True),
        ("PRelu", ("x", "relu"), True),
        ("PRelu", ("x", "w"), False),
        ("Add", ("relu", "x"), False),
        ("BatchNormalization", ("x", "v", "v", "v", "v"), False),
        ("BatchNormalization", ("x", "v", "v", "v", "y"), True),
    ],
)
def test_parameters_are_told_from_neurons(op: str, operands: tuple[str, ...], refused: bool) -> None:
    b = Builder()
    b.input("x", (2, 2))
    b.input("y", (2,))
    w = b.param(np.full((2, 2), 0.5, np.float32), "w")
    b.param(np.ones(2, np.float32), "v")
    b.op("Transpose", w, perm=(1, 0), name="transposed")
    b.op("Mul", w, w, name="product")
    b.op("Relu", w, name="relu")
    graph = b.finish(b.op(op, *operands, name="result"))
    assert set(support(graph).refused) == ({"result"} if refused else set())
    check_foreseen(graph)


def test_nodes_with_weights() -> None:
    b = Builder()
    x, vector, number = b.input("x", (1, 2)), b.param([1.0, 2.0]), b.param(3.0)
    layers = [
        b.op("Gemm", x, b.param([[1.0], [2.0]])),
        b.op("Mul", x, vector),
        b.op("Div", x, vector),
        b.op("Mul", x, b.op("Mul", vector, number)),
    ]
    others = [b.op("Div", x, number), b.op("Mul", vector, vector), b.op("Neg", x), b.op("Add", x, vector)]
    assert support(b.finish(*layers, *others)).weighted == {v.node for v in layers}
