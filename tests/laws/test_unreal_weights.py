"""Weights that are no real numbers, and batch norms without a variance: every verb says the same of them, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pathlift
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param

VERBS: dict[str, Callable[[Graph], Any]] = {
    "norm": pathlift.norm,
    "norm, q = 0": lambda g: pathlift.norm(g, q=0),
    "norm, max": lambda g: pathlift.norm(g, pooling="max"),
    "heaviest path": lambda g: pathlift.norm(g, heaviest_path=True),
    "shares": lambda g: pathlift.norm(g, per_weight=True),
    **{norm: lambda g, n=norm: pathlift.canonicalize(g, norm=n) for norm in ("l1", "l2", "balanced")},  # type: ignore[misc]  # mypy knows no type of a lambda with a default
    "path-conditioned": lambda g: pathlift.canonicalize(g, norm="path-conditioned"),
    "random-rescale": lambda g: [p.numpy() for p in map(_param(pathlift.opt(g, "random-rescale").graph), "wgbsv")],
    "compare": lambda g: pathlift.compare(g, g, modulo=("rescaling",)),
    "compare, channels": lambda g: pathlift.compare(g, g, modulo=["permutation"]),
}


def _param(graph: Graph) -> Callable[[str], Param]:
    def found(key: str) -> Param:
        value = graph[key].value
        assert value is not None
        return value

    return found


def graph(*, weight: str = "1", variance: str = "1", epsilon: float = 0.0) -> Graph:
    return parse_graph(f"""
graph "g" {{}}
%x = Input : f32[N, 2]
%w = Param {{value=[[{weight}, 2], [3, 4]]}} : f32[2, 2]
%h = Gemm(%x, %w) : f32[N, 2]
%g = Param {{value=[1, 1]}} : f32[2]
%b = Param {{value=[0, 0]}} : f32[2]
%m = Param {{value=[0, 0]}} : f32[2]
%s = Param {{value=[1, {variance}]}} : f32[2]
%n = BatchNormalization(%h, %g, %b, %m, %s) {{epsilon={epsilon!r}}} : f32[N, 2]
%r = Relu(%n) : f32[N, 2]
%v = Param {{value=[[1, 2], [3, 4]]}} : f32[2, 2]
%y = Gemm(%r, %v) : f32[N, 2]
return %y
""")


@pytest.mark.parametrize("verb", VERBS)
def test_a_nan_is_called_nan(verb: str) -> None:
    with pytest.raises(PathliftError) as error:
        VERBS[verb](graph(weight="nan"))
    assert (error.value.code, error.value.exit_code) == ("PL0180", 3)
    assert error.value.message == "tensor 'w': 1 of 4 values are NaN"


@pytest.mark.parametrize("verb", [v for v in VERBS if "compare" not in v])
def test_an_infinity_is_called_infinite(verb: str) -> None:
    """Comparisons know it: it is equal to itself."""
    with pytest.raises(PathliftError) as error:
        VERBS[verb](graph(weight="-inf"))
    assert (error.value.code, error.value.message) == ("PL0180", "tensor 'w': 1 of 4 values are infinite")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("variance", ["0", "-1", "-0.5"])
def test_a_batch_norm_without_a_variance_is_named(verb: str, variance: str) -> None:
    with pytest.raises(PathliftError) as error:
        VERBS[verb](graph(variance=variance))
    assert (error.value.code, error.value.exit_code) == ("PL0183", 3)
    assert "node 'n' (BatchNormalization): a variance plus epsilon is not positive" in error.value.message


@pytest.mark.parametrize("verb", VERBS)
def test_a_negative_variance_counts_with_its_epsilon(verb: str) -> None:
    VERBS[verb](graph(variance="-0.5", epsilon=1.0))


def test_execution_has_no_such_rule() -> None:
    for variance in ("0", "-1"):
        given = graph(variance=variance)
        first, second = (
            pathlift.Session(given, executor=executor)(np.ones((1, 2), "f")) for executor in ("onnxruntime", "torch")
        )
        assert np.array_equal(first, second, equal_nan=True)
