"""Rearrangements."""

from __future__ import annotations

from math import prod

from pathlift.ir.graph import Value
from pathlift.testing.growth import Growth, can_double, step


@step("Cast")
def _cast(g: Growth, x: Value) -> Value:
    return g.op("Cast", g.op("Cast", x, to="f64"), to="f32")


@step("Flatten")
def _flatten(g: Growth, x: Value) -> Value:
    return g.op("Flatten", x)


@step("Reshape")
def _reshape(g: Growth, x: Value) -> Value:
    n = prod(g.shape(x))
    first = g.choice([k for k in range(1, n + 1) if n % k == 0])
    return g.op("Reshape", x, shape=g.choice([(0, first, -1), (-1, n), (0, first, 1, n // first)]))


@step("Transpose")
def _transpose(g: Growth, x: Value) -> Value:
    axes = list(range(1, len(g.shape(x)) + 1))
    perm = [axes.pop(g.integer(0, len(axes) - 1)) for _ in range(len(axes))]
    return g.op("Transpose", x, perm=(0, *perm))


@step("Squeeze", fits=lambda g, x: len(g.shape(x)) > 1 and 1 in g.shape(x))
def _squeeze(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    axis = g.choice([i + 1 for i, n in enumerate(shape) if n == 1])
    return g.op("Squeeze", x, axes=(axis - g.choice([0, len(shape) + 1]),))


@step("Unsqueeze", fits=lambda g, x: len(g.shape(x)) <= 3)
def _unsqueeze(g: Growth, x: Value) -> Value:
    return g.op("Unsqueeze", x, axes=(g.choice([-1, *range(1, len(g.shape(x)) + 1)]),))


@step("Slice")
def _slice(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    n = g.shape(x)[axis - 1]
    if g.flag():
        start, end, steps = g.choice([-1, n - 1]), -(2**31), -g.integer(1, 2)
    else:
        start = g.integer(0, n - 1)
        end, steps = g.choice([2**31 - 1, start + 1]), g.integer(1, 2)
    return g.op("Slice", x, axes=(axis,), starts=(start,), ends=(end,), steps=(steps,))


@step("Gather")
def _gather(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    n = g.shape(x)[axis - 1]
    return g.op("Gather", x, axis=axis, indices=tuple(g.integer(0, n - 1) for _ in range(g.integer(1, n))))


@step("Split", fits=lambda g, x: max(g.shape(x)) > 1)
def _split(g: Growth, x: Value) -> tuple[Value, ...]:
    axis = g.choice([i + 1 for i, n in enumerate(g.shape(x)) if n > 1])
    n = g.shape(x)[axis - 1]
    first = g.integer(1, n - 1)
    return g.b.node("Split", x, names=[g.b.fresh("split"), g.b.fresh("rest")], axis=axis, parts=(first, n - first))


@step("Concat", fits=can_double, weight=2)
def _concat(g: Growth, x: Value) -> Value:
    axis, shape = g.axis(x), g.shape(x)
    rest = [*shape[: axis - 1], *shape[axis:]]
    partners = [
        u for u in reversed(g.live)
        if len(s := g.shape(u)) == len(shape)
        and [*s[: axis - 1], *s[axis:]] == rest
        and prod(s) + prod(shape) <= g.capacity
    ]  # fmt: skip
    return g.op("Concat", x, g.choice([*partners, x] if x not in partners else partners), axis=axis)


@step("Pad", fits=can_double)
def _pad(g: Growth, x: Value) -> Value:
    shape, axis = g.shape(x), g.axis(x)
    pads = [0] * (2 * len(shape) + 2)
    grow = 1 if 2 * shape[axis - 1] >= g.capacity else 2
    pads[axis] = g.integer(-1 if shape[axis - 1] > 1 else 0, 1)
    pads[axis + len(shape) + 1] = g.integer(0, 1 if shape[axis - 1] * (grow - 1) else 0)
    return g.op("Pad", x, pads=tuple(pads), value=g.choice([0.0, -0.5]))


@step("Expand", fits=lambda g, x: can_double(g, x) and 1 in g.shape(x))
def _expand(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    axis = g.choice([i for i, n in enumerate(shape) if n == 1])
    return g.op("Expand", x, shape=(*[1] * (axis + 1), 2, *[1] * (len(shape) - axis - 1)))


@step("Tile", fits=can_double)
def _tile(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    return g.op("Tile", x, repeats=tuple(2 if i == axis else 1 for i in range(len(g.shape(x)) + 1)))
