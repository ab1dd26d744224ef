"""Kronecker-sparse maps: what the program adds, in which order, and to what shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import GraphError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense
from pathlift.ir.types import DTYPES, TensorType
from pathlift.testing import execute

PATTERN = Pattern(1, 2, 3, 2)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal(PATTERN.shape).astype(np.float32)
BIAS = RNG.standard_normal(PATTERN.rows).astype(np.float32)
ACTIVATIONS: dict[str, Any] = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Gelu": torch.nn.functional.gelu,
    "GeluTanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}


def layer(x: Any, residual: Any, *, bias: bool = True, dtype: str = "f32", **options: Any) -> Graph:
    b = Builder()
    operands = b.input("x", x), b.param(WEIGHTS), b.param(BIAS) if bias else None, b.input("r", residual, dtype)
    return b.finish(b.op("KSLinear", *operands, name="y", pattern=tuple(PATTERN), **options))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("feature_major", [False, True])
def test_the_activation_is_of_the_whole_sum(activation: str, bias: bool, feature_major: bool) -> None:
    x, r = RNG.standard_normal((5, PATTERN.cols)), RNG.standard_normal((5, PATTERN.rows))
    product = x @ dense(WEIGHTS.astype(np.float64)).T + bias * BIAS.astype(np.float64)
    expected = ACTIVATIONS[activation](torch.from_numpy(product + r)).numpy()
    if feature_major:
        x, r, expected = x.T, r.T, expected.T
    graph = layer(x.shape, r.shape, bias=bias, feature_major=feature_major, activation=activation)
    np.testing.assert_allclose(execute(graph, {"x": x, "r": r})["y"], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("residual", [(4,), (1, 4), (3, 1), (2, 3, 4), (4, 3), (3, 5), (), ("N", 1)])
def test_a_residual_is_not_broadcast(residual: tuple[Any, ...]) -> None:
    with pytest.raises(GraphError, match="PL0547"):
        layer((3, 6), residual)


@pytest.mark.parametrize("residual", [(1, 3), (3, 4), (4, 1), (4,)])
def test_nor_is_one_of_features_first(residual: tuple[int, ...]) -> None:
    with pytest.raises(GraphError, match="PL0547"):
        layer((6, 3), residual, feature_major=True)


def test_a_residual_does_not_enlarge_the_result() -> None:
    for x, residual in (((1, 6), (3, 4)), ((6,), (3, 4)), (("N", 6), (3, "N", 4))):
        with pytest.raises(GraphError, match="PL0547"):
            layer(x, residual)


def test_of_another_element_type_it_is_refused() -> None:
    with pytest.raises(GraphError, match="PL0543"):
        layer((3, 6), (3, 4), dtype="f64")


@pytest.mark.parametrize(("n", "m"), [(1, 3), (3, 1), (2, 3)])
def test_extents_that_turn_out_to_differ_are_refused_at_last(n: int, m: int) -> None:
    graph = layer(("N", 6), ("M", 4))
    assert execute(graph, {"x": np.ones((2, 6)), "r": np.ones((2, 4))})["y"].shape == (2, 4)
    with pytest.raises(GraphError, match="PL0547"):
        execute(graph, {"x": np.ones((n, 6)), "r": np.ones((m, 4))})


def test_what_is_known_of_the_residual_is_known_of_the_result() -> None:
    graph = layer(("N", 6), (3, 4))
    assert graph.type_of(graph.outputs[0]) == TensorType(DTYPES["f32"], (3, 4))
