"""Views: every rearrangement that `Algebra.move` is handed, declarative, so that any analysis can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import View
from pathlift.ir.types import DTYPES, Dims

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Transpose(View):
    """Permute axes."""

    perm: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        if sorted(self.perm) != list(range(len(x))):
            raise GraphError("0523", f"perm {list(self.perm)} is no permutation of {len(x)} axes")
        return tuple(x[p] for p in self.perm)

    def __call__(self, *xs: Tensor) -> Tensor:
        return xs[0].permute(self.perm)


@dataclass(frozen=True)
class Squeeze(View):
    """Drop axes of extent 1."""

    axes: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        gone = {D.axis(a, len(x)) for a in self.axes}
        if any(isinstance(x[a], int) and x[a] != 1 for a in gone):
            raise GraphError("0524", f"cannot squeeze axes {sorted(gone)} of shape {list(x)}")
        return tuple(d for i, d in enumerate(x) if i not in gone)

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        gone = {a % x.ndim for a in self.axes}
        return x.reshape([n for i, n in enumerate(x.shape) if i not in gone])


@dataclass(frozen=True)
class Unsqueeze(View):
    """Insert axes of extent 1 at these positions of the result."""

    axes: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        rest, rank = iter(x), len(x) + len(self.axes)
        new = {D.axis(a, rank) for a in self.axes}
        if len(new) != len(self.axes):
            raise GraphError("0536", f"axes {list(self.axes)} name one axis twice")
        return tuple(1 if i in new else next(rest) for i in range(rank))

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        rest, rank = iter(x.shape), x.ndim + len(self.axes)
        new = {a % rank for a in self.axes}
        return x.reshape([1 if i in new else next(rest) for i in range(rank)])


@dataclass(frozen=True)
class Slice(View):
    """``x[start:end:step]`` along each of `axes`, with ONNX's clamping."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        out = list(xs[0])
        if not len(self.axes) == len(self.starts) == len(self.ends) == len(self.steps) or 0 in self.steps:
            raise GraphError("0539", f"axes {list(self.axes)} need as many starts, ends and steps, the steps not 0")
        for axis, start, end, step in zip(self.axes, self.starts, self.ends, self.steps, strict=True):
            out[axis] = D.sliced(out[axis], start, end, step)
        return tuple(out)

    def __call__(self, *xs: Tensor) -> Tensor:
        (x,) = xs
        for axis, start, end, step in zip(self.axes, self.starts, self.ends, self.steps, strict=True):
            picked = D.picked(x.shape[axis], start, end, step)
            if step > 0:
                index: list[slice] = [slice(None)] * x.ndim
                index[axis] = slice(picked.start, max(picked.stop, picked.start), step)
                x = x[tuple(index)]
            else:
                x = Take(axis, tuple(picked))(x)
        return x


@dataclass(frozen=True)
class Take(View):
    """Gather constant, non-negative `indices` along `axis`."""

    axis: int
    indices: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        axis = D.axis(self.axis, len(x))
        size = x[axis]
        if any(i < 0 or (isinstance(size, int) and i >= size) for i in self.indices):
            raise GraphError("0525", f"an index is outside axis {axis} of extent {size}")
        return (*x[:axis], len(self.indices), *x[axis + 1 :])

    def __call__(self, *xs: Tensor) -> Tensor:
        import torch

        (x,) = xs
        return x.index_select(self.axis % x.ndim, torch.tensor(self.indices, dtype=torch.int64, device=x.device))


@dataclass(frozen=True)
class Concat(View):
    """Join along `axis`."""

    axis: int

    def shape(self, *xs: Dims) -> Dims:
        axis = D.axis(self.axis, len(xs[0]))
        out = list(xs[0])
        for x in xs[1:]:
            if len(x) != len(out):
                raise GraphError("0526", f"cannot concatenate {', '.join(map(str, xs))}")
            for i, (a, b) in enumerate(zip(out, x, strict=True)):
                if i == axis:
                    out[i] = a + b if isinstance(a, int) and isinstance(b, int) else None
                else:
                    agree, out[i] = D.unify(a, b)
                    if not agree:
                        raise GraphError("0526", f"cannot concatenate {', '.join(map(str, xs))} along axis {axis}")
        return tuple(out)

    def __call__(self, *xs: Tensor) -> Tensor:
        import torch

        return torch.cat(xs, self.axis)


@dataclass(frozen=True)
class Stack(View):
    """Broadcast against each other and join along a new first axis: the operands of an elementwise maximum."""

    def shape(self, *xs: Dims) -> Dims:
        return (len(xs), *D.broadcast(*xs))

    def __call__(self, *xs: Tensor) -> Tensor:
        import torch

        return torch.stack(torch.broadcast_tensors(*xs))  # type: ignore[no-untyped-call]  # torch has no types for it


@dataclass(frozen=True)
class Pad(View):
    """Pad (or crop, where negative) every axis: `pads` holds all begins, then all ends, as in ONNX."""

    pads: tuple[int, ...]
    value: float = 0.0

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        if len(self.pads) != 2 * len(x):
            raise GraphError("0527", f"{len(self.pads)} pads for {len(x)} axes")
        ends = self.pads[len(x) :]
        out = tuple(
            d + self.pads[i] + ends[i] if isinstance(d, int) else (d if self.pads[i] == ends[i] == 0 else None)
            for i, d in enumerate(x)
        )
        cropped = (min(b, 0) + min(e, 0) for b, e in zip(self.pads, ends, strict=False))
        if any(isinstance(d, int) and d + crop < 0 for d, crop in zip(x, cropped, strict=True)):
            raise GraphError("0527", f"pads {list(self.pads)} crop more than there is of {list(x)}")
        return out

    def __call__(self, *xs: Tensor) -> Tensor:
        import torch.nn.functional as F

        (x,) = xs
        pairs = [p for i in reversed(range(x.ndim)) for p in (self.pads[i], self.pads[i + x.ndim])]
        return F.pad(x, pairs, value=self.value)


@dataclass(frozen=True)
class Expand(View):
    """Broadcast against a constant shape."""

    target: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        if min(self.target, default=0) < 0:
            raise GraphError("0520", f"cannot expand to {list(self.target)}")
        return D.broadcast(xs[0], self.target)

    def __call__(self, *xs: Tensor) -> Tensor:
        import torch

        (x,) = xs
        return x.expand(torch.broadcast_shapes(x.shape, self.target))  # type: ignore[no-untyped-call]  # torch has no types for it


@dataclass(frozen=True)
class Tile(View):
    """Repeat along every axis."""

    repeats: tuple[int, ...]

    def shape(self, *xs: Dims) -> Dims:
        if len(self.repeats) != len(xs[0]) or min(self.repeats, default=0) < 0:
            raise GraphError("0540", f"cannot repeat {len(xs[0])} axes {list(self.repeats)} times")
        return tuple(
            d * r if isinstance(d, int) else (d if r == 1 else None)
            for d, r in zip(xs[0], self.repeats, strict=True)
        )  # fmt: skip

    def __call__(self, *xs: Tensor) -> Tensor:
        return xs[0].repeat(self.repeats)


@dataclass(frozen=True)
class Cast(View):
    """Another floating-point format: the same real numbers. Execution keeps its own format."""

    to: str

    def __post_init__(self) -> None:
        if self.to not in DTYPES:
            raise GraphError("0541", f"there is no element type {self.to!r}")

    def shape(self, *xs: Dims) -> Dims:
        return xs[0]

    def __call__(self, *xs: Tensor) -> Tensor:
        return xs[0]


@dataclass(frozen=True)
class SplitSlice(Slice):
    """One of the slices that a Split consists of; all of them make up the axis, of extent `whole`."""

    whole: int

    def shape(self, *xs: Dims) -> Dims:
        (x,) = xs
        axis = D.axis(self.axes[0], len(x))
        if not D.unify(x[axis], self.whole)[0]:
            raise GraphError("0542", f"parts that add up to {self.whole} do not split axis {axis} of {list(x)}")
        return super().shape((*x[:axis], self.whole, *x[axis + 1 :]))


def split_slices(axis: int, parts: Sequence[int]) -> list[SplitSlice]:
    """Return the slices that a Split into `parts` along `axis` consists of.

    Raises
    ------
    GraphError
        If a part is negative.
    """
    if min(parts, default=0) < 0:
        raise GraphError("0542", f"cannot split into parts {list(parts)}")
    starts = [0, *accumulate(parts)]
    return [SplitSlice((axis,), (s,), (s + n,), (1,), starts[-1]) for s, n in zip(starts, parts, strict=False)]
