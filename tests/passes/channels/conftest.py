"""Small networks, each with one way in which channels are tied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value

ONE = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
WIDE = {**ONE, "pads": (1, 1, 1, 1)}


class Network:
    """A builder of convolutional networks with random weights."""

    def __init__(self, channels: int = 4, extent: int = 4) -> None:
        self.b, self.rng = Builder(), np.random.default_rng(0)
        self.x = self.b.input("x", ("N", channels, extent, extent))

    def param(self, name: str, *shape: int) -> Value:
        return self.b.param(self.rng.standard_normal(shape).astype(np.float32), name)

    def conv(self, x: Value, name: str, *shape: int, op: str = "Conv", groups: int = 1, **attrs: Any) -> Value:
        """With a bias; a kernel of 3 is padded."""
        out = shape[1] * groups if op == "ConvTranspose" else shape[0]
        window = {**(WIDE if shape[-1] == 3 else ONE), "groups": groups, **attrs}
        return self.b.op(op, x, self.param(f"{name}.w", *shape), self.param(f"{name}.b", out), name=name, **window)

    def finish(self, h: Value, channels: int) -> Graph:
        """Read this many channels by a last convolution."""
        return self.b.finish(self.conv(h, "last", 3, channels, 1, 1))


def concat(n: Network) -> Value:
    a, b = n.conv(n.x, "a", 3, 4, 3, 3), n.conv(n.x, "c", 5, 4, 1, 1)
    return n.b.op("Relu", n.b.op("Concat", a, b, n.x, axis=1))


def residual(n: Network) -> Value:
    a = n.conv(n.x, "a", 12, 4, 1, 1)
    h = n.conv(n.b.op("Relu", n.conv(a, "c", 7, 12, 3, 3)), "d", 12, 7, 1, 1)
    return n.b.op("Add", h, a)


def depthwise(n: Network) -> Value:
    h = n.conv(n.conv(n.x, "a", 6, 4, 1, 1), "dw", 12, 1, 3, 3, groups=6)
    return n.conv(h, "up", 12, 1, 1, 1, op="ConvTranspose", groups=12, output_padding=(0, 0))


def grouped(n: Network) -> Value:
    h = n.conv(n.conv(n.x, "a", 12, 4, 1, 1), "few", 8, 6, 3, 3, groups=2)
    h = n.conv(n.conv(h, "b", 12, 8, 1, 1), "many", 12, 2, 1, 1, groups=6)
    return n.conv(h, "up", 12, 6, 1, 1, op="ConvTranspose", groups=2, output_padding=(0, 0))


def shuffle(n: Network) -> Value:
    h = n.conv(n.conv(n.x, "a", 12, 4, 1, 1), "g", 12, 6, 1, 1, groups=2)
    h = n.b.op("Reshape", h, shape=(0, 2, 6, 4, 4))
    h = n.b.op("Reshape", n.b.op("Transpose", h, perm=(0, 2, 1, 3, 4)), shape=(-1, 12, 4, 4))
    left, right = n.b.node("Split", h, names=("left", "right"), axis=1, parts=(6, 6))
    return n.b.op("Concat", n.conv(left, "c", 6, 6, 1, 1), right, axis=1)


def shuffle_of_one_group(n: Network) -> Value:
    h = n.b.op("Reshape", n.conv(n.x, "a", 12, 4, 1, 1), shape=(0, 2, 6, 4, 4))
    return n.b.op("Reshape", n.b.op("Transpose", h, perm=(0, 2, 1, 3, 4)), shape=(-1, 12, 4, 4))


def gates(n: Network) -> Value:
    h = n.conv(n.x, "a", 12, 4, 1, 1)
    s = n.conv(n.b.op("ReduceMean", h, axes=(2, 3)), "squeeze", 5, 12, 1, 1)
    s = n.b.op("Sigmoid", n.conv(n.b.op("Relu", s), "excite", 12, 5, 1, 1))
    return n.b.op("Product", h, s)


def picks(n: Network) -> Value:
    h = n.conv(n.x, "a", 12, 4, 1, 1)
    every_third = n.b.op("Slice", h, axes=(1,), starts=(10,), ends=(0,), steps=(-3,))
    middle = n.b.op("Slice", h, axes=(1, 2), starts=(2, 0), ends=(6, 9), steps=(1, 1))
    taken = n.b.op("Gather", h, axis=1, indices=(11, 0, 5, 5))
    h = n.b.op("Concat", every_third, middle, taken, axis=1)
    return n.b.op("Pad", h, pads=(0, -2, 0, 0, 0, 3, 0, 0), value=1.0)


def norms(n: Network) -> Value:
    h = n.conv(n.x, "a", 12, 4, 1, 1)
    var = n.b.param(np.arange(1, 13, dtype=np.float32), "var")
    h = n.b.op("BatchNormalization", h, n.param("gamma", 12), n.param("beta", 12), n.param("mean", 12), var)
    h = n.b.op("PRelu", h, n.param("slope", 12, 1, 1))
    h = n.b.op("Add", h, n.b.op("Expand", n.param("e", 1, 1, 1), shape=(12, 4, 1)))
    return n.b.op("Tile", n.b.op("Mul", h, n.param("m", 1, 12, 1, 1)), repeats=(1, 1, 2, 1))


def twice(n: Network) -> Value:
    h = n.conv(n.x, "a", 12, 4, 1, 1)
    w = n.param("tied", 12, 12, 1, 1)
    return n.b.op("Relu", n.b.op("Conv", n.b.op("Relu", n.b.op("Conv", h, w, **ONE)), w, **ONE))


NETWORKS: dict[str, tuple[Callable[[Network], Value], int, int]] = {
    # what lies before the last layer, the channels that this reads, and how many groups there are
    "concat": (concat, 12, 8),
    "residual": (residual, 12, 19),
    "depthwise": (depthwise, 12, 6),
    "grouped": (grouped, 12, 19),
    "shuffle": (shuffle, 12, 18),
    "shuffle of one group": (shuffle_of_one_group, 12, 6),
    "gates": (gates, 12, 17),
    "picks": (picks, 13, 12),
    "norms": (norms, 12, 12),
    "twice": (twice, 12, 12),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[Graph, int]:
    """A graph, and the number of its groups."""
    make, channels, count = NETWORKS[request.param]
    n = Network()
    return n.finish(make(n), channels), count


@pytest.fixture
def networks() -> Callable[[str], Graph]:
    """One of them by name."""

    def made(name: str) -> Graph:
        make, channels, _ = NETWORKS[name]
        n = Network()
        return n.finish(make(n), channels)

    return made
