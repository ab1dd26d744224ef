"""Linear maps: what `Algebra.linear` is handed. Spatial axes follow batch and channel; 1-D, 2-D and 3-D alike."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.errors import GraphError
from pathlift.ir.primitives.base import LinearMap, SeparableMap, normalized_axes, reduced
from pathlift.ir.primitives.taps import Taps, transposed_taps, whole_axis, window_taps
from pathlift.ir.types import Array, Dim, Dims, Ints

if TYPE_CHECKING:
    from torch import Tensor

_EQUATION = re.compile(r"(\.?[A-Za-z]*),([A-Za-z]*)->([A-Za-z]*\.?[A-Za-z]*)")


@dataclass(frozen=True)
class Contract(LinearMap):
    """An einsum of activations and weights, ``"…i,io->…o"``: the first operand is `x`, the second the weights.

    Parameters
    ----------
    equation
        Einsum letters; an ellipsis may lead the first operand and the result. Letters shared by both operands and
        missing from the result are summed over.
    """

    equation: str

    @functools.cached_property
    def terms(self) -> tuple[str, str, str]:
        """Letters of `x`, of the weights, and of the result; ``.`` stands for the ellipsis."""
        match = _EQUATION.fullmatch(self.equation.replace(" ", "").replace("...", "."))
        terms = () if match is None else match.groups()
        if not terms or not set(terms[2]) <= set(terms[0] + terms[1]) or len(set(terms[2])) < len(terms[2]):
            raise GraphError("0528", f"{self.equation!r} is no contraction of activations with weights")
        return terms[0], terms[1], terms[2]

    def letters(self, rank: int) -> tuple[str, str, str]:
        """The terms for an `x` of this rank: a letter per axis, Greek ones for the ellipsis."""
        xs, ws, out = self.terms
        ellipsis = "".join(chr(ord("α") + i) for i in range(rank - len(xs.replace(".", ""))))
        return xs.replace(".", ellipsis), ws, out.replace(".", ellipsis)

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        assert w is not None
        xs, ws, out = self.terms
        lead = len(x) - len(xs.replace(".", ""))
        if len(w) != len(ws) or lead < 0 or (lead > 0 and "." not in xs):
            raise GraphError("0528", f"shapes {list(x)} and {list(w)} do not fit {self.equation!r}")
        extents: dict[str, Dim] = {}
        for letter, dim in [*zip(xs.replace(".", ""), x[lead:], strict=True), *zip(ws, w, strict=True)]:
            agree, extents[letter] = D.unify(extents.get(letter), dim)
            if not agree:
                raise GraphError("0528", f"shapes {list(x)} and {list(w)} disagree in {letter!r} of {self.equation!r}")
        return tuple(d for letter in out for d in (x[:lead] if letter == "." else (extents[letter],)))

    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        import torch

        assert w is not None
        if self.equation == "...i,io->...o":
            return x @ w
        if self.equation == "...i,oi->...o":
            return x @ w.mT
        return torch.einsum(self.equation, x, w)


@dataclass(frozen=True)
class Conv(LinearMap):
    """Convolution (cross-correlation). `pads`: all begins, then all ends."""

    strides: Ints
    pads: Ints
    dilations: Ints
    groups: int = 1

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        assert w is not None
        n = len(self.strides)
        D.check_windows(n, self.pads, self.strides, self.dilations)
        if (
            len(x) != n + 2
            or len(w) != n + 2
            or self.groups < 1
            or not _fits(x[1], w[1], self.groups)
            or not _fits(w[0], None, self.groups)
        ):
            raise GraphError("0529", f"weights {list(w)} with {self.groups} groups do not fit an input {list(x)}")
        spatial = (
            D.windows(x[i + 2], _known(w[i + 2]), self.strides[i], self.pads[i] + self.pads[i + n], self.dilations[i])
            for i in range(n)
        )
        return (x[0], w[0], *spatial)

    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        import torch.nn.functional as F

        assert w is not None
        n = len(self.strides)
        begins, ends = self.pads[:n], self.pads[n:]
        if begins != ends:
            x = F.pad(x, [p for i in reversed(range(n)) for p in (begins[i], ends[i])])
            begins = (0,) * n
        conv = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
        result: Tensor = conv(x, w, None, self.strides, begins, self.dilations, self.groups)
        return result

    def taps(self, i: int, size: int, kernel: int) -> Array:
        """Sources along the i-th spatial axis, ``(out, kernel)``; −1 in the padding."""
        begin, end = self.pads[i], self.pads[i + len(self.strides)]
        count = D.windows(size, kernel, self.strides[i], begin + end, self.dilations[i])
        assert isinstance(count, int)
        return window_taps(size, count, kernel, self.strides[i], begin, self.dilations[i])


@dataclass(frozen=True)
class ConvTranspose(LinearMap):
    """Transposed convolution; weights are (in, out/groups, kernel…). `pads` crop the full result."""

    strides: Ints
    pads: Ints
    dilations: Ints
    output_padding: Ints
    groups: int = 1

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        assert w is not None
        n = len(self.strides)
        D.check_windows(n, self.pads, self.strides, self.dilations)
        fits = len(x) == len(w) == n + 2 == len(self.output_padding) + 2 and self.groups > 0
        if not fits or not D.unify(x[1], w[0])[0] or not _fits(w[0], None, self.groups):
            raise GraphError("0529", f"weights {list(w)} with {self.groups} groups do not fit an input {list(x)}")
        spatial = [self._extent(i, x[i + 2], _known(w[i + 2])) for i in range(n)]
        if any(isinstance(size, int) and size < 0 for size in spatial):
            raise GraphError("0530", f"pads {list(self.pads)} crop more than there is")
        channels = w[1] * self.groups if isinstance(w[1], int) else None
        return (x[0], channels, *spatial)

    def _extent(self, i: int, size: Dim, kernel: int) -> Dim:
        if not isinstance(size, int):
            return None
        crop = self.pads[i] + self.pads[i + len(self.strides)]
        return (size - 1) * self.strides[i] + self.dilations[i] * (kernel - 1) + 1 + self.output_padding[i] - crop

    def taps(self, i: int, size: int, kernel: int) -> Array:
        """Sources along the i-th spatial axis, ``(out, kernel)``; −1 where a weight meets no input."""
        count = self._extent(i, size, kernel)
        assert isinstance(count, int)
        return transposed_taps(size, count, kernel, self.strides[i], self.pads[i], self.dilations[i])

    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        import torch.nn.functional as F

        assert w is not None
        n = len(self.strides)
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        full = conv(x, w, None, self.strides, 0, 0, self.groups, self.dilations)
        # One explicit crop (or zero extension by output padding): torch knows symmetric pads only.
        edges = [
            p for i in reversed(range(n)) for p in (-self.pads[i], self.output_padding[i] - self.pads[i + n])
        ]  # fmt: skip
        return F.pad(F.pad(full, [max(e, 0) for e in edges]), [min(e, 0) for e in edges])


@dataclass(frozen=True)
class AveragePool(SeparableMap):
    """Average over windows. Edges weigh 1/count, where `count` depends on the position at borders.

    ONNX counts: without `count_include_pad`, the input values in the window; with it, also those in the declared
    padding, but never what `ceil_mode` adds beyond.
    """

    kernel: Ints
    strides: Ints
    pads: Ints
    dilations: Ints
    ceil_mode: bool = False
    count_include_pad: bool = False

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        return pooled_shape(x, self.kernel, self.strides, self.pads, self.dilations, self.ceil_mode)

    def mixed_axes(self, shape: Ints) -> Ints:
        return tuple(range(2, len(shape)))

    def taps(self, axis: int, size: int) -> Taps:
        """Windows are boxes, so that the divisor is a product over axes."""
        i, n = axis - 2, len(self.kernel)
        k, s, begin, end, d = self.kernel[i], self.strides[i], self.pads[i], self.pads[i + n], self.dilations[i]
        count = D.pooled(size, k, s, begin, end, d, self.ceil_mode)
        assert isinstance(count, int)
        sources = window_taps(size, count, k, s, begin, d)
        padded = window_taps(size + begin + end, count, k, s, 0, d)
        counted = padded if self.count_include_pad else sources
        divisor = np.maximum((counted >= 0).sum(1, keepdims=True), 1)
        return Taps(sources, (sources >= 0) / divisor)


@dataclass(frozen=True)
class Reduce(SeparableMap):
    """Sum or mean over `axes` (all, if empty)."""

    axes: Ints
    keepdims: bool
    mean: bool

    def shape(self, x: Dims, w: Dims | None) -> Dims:
        return reduced(x, self.axes, self.keepdims)

    def __call__(self, x: Tensor, w: Tensor | None = None) -> Tensor:
        axes = normalized_axes(self.axes, x.ndim)
        if not axes:
            return x
        return x.mean(axes, self.keepdims) if self.mean else x.sum(axes, self.keepdims)

    def mixed_axes(self, shape: Ints) -> Ints:
        return normalized_axes(self.axes, len(shape))

    def taps(self, axis: int, size: int) -> Taps:
        sources = whole_axis(size)
        return Taps(sources, np.full(sources.shape, 1 / max(1, size)) if self.mean else None)


def pooled_shape(x: Dims, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool) -> Dims:
    """Shape of a pooled feature map."""
    n = len(kernel)
    D.check_windows(n, pads, kernel, strides, dilations)
    if len(x) != n + 2:
        raise GraphError("0531", f"a {n}-D window does not fit an input {list(x)}")
    spatial = (
        D.pooled(x[i + 2], kernel[i], strides[i], pads[i], pads[i + n], dilations[i], ceil_mode) for i in range(n)
    )
    return (x[0], x[1], *spatial)


def _known(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise GraphError("0529", "the extents of the weights are not known")
    return dim


def _fits(channels: Dim, per_group: Dim, groups: int) -> bool:
    if not isinstance(channels, int):
        return True
    return channels % groups == 0 if per_group is None else channels == _known(per_group) * groups
