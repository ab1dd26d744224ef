"""Transposes of affine steps, many rows at a time, written out for the common ones; of others, autograd's."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F

from pathlift.ir.primitives.maps import Contract, Conv
from pathlift.ir.primitives.reshapes import Reinterpretation
from pathlift.passes.tape.affine import Affine, Combined, Moved, Scaled, Shifted, Sum, Weighted

Tensor = torch.Tensor
Shape = tuple[int, ...]


def transposed(step: Affine, rows: Tensor) -> list[Tensor]:
    """Apply the transposed linear part, as `Affine.transpose`.

    Each element is a sum of products of rows and coefficients, in some order.

    Parameters
    ----------
    step
        An affine step.
    rows
        ``(R, *shape)``, in any format of floating-point numbers.

    Returns
    -------
    list
        ``(R, *shape)`` per operand.
    """
    match step:
        case Weighted(map=Contract() as f) if _spreads_nothing(f, step.shapes[0]):
            return [_contracted(f, rows, step.weights.values.to(rows.dtype), step.shapes[0])]
        case Weighted(map=Conv() as f):
            return [_convolved(f, rows, step.weights.values.to(rows.dtype), step.shapes[0])]
        case Combined():
            return [_combined(step, rows)]
        case Scaled():
            return [_summed(rows * step.factor.values.to(rows.dtype), step.shapes[0])]
        case Sum() | Shifted():
            return [_summed(rows, shape) for shape in step.shapes]
        case Moved(view=Reinterpretation()):
            return [rows.reshape(len(rows), *step.shapes[0])]
        case Moved():
            return _moved(step, rows)
    return step.transpose(rows)


def _spreads_nothing(f: Contract, shape: Shape) -> bool:
    """Whether every axis of the operand is one of the weights or of the result, and none is summed by itself."""
    xs, ws, out = f.letters(len(shape))
    return set(xs) <= set(ws + out)


def _contracted(f: Contract, rows: Tensor, w: Tensor, shape: Shape) -> Tensor:
    if f.equation == "...i,io->...o":
        return rows @ w.mT
    if f.equation == "...i,oi->...o":
        return rows @ w
    xs, ws, out = f.letters(len(shape))
    names = {letter: chr(ord("a") + i) for i, letter in enumerate(dict.fromkeys(xs + ws + out))}
    xs, ws, out = ("".join(names[letter] for letter in term) for term in (xs, ws, out))
    return torch.einsum(f"Z{out},{ws}->Z{xs}", rows, w)


def _convolved(f: Conv, rows: Tensor, w: Tensor, shape: Shape) -> Tensor:
    n = len(f.strides)
    conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    full = conv(rows.flatten(0, 1), w, None, f.strides, 0, 0, f.groups, f.dilations)
    # What the windows cover, moved to where the input begins, and cut or filled up to where it ends.
    edges = [e for i in reversed(range(n)) for e in (-f.pads[i], shape[2 + i] + f.pads[i] - full.shape[2 + i])]
    return F.pad(full, edges).reshape(len(rows), *shape)


def _combined(step: Combined, rows: Tensor) -> Tensor:
    shape = step.shapes[0]
    taps = {axis: step.map.taps(axis, shape[axis]) for axis in (a % len(shape) for a in step.map.mixed_axes(shape))}
    rows = rows.reshape(len(rows), *(len(taps[i].sources) if i in taps else n for i, n in enumerate(shape)))
    for axis, tap in taps.items():
        sources = torch.from_numpy(tap.sources.copy()).to(rows.device)
        weights = (sources >= 0).double()
        if tap.coefficients is not None:
            weights = weights * torch.from_numpy(tap.coefficients.copy()).to(weights)
        matrix = torch.zeros(len(sources), shape[axis], dtype=torch.float64, device=rows.device)
        matrix.scatter_add_(1, sources.clamp(min=0), weights.expand(sources.shape))
        rows = torch.tensordot(rows, matrix.to(rows), dims=([axis + 1], [0])).movedim(-1, axis + 1)
    return rows


def _moved(step: Moved, rows: Tensor) -> list[Tensor]:
    """Elements of operands are numbered from 1, to see where they go; 0 is what is filled in."""
    sizes = [prod(s) for s in step.shapes]
    numbers = torch.split(torch.arange(1, sum(sizes) + 1, dtype=torch.float64, device=rows.device), sizes)
    places = step.linear(*(x.reshape(s) for x, s in zip(numbers, step.shapes, strict=True))).flatten().long()
    flat = rows.reshape(len(rows), -1)
    found = flat.new_zeros(len(rows), sum(sizes) + 1).scatter_add(1, places.expand_as(flat), flat)[:, 1:]
    return [x.reshape(len(rows), *s) for x, s in zip(torch.split(found, sizes, 1), step.shapes, strict=True)]


def _summed(rows: Tensor, shape: Shape) -> Tensor:
    """Sum over the axes along which an operand was broadcast."""
    return rows.sum_to_size(len(rows), *[1] * (rows.ndim - 1 - len(shape)), *shape).reshape(len(rows), *shape)
