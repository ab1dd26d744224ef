"""Spellings of layers that look like others and are none, and the bounds of rare scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.passes.pairing.forms import LEVELS, Form, Forms, Level
from pathlift.passes.pairing.rounding import GROWN
from pathlift.testing import assert_equivalent, op_names

FOLDED = Level(True, folded=True)


def form(graph: Graph, level: Level) -> Form:
    found = Forms(graph).at(level)
    assert isinstance(found, Form), found
    assert_equivalent(graph, found.graph)
    return found


@pytest.mark.parametrize("change", [{}, {"pads": (0, 1, 0, 1)}, {"strides": (2, 1)}, {"groups": 2}], ids=str)
def test_pointwise_convolutions_that_are_products_with_a_matrix(change: dict[str, Any]) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    w = b.param(rng.standard_normal((4, 4 // change.get("groups", 1), 1, 1)))
    geometry: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), **change}
    graph = b.finish(b.op("Conv", b.input("x", ("N", 4, 3, 3), "f64"), w, b.param(rng.standard_normal(4)), **geometry))
    found = form(graph, Level(True, dense=True))
    assert ("Gemm" in op_names(found.graph)) == (not change)


BIASES = [(), (1,), (3,)]
OTHERS = [(2, 1), (1, 1, 3), (1, 1, 1)]


@pytest.mark.parametrize("shape,taken", [*((s, True) for s in BIASES), *((s, False) for s in OTHERS)])
def test_sums_that_are_biases(shape: tuple[int, ...], taken: bool) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    h = b.op("Gemm", b.input("x", (2, 4), "f64"), b.param(rng.standard_normal((4, 3))))
    graph = b.finish(b.op("Add", h, b.param(rng.standard_normal(shape)), name="y"))
    assert ("Add" not in op_names(form(graph, Level(True)).graph)) == taken


def test_a_constant_minus_a_layer_is_folded() -> None:
    b, rng = Builder(), np.random.default_rng(0)
    h = b.op("Gemm", b.input("x", (2, 4), "f64"), b.param(rng.standard_normal((4, 3))))
    graph = b.finish(b.op("Sub", b.param(rng.standard_normal(3)), h, name="y"))
    assert op_names(form(graph, FOLDED).graph) == ["Gemm"]


def scaled(*steps: tuple[str, Any], w: float = 1.0) -> Graph:
    """A product with a number, and what comes behind it."""
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(np.array([[w]])))
    for op, values in steps:
        params = [b.param(np.array([v])) for v in values[:4]]
        h = b.op(op, h, *params, **({"epsilon": values[4]} if op == "BatchNormalization" else {}))
    return b.finish(b.op("Relu", h))


def weight(graph: Graph) -> tuple[float, float]:
    """The folded weight, and its error."""
    found = form(graph, FOLDED)
    (key,) = [k for k in found.graph.order if found.graph[k].op == "Gemm"]
    value = found.graph.inputs_of(key)[1]
    assert value is not None
    param = found.graph[value.node].value
    assert param is not None
    return param.numpy().item(), float(np.asarray(found.errors.get(value.node, 0.0)).item())


def test_every_batch_norm_brings_three_factors() -> None:
    norm = "BatchNormalization", (0.5, 0.25, 0.125, 1.0, 1e-5)
    assert isinstance(Forms(scaled(*[norm] * 5)).at(FOLDED), Form)
    assert isinstance(Forms(scaled(*[norm] * 6)).at(FOLDED), str)


def test_a_variance_below_0_is_not_taken_for_its_absolute_value() -> None:
    norm = "BatchNormalization", (1.0, 0.0, 0.0, 2.0**-40 - 1, 1.0)
    value, error = weight(scaled(norm, w=1 / 3))
    assert value == 2.0**20 / 3
    assert error >= 2.0**-53 * value


def test_a_scale_and_a_divisor_that_are_rounded_to_1() -> None:
    rng = np.random.default_rng(0)
    divisors = rng.uniform(1, 2, 1000)
    factors = np.nextafter(divisors, 0)
    ones = [f * (1 / d) == 1 for f, d in ((factors, divisors), (factors * GROWN, divisors * GROWN))]
    at = int(np.argmax(ones[0] & ones[1]))
    assert ones[0][at]
    assert ones[1][at], "the same of numbers that are raised alike"
    value, error = weight(scaled(("Mul", (factors[at],)), ("Div", (divisors[at],))))
    assert value == 1
    assert error >= 1 - factors[at] / divisors[at]
    assert error > 0


def test_levels_are_in_order() -> None:
    """What computes nothing comes first."""
    assert [level.dense or level.folded for level in LEVELS] == [False, False, True, True, True]
