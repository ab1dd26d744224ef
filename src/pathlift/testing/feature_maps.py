"""A Hypothesis strategy for networks on larger feature maps, whose borders differ: what border classes are tested on.

`pathlift.testing.strategies.graphs` draws from all ops on a few pixels, where every position lies at a border. Here
maps have up to some dozens of pixels a side, so that most positions are alike, and steps are made to part them: strides
and dilations that interleave phases, pads that differ by side, crops, joins of branches with different borders.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.testing.growth import Growth, Shape, Step, is_map
from pathlift.testing.steps import all_steps

Draw = Callable[[st.SearchStrategy[Any]], Any]
_LAST = 2**31 - 1


@st.composite
def convnets(draw: Draw, *, max_nodes: int = 8, capacity: int = 3000, octaves: int = 3) -> Graph:
    """Convolutional networks in one to three dimensions that path-norms cover, on maps with an interior.

    Parameters
    ----------
    draw
        Hypothesis's.
    max_nodes
        The most steps a network has.
    capacity
        The most elements of a value, per example of the batch, roughly.
    octaves
        Weights differ in magnitude by up to 2**±octaves.

    Returns
    -------
    Graph
        One input, of a batch of 1 to 3 or ``"N"``; at most two outputs.
    """
    general = [s for s in all_steps() if s.exact]
    choices = [*_STEPS, *general]
    g = Growth(draw, Builder(), np.random.default_rng(draw(st.integers(0, 2**16))), choices, False, capacity, octaves)
    batch: int | str = g.choice(_BATCHES)
    shape = g.choice([_line, _image, _volume])(g)
    g.live.append(g.b.input("x", (batch, *shape)))
    for i in range(max_nodes):
        if not g.integer(0, 6 * max_nodes) and i:
            break
        draw(_grown(g))
    return g.b.finish(*g.live[: -3 if g.integer(0, 2) == 2 else -2 : -1])


_BATCHES: list[int | str] = [1, "N", 3]


@st.composite
def _grown(draw: Draw, g: Growth) -> None:
    """Take one step, mostly on the latest map; the graph in the making changes in place."""
    g.draw, outer = draw, g.draw
    x = g.live[-1 - min(g.integer(0, 2), len(g.live) - 1)]
    fitting = [s for s in g.steps for _ in range(s.weight) if s.fits(g, x)]
    result = g.choice(fitting).grow(g, x)
    g.live.extend([result] if isinstance(result, Value) else result)
    g.draw = outer


def _line(g: Growth) -> Shape:
    return g.integer(1, 4), g.integer(5, 40)


def _image(g: Growth) -> Shape:
    return g.integer(1, 3), g.integer(5, 30), g.integer(5, 20)


def _volume(g: Growth) -> Shape:
    return g.integer(1, 2), g.integer(4, 10), g.integer(4, 9), g.integer(4, 8)


def _windows(g: Growth, sizes: Shape) -> dict[str, Any]:
    """Strides, dilations and pads (up to a whole window) of windows that fit, and their kernel."""
    dilations = [g.choice([1, 1, 1, 2, 3]) for _ in sizes]
    kernel = [min(g.choice([1, 3, 3, 2, 4, 5]), 1 + (n - 1) // d) for n, d in zip(sizes, dilations, strict=True)]
    pads = tuple(g.integer(0, (k - 1) * d + 1) for _ in range(2) for k, d in zip(kernel, dilations, strict=True))
    strides = tuple(g.choice([1, 1, 1, 2, 3]) for _ in sizes)
    return {"kernel": tuple(kernel), "strides": strides, "pads": pads, "dilations": tuple(dilations)}


def _fits_windows(g: Growth, x: Value) -> bool:
    return is_map(g, x) and g.room(x) >= 2


def _conv(g: Growth, x: Value) -> Value:
    channels, *sizes = g.shape(x)
    window = _windows(g, tuple(sizes))
    kernel, groups = window.pop("kernel"), g.choice([k for k in range(1, channels + 1) if channels % k == 0])
    positions = prod(
        ceil((n + sum(window["pads"][d :: len(sizes)])) / window["strides"][d]) for d, n in enumerate(sizes)
    )  # fmt: skip
    out = groups * max(1, min(g.integer(1, 4), g.capacity // (positions * groups)))
    bias = g.weights(out) if g.flag() else None
    return g.op("Conv", x, g.weights(out, channels // groups, *kernel), bias, groups=groups, **window)


def _conv_transpose(g: Growth, x: Value) -> Value:
    channels, *sizes = g.shape(x)
    fit = 3 if 3 ** len(sizes) <= g.room(x) else 2
    strides = [g.integer(1, fit) for _ in sizes]
    kernel, dilations = [g.choice([1, 1, 1, 2, 3]) for _ in sizes], [g.integer(1, 2) for _ in sizes]
    padding = [g.integer(0, s - 1) for s in strides]
    spare = [(n - 1) * s + d * (k - 1) for n, s, k, d in zip(sizes, strides, kernel, dilations, strict=True)]
    pads = [min(g.integer(0, 2), n // 2) for _ in range(2) for n in spare]
    groups = g.choice([k for k in range(1, channels + 1) if channels % k == 0])
    out = 1 if channels > 1 else g.integer(1, 2)
    return g.op(
        "ConvTranspose", x, g.weights(channels, out, *kernel), g.weights(out * groups) if g.flag() else None,
        strides=tuple(strides), pads=tuple(pads), dilations=tuple(dilations), output_padding=tuple(padding),
        groups=groups,
    )  # fmt: skip


def _pool(op: str) -> Callable[[Growth, Value], Value]:
    def pool(g: Growth, x: Value) -> Value:
        window = _windows(g, g.shape(x)[1:])
        # Every window meets the input: ONNX has no value for one that does not.
        n = len(window["kernel"])
        margin = [k - 1 if d == 1 else 0 for k, d in zip(window["kernel"], window["dilations"], strict=True)]
        window["pads"] = tuple(min(p, margin[i % n]) for i, p in enumerate(window["pads"]))
        counted = {"count_include_pad": g.flag()} if op == "AveragePool" else {}
        return g.op(op, x, **window, ceil_mode=g.flag(), **counted)

    return pool


def _resize(g: Growth, x: Value) -> Value:
    sizes = g.shape(x)[1:]
    most = min(2.0, g.room(x) ** (1 / len(sizes)))
    axes = tuple(d + 2 for d in range(len(sizes)) if g.integer(0, 2)) or (2,)
    mode = g.choice(["nearest", "linear", "cubic"])
    attrs: dict[str, Any] = {"axes": axes, "mode": mode}
    if g.flag():
        attrs["sizes"] = tuple(g.integer(1, int(most * sizes[a - 2])) for a in axes)
    else:
        attrs["scales"] = tuple(
            g.choice([s for s in (2.0, 1.5, 0.5, 0.75, 1.0) if s <= most and s * sizes[a - 2] >= 1]) for a in axes
        )
    attrs["coordinates"] = g.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    if mode == "nearest":
        attrs["nearest_mode"] = g.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic":
        attrs["exclude_outside"] = g.flag()
    return g.op("Resize", x, **attrs)


def _pad(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    most = 0 if g.room(x) < 2 else 3
    begins, ends = ([g.integer(-1 if n > 4 else 0, most if n > 4 else 0) for n in shape] for _ in range(2))
    return g.op("Pad", x, pads=(0, *begins, 0, *ends), value=g.choice([0.0, -0.5]))


def _slice(g: Growth, x: Value) -> Value:
    axis = g.choice([i + 1 for i, n in enumerate(g.shape(x)) if n > 3])
    n = g.shape(x)[axis - 1]
    low, high = sorted(g.integer(0, n) for _ in range(2))
    low, high = (low, high) if high - low > 2 else (n // 4, n)
    step, back = g.integer(1, 3), g.flag()
    start, end = (high - 1, low - 1 if low else -_LAST - 1) if back else (low, high)
    return g.op("Slice", x, axes=(axis,), starts=(start,), ends=(end,), steps=(-step if back else step,))


def _crop(g: Growth, x: Value, target: Shape) -> Value:
    """Slice a value to these extents; at the begin, the end or both sides."""
    axes = [i + 1 for i, (n, m) in enumerate(zip(g.shape(x), target, strict=True)) if n > m]
    if not axes:
        return x
    starts = tuple(g.choice([0, g.shape(x)[a - 1] - target[a - 1]]) for a in axes)
    ends = tuple(s + target[a - 1] for s, a in zip(starts, axes, strict=True))
    return g.op("Slice", x, axes=tuple(axes), starts=starts, ends=ends, steps=(1,) * len(axes))


def _relatives(g: Growth, x: Value) -> list[Value]:
    return [u for u in reversed(g.live) if len(g.shape(u)) == len(g.shape(x))]


def _join(g: Growth, x: Value) -> Value:
    """Crop `x` and an earlier value to what both have, and add, pool or stack them along any axis."""
    u = g.choice(_relatives(g, x))
    axis = g.integer(0, len(g.shape(x)))
    common = [min(m, n) for m, n in zip(g.shape(x), g.shape(u), strict=True)]
    if not axis:
        return g.op(g.choice(["Add", "Max", "Sub", "Sum"]), _crop(g, x, tuple(common)), _crop(g, u, tuple(common)))
    a, b = (_crop(g, v, (*common[: axis - 1], g.shape(v)[axis - 1], *common[axis:])) for v in (x, u))
    small = prod(g.shape(a)) + prod(g.shape(b)) <= g.capacity
    return g.op("Concat", a, b, axis=axis) if small else _crop(g, x, tuple(common))


def _constant(g: Growth, x: Value) -> Value:
    """A parameter with one value per position, row, column or channel."""
    shape = g.shape(x)
    masks = list(product((True, False), repeat=len(shape)))
    kept = g.choice(masks)
    extents = tuple(n if keep else 1 for n, keep in zip(shape, kept, strict=True))
    op = g.choice(["Add", "Mul", "Sub", "Div", "PRelu", "Max"])
    return g.op(op, x, g.nonzero(*extents) if op == "Div" else g.weights(*extents))


def _context(g: Growth, x: Value) -> Value:
    """Add what a reduction over some axes leaves: a broadcast of few values over a map."""
    return g.op("Add", x, g.op(g.choice(["ReduceMean", "ReduceMax", "ReduceSum"]), x, axes=g.axes(x), keepdims=True))


def _shuffle(g: Growth, x: Value) -> Value:
    """Shuffle channels, or move channels to space and back by reshapes and a transpose."""
    channels, *sizes = g.shape(x)
    k = g.choice([k for k in range(channels, 0, -1) if channels % k == 0])
    rest = range(3, 3 + len(sizes))
    if g.flag():
        mixed = g.op("Transpose", g.op("Reshape", x, shape=(0, k, channels // k, *sizes)), perm=(0, 2, 1, *rest))
        return g.op("Reshape", mixed, shape=(0, channels, *sizes))
    split = g.op("Reshape", x, shape=(0, channels // k, k, *sizes))
    perm = (0, 1, 3, 2, *range(4, 3 + len(sizes)))
    return g.op("Reshape", g.op("Transpose", split, perm=perm), shape=(0, channels // k, sizes[0] * k, *sizes[1:]))


def _head(g: Growth, x: Value) -> Value:
    flat = g.op("Flatten", x)
    return g.op("Gemm", flat, g.weights(prod(g.shape(x)), 2))


def _can_upsample(g: Growth, x: Value) -> bool:
    return is_map(g, x) and g.room(x) >= 2 ** len(g.shape(x))


def _is_long(g: Growth, x: Value) -> bool:
    return max(g.shape(x)) > 3


def _step(fits: Callable[[Growth, Value], bool], grow: Callable[[Growth, Value], Value], weight: int) -> Step:
    return Step(frozenset(), fits, grow, True, weight)


_STEPS = [
    _step(_fits_windows, _conv, 40),
    _step(_can_upsample, _conv_transpose, 15),
    _step(_fits_windows, _pool("AveragePool"), 15),
    _step(_fits_windows, _pool("MaxPool"), 15),
    _step(_fits_windows, _resize, 15),
    _step(lambda g, x: True, _join, 25),
    _step(lambda g, x: True, _constant, 8),
    _step(lambda g, x: True, _context, 6),
    _step(is_map, _shuffle, 8),
    _step(_is_long, _pad, 8),
    _step(_is_long, _slice, 10),
    _step(lambda g, x: len(g.shape(x)) > 1 and prod(g.shape(x)) < 500, _head, 2),
]
"""Beside the steps of all ops, which weigh about 80 together."""
