"""The constants of activations, which bounds and certificates rest on, are laws over every gate of every op.

Gates are found by running programs, so that an op that is new is under the laws as soon as it has a sample.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.graph import Node, freeze_attrs
from pathlift.ir.ops import OPS
from pathlift.ir.primitives.base import Activation
from pathlift.testing.samples import samples

VALUES = {float: (-2.5, -0.5, 0.0, 0.5, 1.0, 2.5), int: (-7, 300), bool: (False, True)}
"""What attributes are tried with, whatever they mean, two of a node at a time."""
ROUNDED = 1.0e-4
"""How far a bound may be from what is attained: it is rounded outward in the fourth decimal."""
ULPS = 32 * 2.0**-53
"""Relative error of an activation, and of what follows here, in float64."""


class Recording(Algebra[str]):
    """Finds the gates of a program; a value is nothing but a name."""

    def __init__(self) -> None:
        self.gates: list[tuple[Activation, int]] = []

    def gate(self, x, f, *params):
        self.gates.append((f, len(params)))
        return x

    def linear(self, f, x, w=None):
        return x

    def add(self, x, y, axis=None, *, alike=False):
        return x

    def scale(self, x, c, axis=None, *, reciprocal=False):
        return x

    def derive(self, f, *params):
        return params[0]

    def select(self, x, s):
        return x

    def move(self, xs, v):
        return xs[0]

    def apply(self, f, xs, types):
        return ("y",) * len(types)


def recorded(node: Node, operands: int) -> list[tuple[Activation, int]]:
    recording = Recording()
    evaluate(recording, node, ("x",) * operands)
    return recording.gates


def variants(node: Node) -> Iterator[Node]:
    """The node, and with other values of one or two of its attributes."""
    schema = OPS[node.op].attributes
    present = {n: a.default for n, a in schema.items() if not a.required} | dict(node.attrs)
    choices = {n: (present[n], *VALUES[a.type]) for n, a in schema.items() if a.type in VALUES}
    yield node
    for names in itertools.combinations(choices, min(2, len(choices))):
        for values in itertools.product(*(choices[n] for n in names)):
            attrs = OPS[node.op].canonical(freeze_attrs(present | dict(zip(names, values, strict=True))))
            if attrs.get("scale") != 0:  # a quantizer that divides by zero is no function
                yield dataclasses.replace(node, attrs=attrs)


def cases() -> Iterator[Any]:
    seen = set()
    for graph in samples().values():
        for key in graph.order:
            node, operands = graph[key], len(graph.inputs_of(key))
            if node.op not in OPS or not recorded(node, operands):
                continue
            for variant in variants(node):
                identity = (variant.op, tuple(sorted(variant.attrs.items())))
                if identity not in seen:
                    seen.add(identity)
                    what = ", ".join(f"{name}={value}" for name, value in identity[1])
                    for f, params in recorded(variant, operands):
                        yield pytest.param(variant, f, params, id=f"{variant.op}({what})")


torch.set_num_threads(1)
every_gate = pytest.mark.parametrize(("node", "f", "params"), list(cases()))


def test_gates_are_found() -> None:
    found = {case.values[0].op for case in cases()}
    assert found >= {"Relu", "PRelu", "FakeQuantize", "KSLinear", "Gelu"}
    assert {case.values[1].slopes for case in cases() if case.values[0].op == "LeakyRelu"} >= {(-2.5, 1.0), (0.5, 1.0)}


def function(f: Activation, params: int) -> Any:
    slopes = [torch.tensor(-1.5, dtype=torch.float64)] * params
    return lambda x: f.torch(x, *slopes)


@functools.cache
def grids() -> tuple[torch.Tensor, torch.Tensor]:
    """A fine one, and a wide one."""
    wide = torch.from_numpy(np.geomspace(1e-12, 1e12, 4801))
    zero = torch.zeros(1, dtype=torch.float64)
    return torch.linspace(-8, 8, 40_001, dtype=torch.float64), torch.cat([-wide.flip(0), zero, wide])


@functools.cache
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Ends of random intervals: near zero and far from it, short and long, across zero and not."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-8, 8, 10_000), 10.0 ** rng.uniform(-6, 3, 10_000)
    x = torch.from_numpy(rng.choice([-1.0, 1.0], 10_000) * sizes[0])
    return x, x + torch.from_numpy(sizes[0] * sizes[1])


def chords(g: Any, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes between points, and their errors."""
    a, b = g(x), g(y)
    return (b - a) / (y - x), ULPS * (x.abs() + y.abs() + a.abs() + b.abs()) / (y - x)


def on_grids(g: Any) -> tuple[torch.Tensor, torch.Tensor]:
    slopes, errors = zip(*(chords(g, x[:-1], x[1:]) for x in grids()), strict=True)
    return torch.cat(slopes), torch.cat(errors)


def is_degenerate(node: Node, g: Any) -> bool:
    """Whether a Clip or a quantizer is constant, or a Clip clips nothing: its bounds stay those of any other."""
    ys = [g(x) for x in grids()]
    constant = all(bool((y == ys[0][0]).all()) for y in ys)
    identity = all(torch.equal(x, y) for x, y in zip(grids(), ys, strict=True))
    return (constant and node.op in ("Clip", "FakeQuantize")) or (identity and node.op == "Clip")


def steepest(g: Any) -> float:
    """The largest slope that halving the interval of the largest one, again and again, leads to."""
    low, high = -1e4, 1e4
    for _ in range(4):
        x = torch.linspace(low, high, 100_001, dtype=torch.float64)
        i = int((g(x[1:]) - g(x[:-1])).argmax())
        low, high = float(x[i]), float(x[i + 1])
        if high - low < 1e-8:
            break
    x = torch.tensor([low, high], dtype=torch.float64)
    return float((g(x)[1] - g(x)[0]) / (high - low))


@every_gate
def test_slopes_are_bounds(node: Node, f: Activation, params: int) -> None:
    slopes, errors = on_grids(function(f, params))
    low, high = f.slopes
    assert (slopes >= low - errors).all()
    assert (slopes <= high + errors).all()
    assert (slopes.abs() <= f.lipschitz + errors).all()


@every_gate
def test_slopes_are_attained(node: Node, f: Activation, params: int) -> None:
    g = function(f, params)
    if params or is_degenerate(node, g):  # with a parameter, slopes are those of any value it may have
        return
    slopes, errors = on_grids(g)
    slopes, (low, high) = slopes[errors < ROUNDED / 100], f.slopes
    assert slopes.min() <= low + ROUNDED
    if high == inf:
        assert steepest(g) > 1e3
    else:
        assert slopes.max() >= high - ROUNDED
        assert f.lipschitz <= slopes.abs().max() + ROUNDED


@every_gate
def test_mean_value(node: Node, f: Activation, params: int) -> None:
    g, (x, y) = function(f, params), pairs()
    a, b, (low, high) = g(x), g(y), f.slopes
    error = ULPS * (x.abs() + y.abs() + a.abs() + b.abs())
    assert (b - a >= low * (y - x) - error).all()
    assert (b - a <= high * (y - x) + error).all()
    if high == inf and not params:  # a step has no slope that would bound it, but an order, which rounding keeps
        assert (b >= a).all()


@every_gate
def test_rising_where_no_slope_is_negative(node: Node, f: Activation, params: int) -> None:
    g = function(f, params)
    for x in grids():
        falls = bool((g(x).diff() < -ULPS * (g(x).abs()[1:] + ULPS)).any())
        if f.slopes[0] >= 0:
            assert not falls
        elif not params:
            assert falls


@every_gate
def test_value_at_zero(node: Node, f: Activation, params: int) -> None:
    zeros = torch.tensor([0.0, -0.0], dtype=torch.float64)
    assert function(f, params)(zeros).tolist() == pytest.approx([f.at_zero] * 2, rel=1e-15, abs=0)


@every_gate
def test_homogeneous_if_and_only_if_claimed(node: Node, f: Activation, params: int) -> None:
    g = function(f, params)
    scales = torch.tensor([2.0**-20, 0.3, 2.0, 7.0, 2.0**20], dtype=torch.float64)[:, None]
    holds = all(torch.allclose(g(scales * x), scales * g(x), rtol=1e-14, atol=0) for x in grids())
    if node.op == "Elu" and node.attrs.get("alpha") == 0:
        assert holds  # a ReLU by another name, read as an Elu: nothing is claimed, which is never wrong
    elif node.op not in ("Clip", "HardSigmoid", "FakeQuantize") or any(g(x).any() for x in grids()):
        assert holds == f.homogeneous
