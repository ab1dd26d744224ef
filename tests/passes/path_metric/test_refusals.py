"""Pairs without a path metric: other activations, other structures, inputs of no magnitude."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.path_metric.path_metric import path_metric

Chain = Callable[..., Graph]


def test_other_slopes_are_refused(two_layers: Chain) -> None:
    with pytest.raises(UnsupportedError, match=r"PL1388 node 'f' .LeakyRelu.: alpha differs"):
        path_metric(two_layers(1, 1, "LeakyRelu", alpha=0.1), two_layers(1, 1, "LeakyRelu", alpha=0.2))


def test_other_activations_are_refused(two_layers: Chain) -> None:
    with pytest.raises(UnsupportedError, match=r"PL1388 node 'f' .Relu.: its function .Tanh in the second. differs"):
        path_metric(two_layers(1, 1), two_layers(1, 1, "Tanh"))


def test_activations_without_a_rule_are_refused_by_name(two_layers: Chain) -> None:
    with pytest.raises(UnsupportedError, match=r"'f' .Gelu."):
        path_metric(two_layers(1, 1, "Gelu"), two_layers(1, 2, "Gelu"))


def renamed(graph: Graph) -> Graph:
    return parse_graph(str(graph).replace("%in", "%inner"))


def reordered(graph: Graph) -> Graph:
    b = graph.edit()
    b.connect("y", 0, "in")
    return b.finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "node 'in' is in one of them alone"),
        (reordered, "node 'y' .Gemm. is another"),
    ],
)
def test_graphs_that_are_no_pair(two_layers: Chain, change: Callable[[Graph], Graph], message: str) -> None:
    first = two_layers(1, 2)
    with pytest.raises(UsageError, match=rf"PL1488.*{message}"):
        path_metric(first, change(first))


def test_parameters_that_make_no_pair() -> None:
    def dense(features: int) -> Graph:
        b = Builder()
        return b.finish(b.op("Gemm", b.input("x", ("N", features)), b.param(np.ones((features, 1), np.float32), "w")))

    with pytest.raises(UsageError, match=r"PL1488.*'w' has another shape"):
        path_metric(dense(2), dense(3))


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({}, "PL1489"),
        ({"z": 1.0}, "PL1489"),
        ({"x": np.ones(3)}, "PL1491"),
        ({"x": "one"}, "PL1491"),
        ({"x": -1.0}, "PL1492"),
        ({"x": math.nan}, "PL1492"),
    ],
)
def test_magnitudes_that_are_none(two_layers: Chain, inputs: Any, code: str) -> None:
    with pytest.raises(PathliftError) as raised:
        path_metric(two_layers(1, 2), two_layers(1, 3), inputs=inputs)
    assert raised.value.code == code


def test_no_other_pooling(two_layers: Chain) -> None:
    with pytest.raises(UsageError, match="PL1490"):
        path_metric(two_layers(1, 2), two_layers(1, 3), pooling="mean")  # type: ignore[arg-type]  # no such pooling


def test_infinite_weights_are_invalid(two_layers: Chain) -> None:
    with pytest.raises(PathliftError, match="PL0180"):
        path_metric(two_layers(1, 2), two_layers(1, math.inf))
