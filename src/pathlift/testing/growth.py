"""A random graph in the making: what the steps of `pathlift.testing.strategies` draw from and add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Value
from pathlift.ir.types import Array, TensorType

T = TypeVar("T")
Shape = tuple[int, ...]


@dataclass(repr=False)  # Hypothesis would print it at every draw
class Growth:
    """A builder, the values that later steps may read, and a source of choices that shrink to the first.

    Weights are short decimals drawn from a generator whose seed is drawn: exact in float32, readable in the text form.
    """

    draw: Callable[[st.SearchStrategy[Any]], Any]
    b: Builder
    rng: np.random.Generator
    steps: Sequence[Step]
    tied: bool
    capacity: int
    octaves: int = 0
    live: list[Value] = field(default_factory=list)
    drawn: dict[Shape, list[Value]] = field(default_factory=dict)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options; the first is the simplest."""
        option: T = self.draw(st.sampled_from(options))
        return option

    def integer(self, low: int, high: int) -> int:
        """An integer of a closed range."""
        value: int = self.draw(st.integers(low, high))
        return value

    def flag(self) -> bool:
        """False, or true."""
        value: bool = self.draw(st.booleans())
        return value

    def shape(self, v: Value) -> Shape:
        """A value's shape without its batch axis, whose extent may be symbolic."""
        type_ = self.b.type_of(v)
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        rest = type_.shape[1:]
        assert all(isinstance(d, int) for d in rest)
        return tuple(d for d in rest if isinstance(d, int))

    def room(self, v: Value) -> int:
        """By which factor a value may grow."""
        return max(1, self.capacity // max(1, prod(self.shape(v))))

    def axis(self, v: Value) -> int:
        """One of a value's axes, but the batch; the last is the simplest."""
        rank = len(self.shape(v))
        return rank - self.integer(0, rank - 1)

    def axes(self, v: Value) -> tuple[int, ...]:
        """Some of a value's axes, at least one, but never the batch."""
        rank = len(self.shape(v))
        picked: set[int] = self.draw(st.sets(st.integers(1, rank), min_size=1))
        return tuple(sorted(picked))

    def weights(self, *shape: int) -> Value:
        """A parameter in [−1, 1], times a power of two; with `tied`, perhaps one that is in use already."""
        earlier = self.drawn.setdefault(shape, [])
        if self.tied and earlier:
            index = self.integer(0, len(earlier))
            if index:
                return earlier[index - 1]
        exponent = self.integer(-self.octaves, self.octaves) if self.octaves else 0
        value = self.param(self.rng.integers(-4, 5, shape) / 4 * 2.0**exponent)
        earlier.append(value)
        return value

    def nonzero(self, *shape: int) -> Value:
        """A parameter without zeros, for divisors and variances."""
        return self.param(self.rng.choice([0.5, 1.0, 2.0, 0.75, 1.5], shape))

    def param(self, values: Array) -> Value:
        """A float32 parameter with these values."""
        return self.b.param(np.asarray(values, np.float32), self.b.fresh("w"))

    def constant_shape(self, v: Value) -> Shape:
        """A shape that broadcasts to a value's: a scalar, per channel, or one number per element."""
        shape = self.shape(v)
        column = (shape[0], *[1] * (len(shape) - 1))
        return self.choice([(), column, shape, shape[-1:]])

    def partners(self, v: Value) -> list[Value]:
        """Values that broadcast with `v` to a shape that fits; `v` itself is one."""
        return [u for u in reversed(self.live) if self._broadcasts(self.shape(u), self.shape(v))]

    def _broadcasts(self, a: Shape, b: Shape) -> bool:
        if len(a) != len(b) or any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
            return False
        return a == b or prod(np.broadcast_shapes(a, b)) <= self.capacity

    def op(self, op: str, *inputs: Value | None, **attrs: Any) -> Value:
        """Add an op with one output."""
        return self.b.op(op, *inputs, **attrs)

    def windows(self, v: Value) -> dict[str, Any]:
        """Attributes of a pooling window over a value's spatial axes; every window meets the input."""
        sizes = self.shape(v)[1:]
        dilations = tuple(2 if n >= 3 and self.integer(0, 3) == 3 else 1 for n in sizes)
        kernel = tuple(self.integer(1, min(3, 1 + (n - 1) // d)) for n, d in zip(sizes, dilations, strict=True))
        margins = [k - 1 if d == 1 else 0 for k, d in zip(kernel, dilations, strict=True)]
        pads = tuple(self.integer(0, m) for m in margins + margins)
        strides = tuple(self.integer(1, 2) for _ in sizes)
        return {
            "kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": self.flag()
        }  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One way to grow a graph.

    Parameters
    ----------
    ops
        The ops it adds.
    fits
        Whether it applies to a value.
    grow
        Adds the ops; returns the new values.
    exact
        Whether path-norms have exact semantics for it.
    weight
        How often it is drawn, relative to others.
    """

    ops: frozenset[str]
    fits: Callable[[Growth, Value], bool]
    grow: Callable[[Growth, Value], Value | tuple[Value, ...]]
    exact: bool
    weight: int


STEPS: list[Step] = []


def anywhere(g: Growth, x: Value) -> bool:
    """Whether a step that fits all values fits this one."""
    return True


def step(
    *ops: str, fits: Callable[[Growth, Value], bool] = anywhere, exact: bool = True, weight: int = 1
) -> Callable[[Callable[[Growth, Value], Value | tuple[Value, ...]]], Callable[[Growth, Value], Any]]:
    """Register the decorated function as a `Step`."""

    def register(grow: Callable[[Growth, Value], Value | tuple[Value, ...]]) -> Callable[[Growth, Value], Any]:
        STEPS.append(Step(frozenset(ops), fits, grow, exact, weight))
        return grow

    return register


def is_vector(g: Growth, x: Value) -> bool:
    """Whether a value has a batch axis and one of features."""
    return len(g.shape(x)) == 1


def is_map(g: Growth, x: Value) -> bool:
    """Whether a value has a channel axis and 1 to 3 spatial axes."""
    return 2 <= len(g.shape(x)) <= 4


def can_double(g: Growth, x: Value) -> bool:
    """Whether twice the elements fit."""
    return g.room(x) >= 2
