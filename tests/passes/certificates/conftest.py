"""Pairs of small networks of many kinds, and what is the most that they are found to differ by."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Value
from pathlift.ir.types import TensorType
from pathlift.passes.certificates.problem import Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
Weights = Callable[..., Value]
Family = Callable[[Builder, Value, Weights], Value]
POOL: dict[str, Any] = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
OVERLAPPING: dict[str, Any] = {"kernel": (3, 2), "strides": (1, 1), "pads": (1, 0, 1, 1), "dilations": (1, 1)}
CONV: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


def extent(b: Builder, x: Value) -> int:
    type_ = b.type_of(x)
    assert isinstance(type_, TensorType)
    assert type_.shape is not None
    n = type_.shape[-1]
    assert isinstance(n, int)
    return n


def dense(depth: int, gate: Callable[[Builder, Value, Weights], Value]) -> Family:
    def build(b: Builder, x: Value, w: Weights) -> Value:
        n = 3
        for k in range(depth):
            m = 2 if k == depth - 1 else 4 + k
            x = b.op("Gemm", x, w(n, m), w(m, scale=0.5))
            x, n = (x if k == depth - 1 else gate(b, x, w)), m
        return x

    return build


def op(name: str, **attrs: Any) -> Callable[[Builder, Value, Weights], Value]:
    return lambda b, x, w: b.op(name, x, **attrs)


def partly(b: Builder, x: Value, w: Weights) -> Value:
    """Some neurons without a gate."""
    n = extent(b, x)
    return b.op("PRelu", x, b.param((np.arange(n) % 3 == 0).astype(np.float64)))


def residual(b: Builder, x: Value, w: Weights) -> Value:
    x = b.op("Gemm", x, w(3, 4), w(4))
    for _ in range(2):
        inner = b.op("Relu", b.op("Gemm", b.op("Relu", x), w(4, 4), w(4)))
        x = b.op("Add", x, b.op("Gemm", inner, w(4, 4)))
    return b.op("Gemm", b.op("Sub", x, b.op("Relu", x)), w(4, 2))


def convolutional(pool: dict[str, Any]) -> Family:
    def build(b: Builder, x: Value, w: Weights) -> Value:
        x = b.op("Reshape", b.op("Gemm", x, w(3, 16)), shape=(1, 1, 4, 4))
        x = b.op("Relu", b.op("Conv", x, w(2, 1, 3, 3), w(2), **CONV))
        x = b.op("Flatten", b.op("MaxPool", x, **pool))
        return b.op("Gemm", x, w(extent(b, x), 2, scale=0.5))

    return build


def extremes(b: Builder, x: Value, w: Weights) -> Value:
    x = b.op("Gemm", x, w(3, 5), w(5))
    both = [b.op("ReduceMax", x, axes=(1,)), b.op("ReduceMin", x, axes=(1,))]
    return b.op("Gemm", b.op("Concat", *both, axis=1), w(2, 2))


FAMILIES: dict[str, Family] = {
    "two layers": dense(2, op("Relu")),
    "three layers": dense(3, op("Relu")),
    "four layers": dense(4, op("Relu")),
    "partly gated": dense(3, partly),
    "leaky": dense(3, op("LeakyRelu", alpha=0.2)),
    "absolute": dense(3, op("Abs")),
    "clip": dense(3, op("Clip", low=-0.5, high=1.0)),
    "tanh": dense(3, op("Tanh")),
    "gelu": dense(3, op("Gelu")),
    "hard swish": dense(3, op("HardSwish")),
    "softplus": dense(3, op("Softplus")),
    "slopes of its own": dense(3, lambda b, x, w: b.op("PRelu", x, w(extent(b, x), scale=0.4))),
    "quantized": dense(3, op("FakeQuantize", scale=0.25, zero_point=0, dtype="int8", low=-128, high=127)),
    "residual": residual,
    "pooled": convolutional(POOL),
    "windows that overlap": convolutional(OVERLAPPING),
    "extremes": extremes,
    "linear": dense(2, lambda b, x, w: x),
}


@dataclass(frozen=True)
class Pair:
    """Two networks on a box."""

    first: Tape
    second: Tape
    low: Tensor
    high: Tensor

    def problem(self) -> Problem:
        return Problem(self.first, self.second, [Box(self.low, self.high)])

    def values(self, points: Tensor) -> list[tuple[Tensor, Tensor]]:
        """All values of both, ``(points, …)``."""

        runs = (torch.func.vmap(lambda p, t=tape: t.run([p[None]]))(points) for tape in (self.first, self.second))
        return list(zip(*runs, strict=True))

    def points(self, count: int = 200) -> Tensor:
        """Corners, others, and those that signs of gradients lead to."""
        g = torch.Generator().manual_seed(0)
        n = self.low.shape[-1]
        low, high = self.low[0], self.high[0]
        corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)
        xs = low + (high - low) * torch.cat([corners, torch.rand(count, n, generator=g, dtype=torch.float64)])
        out = next(iter(self.first.outputs.values()))
        climbed = []
        for x in xs[:4]:
            for sign in (1.0, -1.0):
                for j in range(2):
                    p = x.clone()
                    for _ in range(2):
                        p = p.detach().requires_grad_()
                        d = self.second.run([p[None]])[out] - self.first.run([p[None]])[out]
                        (slope,) = torch.autograd.grad(sign * d.reshape(-1)[j], p, allow_unused=True)
                        p = torch.where((slope if slope is not None else p) > 0, high, low)
                    climbed.append(p.detach())
        return torch.cat([xs, torch.stack(climbed)])


def pair(family: Family, seed: int, radius: float, change: float, positive: bool = False) -> Pair:
    """Two networks of a family, of weights that differ by about so much."""

    def tape(second: bool) -> Tape:
        rng, noise, b = np.random.default_rng(seed), np.random.default_rng(seed + 1000), Builder()

        def weights(*shape: int, scale: float = 1.0) -> Value:
            w, d = scale * rng.normal(size=shape), change * scale * noise.normal(size=shape)
            if positive:
                w, d = abs(w), abs(d)
            return b.param((w + d if second else w).astype(np.float64))

        x = b.input("x", (1, 3), "f64")
        return record(b.finish(family(b, x, weights)), {"x": (1, 3)})

    centre = torch.from_numpy(np.random.default_rng(seed + 2000).normal(size=(1, 3)))
    if positive:
        return Pair(tape(False), tape(True), torch.zeros(1, 3).double(), radius * torch.ones(1, 3).double())
    return Pair(tape(False), tape(True), centre - radius, centre + radius)


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Pair]:
    return lambda name, *args, **kwargs: pair(FAMILIES[name], *args, **kwargs)


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
