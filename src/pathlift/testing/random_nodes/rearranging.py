"""Random nodes that move elements."""

from __future__ import annotations

import numpy as np

from pathlift.testing.onnx_models import f32
from pathlift.testing.random_nodes.draws import Case, Rng, axes_given, axes_of, axis_of, ints, makes, one, tensor


@makes("Flatten")
def flatten(rng: Rng, opset: int) -> Case:
    """A random Flatten."""
    x = tensor(rng, low=0)
    return Case([x], {"axis": int(rng.integers(-x.ndim, x.ndim + 1))})


@makes("Transpose")
def transpose(rng: Rng, opset: int) -> Case:
    """A random Transpose."""
    x = tensor(rng)
    return Case([x], {"perm": [int(a) for a in rng.permutation(x.ndim)]})


@makes("Squeeze")
def squeeze(rng: Rng, opset: int) -> Case:
    """A random Squeeze."""
    x = f32(rng, *(one(rng, 1, 1, 3) for _ in range(int(rng.integers(1, 5)))))
    axes = [a - x.ndim * int(rng.integers(2)) for a in range(x.ndim) if x.shape[a] == 1 and rng.integers(2)]
    more, attributes = axes_given(opset, 13, axes)
    return Case([x, *one(rng, more, more, [])], attributes)


@makes("Unsqueeze")
def unsqueeze(rng: Rng, opset: int) -> Case:
    """A random Unsqueeze."""
    x = tensor(rng, low=0)
    more, attributes = axes_given(opset, 13, axes_of(rng, x.ndim + int(rng.integers(1, 3)), 1)[:2])
    return Case([x, *more], attributes)


@makes("Reshape")
def reshape(rng: Rng, opset: int) -> Case:
    """A random Reshape."""
    x = tensor(rng, 3)
    a, b, c = x.shape
    target = one(rng, [-1], [0, -1], [a * b, c], [0, 0, c], [a, -1, 1, c], [c, -1], [0, b * c], [])
    return Case([x, np.array(target, np.int64)], {"allowzero": one(rng, 0, 1)})


@makes("Concat")
def concat(rng: Rng, opset: int) -> Case:
    """A random Concat."""
    x = tensor(rng)
    axis = axis_of(rng, x.ndim)
    others = [[d if i != axis % x.ndim else int(rng.integers(0, 3)) for i, d in enumerate(x.shape)] for _ in range(2)]
    return Case([x, *(f32(rng, *shape) for shape in others[: int(rng.integers(3))])], {"axis": axis})


@makes("Tile")
def tile(rng: Rng, opset: int) -> Case:
    """A random Tile."""
    x = tensor(rng)
    return Case([x, np.array(ints(rng, 0, 2, x.ndim), np.int64)])


@makes("Expand")
def expand(rng: Rng, opset: int) -> Case:
    """A random Expand."""
    x = tensor(rng, low=0)
    shape = [one(rng, 1, d) for d in x.shape[int(rng.integers(0, x.ndim + 1)) :]]
    shape = [3] * int(rng.integers(2)) + shape if len(shape) == x.ndim else shape
    return Case([x, np.array([one(rng, 2, 1) if d == 1 and len(shape) > x.ndim else d for d in shape], np.int64)])


@makes("DepthToSpace", "SpaceToDepth")
def blocks(rng: Rng, opset: int) -> Case:
    """A random DepthToSpace or SpaceToDepth."""
    block = int(rng.integers(1, 4))
    n, c, h, w = ints(rng, 1, 2, 4)
    x = f32(rng, n, c * block**2, h * block, w * block)
    return Case([x], {"blocksize": block, "mode": one(rng, "DCR", "CRD")})


@makes("Slice")
def slice_(rng: Rng, opset: int) -> Case:
    """A random Slice."""
    x = tensor(rng)
    axes = axes_of(rng, x.ndim, 1)
    axes = one(rng, axes, list(range(len(axes))))
    starts, ends = ([one(rng, int(v), int(v), 2**40, -(2**40)) for v in rng.integers(-5, 6, len(axes))] for _ in "12")
    if opset < 10:
        given = {} if axes == list(range(len(axes))) and rng.integers(2) else {"axes": axes}
        return Case([x], {"starts": starts, "ends": ends, **given})
    steps = [one(rng, 1, 2, -1, -2) for _ in axes]
    more = [None if axes == list(range(len(axes))) and rng.integers(2) else np.array(axes), np.array(steps)]
    return Case([x, np.array(starts), np.array(ends), *more[: int(rng.integers(3))]])


@makes("Split")
def split(rng: Rng, opset: int) -> Case:
    """A random Split."""
    x = f32(rng, *ints(rng, 2, 6, int(rng.integers(1, 4))))
    axis = axis_of(rng, x.ndim)
    size, count = x.shape[axis], int(rng.integers(1, 4))
    cuts = sorted(ints(rng, 0, size, count - 1))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
    outputs = [f"y{i}" for i in range(count)]
    if opset < 13:
        return Case([x], {"axis": axis, "split": parts}, outputs)
    if opset >= 18 and rng.integers(2):
        return Case([x], {"axis": axis, "num_outputs": count}, outputs)
    return Case([x, *one(rng, [], [np.array(parts, np.int64)])], {"axis": axis}, outputs)


@makes("Gather")
def gather(rng: Rng, opset: int) -> Case:
    """A random Gather."""
    x = tensor(rng)
    axis = axis_of(rng, x.ndim)
    size = min(x.shape) if rng.integers(2) else x.shape[axis]
    indices = rng.integers(-size if opset >= 11 else 0, size, ints(rng, 1, 3, int(rng.integers(3))))
    return Case([x, np.asarray(indices)], {"axis": axis})


@makes("GatherND")
def gather_nd(rng: Rng, opset: int) -> Case:
    """A random GatherND."""
    x = f32(rng, *ints(rng, 2, 3, int(rng.integers(2, 5))))
    batch = int(rng.integers(0, 2))
    named = int(rng.integers(1, x.ndim - batch + 1))
    shape = (*x.shape[:batch], *ints(rng, 1, 3, int(rng.integers(0, 2))), named)
    return Case([x, rng.integers(-2, 2, shape)], {"batch_dims": batch})


@makes("ScatterND")
def scatter_nd(rng: Rng, opset: int) -> Case:
    """A random ScatterND."""
    x = f32(rng, *ints(rng, 2, 4, int(rng.integers(1, 4))))
    named = int(rng.integers(1, x.ndim + 1))
    every = rng.permutation([list(p) for p in np.ndindex(*x.shape[:named])])
    places = every[: int(rng.integers(0, len(every) + 1))]
    updates = f32(rng, len(places), *x.shape[named:])
    return Case([x, places, updates], {"reduction": one(rng, "none", "none", "add", "mul", "max", "min")})


@makes("Pad")
def pad(rng: Rng, opset: int) -> Case:
    """A random Pad."""
    x = tensor(rng)
    mode = one(rng, "constant", "constant", "reflect", "edge", "wrap")
    value = one(rng, 0.0, 1.5, -np.inf)
    axes = axes_of(rng, x.ndim, 1) if opset >= 18 and rng.integers(2) else list(range(x.ndim))
    pads = [int(rng.integers(-1 if mode == "constant" else 0, 3)) for _ in range(2 * len(axes))]
    if opset < 11:
        return Case([x], {"mode": mode, "pads": pads, "value": value})
    more = [one(rng, None, np.float32(value)), np.array(axes)]
    count = 2 if len(axes) < x.ndim or axes != list(range(x.ndim)) else int(rng.integers(2 + (opset >= 18)))
    return Case([x, np.array(pads), *more[:count]], {"mode": mode})
