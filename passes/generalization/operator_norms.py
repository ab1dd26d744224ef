"""Certified upper bounds on operator norms of matrices, convolutions and other linear maps with weights."""

from __future__ import annotations

from math import ceil, cos, inf, nextafter, pi, prod, sqrt
from typing import Literal

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose

Tensor = torch.Tensor
NormName = Literal["l2", "linf"]
_SQUARINGS = 10
_UNIT = 2.0**-53
FREQUENCIES = 12
"""Points per axis of the grid of frequencies, for each tap of a kernel."""
WORK = 2e10
"""Multiplications beyond which a convolution's norm is bounded from its taps alone."""


def spectral_norms(w: Tensor) -> Tensor:
    """Bound the largest singular values of matrices from above, by squaring their Gram matrices.

    ‖W‖² = λ(WW*), and λ(G)² = λ(G²) ≤ ‖G²‖_F: after t squarings the bound is at most n^(1/2^(t+2)) times too large.
    What a product computes differs from G² by at most γ‖G‖_F² in the Frobenius norm, with γ = 4(n + 4)·2⁻⁵³ for
    complex numbers too; by Weyl's inequality that is added to λ(G²) on the way back.

    Parameters
    ----------
    w
        ``(…, rows, columns)``, float64 or complex128, finite.

    Returns
    -------
    Tensor
        ``(…)``, float64.

    References
    ----------
    Delattre, Barthélemy, Araujo, Allauzen, "Efficient bound of Lipschitz constant for convolutional layers by Gram
    iteration", arXiv 2305.16173, for the iteration.
    """
    if not w.shape[-1] or not w.shape[-2]:
        return torch.zeros(w.shape[:-2], dtype=torch.float64)
    if w.shape[-2] > w.shape[-1]:
        w = w.mT
    top = w.abs().amax((-1, -2), keepdim=True)
    scale = torch.exp2(torch.frexp(torch.where(top > 0, top, 1.0)).exponent.double())  # dividing by it is exact
    w = w / scale
    n = max(w.shape[-1], w.shape[-2])
    gamma = 4 * (n + 4) * _UNIT
    g, error = w @ w.mH, gamma * _frobenius(w).square()
    shifts, errors = [], []
    for _ in range(_SQUARINGS):
        size = _frobenius(g)
        shift = torch.exp2(torch.frexp(torch.where(size > 0, size, 1.0)).exponent.double())
        g = g / shift[..., None, None]
        errors.append(gamma * _frobenius(g).square())
        shifts.append(shift)
        g = g @ g.mH
    bound = _frobenius(g)
    for shift, e in zip(reversed(shifts), reversed(errors), strict=True):
        bound = (bound * (1 + gamma) + e).sqrt() * shift
    return ((bound * (1 + gamma) + error).sqrt() * scale.squeeze((-1, -2)).double()) * (1 + (n + 64) * _UNIT)


def _frobenius(w: Tensor) -> Tensor:
    """Frobenius norms, rounded up: a sum of m squares may lose m roundings."""
    norms: Tensor = torch.linalg.matrix_norm(w)
    return norms * (1 + (w.shape[-1] * w.shape[-2] + 8) * _UNIT)


def operator_norm(f: LinearMap, w: Tensor, norm: NormName) -> float:
    """Bound the norm of a linear map from above, for inputs of any extents.

    Parameters
    ----------
    f
        A contraction, a convolution or a transposed convolution.
    w
        Its weights, float64, finite.
    norm
        ``l2`` or ``linf``, of inputs and outputs both.

    Raises
    ------
    UnsupportedError
        If there is no rule for the map.
    """
    if isinstance(f, Conv):
        blocks = w.reshape(f.groups, -1, *w.shape[1:])  # groups, out, in, taps
        bound = _convolution(blocks, norm)
    elif isinstance(f, ConvTranspose):
        blocks = w.reshape(f.groups, -1, *w.shape[1:]).transpose(1, 2)
        # It is the transpose of a convolution, cropped: norms between ℓ₂ spaces agree, row sums are column sums.
        bound = _convolution(blocks, norm)
    elif isinstance(f, Contract):
        bound = _contraction(f, w, norm)
    else:
        raise UnsupportedError("1377", f"there is no operator norm of a {type(f).__name__}")
    return nextafter(bound, inf) if bound else 0.0


def _sums(w: Tensor) -> float:
    """The largest sum of absolute values over all axes but the first, rounded up."""
    terms = w.numel() // max(1, w.shape[0])
    return float(w.abs().reshape(w.shape[0], -1).sum(1).amax()) * (1 + 2 * (terms + 2) * _UNIT) if w.numel() else 0.0


def _contraction(f: Contract, w: Tensor, norm: NormName) -> float:
    xs, ws, out = f.terms
    if any(a not in ws and a not in out for a in xs) or len(set(ws)) < len(ws) or len(set(xs)) < len(xs):
        raise UnsupportedError("1377", f"there is no operator norm of the contraction {f.equation!r}")
    groups = [a for a in ws if a in xs and a in out]
    rows, columns = [a for a in ws if a not in xs and a in out], [a for a in ws if a in xs and a not in out]
    lone = [ws.index(a) for a in ws if a not in xs and a not in out]
    if lone:  # weights are added up first
        raise UnsupportedError("1377", f"there is no operator norm of the contraction {f.equation!r}")
    order = [ws.index(a) for a in (*groups, *rows, *columns)]
    extents = dict(zip(ws, w.shape, strict=True))
    sizes = [prod(extents[a] for a in part) for part in (groups, rows, columns)]
    matrices = w.permute(order).reshape(sizes)
    if norm == "linf":
        return _sums(matrices.reshape(sizes[0] * sizes[1], sizes[2]))
    return float(spectral_norms(matrices).amax()) if matrices.numel() else 0.0


def _convolution(w: Tensor, norm: NormName) -> float:
    """Bound the norm of ``(groups, out, in, taps…)``; of ConvTranspose ``out`` and ``in`` are those of the map.

    Zero padding, strides and borders restrict the convolution of infinite signals: its norm bounds theirs.
    """
    if not w.numel():
        return 0.0
    if norm == "linf":
        return _sums(w.flatten(0, 1))
    taps = w.flatten(3)
    bound = min(_by_taps(taps), _by_unfolding(w))
    size = prod(_points(k) for k in w.shape[3:])
    work = 4 * (_SQUARINGS + 2) * size * w.shape[0] * min(w.shape[1:3]) ** 2 * max(w.shape[1:3])
    return min(bound, _by_frequencies(w)) if work <= WORK else bound


def _by_taps(w: Tensor) -> float:
    """Σ over taps of the norms of their matrices: a convolution is a sum of shifts."""
    per_group = spectral_norms(w.movedim(3, 0)).sum(0)
    return float(per_group.amax()) * (1 + (w.shape[3] + 2) * _UNIT)


def _by_unfolding(w: Tensor) -> float:
    """√(number of taps) times the norm of the weights as a matrix of rows ``out``, or of columns ``in``.

    The unfolded input repeats every element at most once per tap. For the transpose the same holds of outputs.
    """
    rows, columns = spectral_norms(w.flatten(2)), spectral_norms(w.transpose(1, 2).flatten(2))
    return sqrt(prod(w.shape[3:])) * min(float(rows.amax()), float(columns.amax())) * (1 + 8 * _UNIT)


def _points(kernel: int) -> int:
    return FREQUENCIES * kernel if kernel > 1 else 1


def _by_frequencies(w: Tensor) -> float:
    """The largest norm of the transfer matrix Σ_k W_k·e^{ikω} on a grid, divided by how far it may fall in between.

    u*Ŵ(ω)v is, up to a phase, a trigonometric polynomial of degree (k−1)/2 per axis. At its maximum M, M. Riesz's
    inequality |p(ω)| ≥ M·cos((k−1)/2·|ω − ω₀|) holds nearby, and no ω is further than π/N from the grid.
    """
    points = [_points(k) for k in w.shape[3:]]
    falls = prod(cos((k - 1) / 2 * pi / n) for k, n in zip(w.shape[3:], points, strict=True))
    transfer = w.to(torch.complex128)
    for axis, (k, n) in enumerate(zip(w.shape[3:], points, strict=True)):
        omega = 2 * pi / n * torch.outer(torch.arange(n, dtype=torch.float64), torch.arange(k, dtype=torch.float64))
        waves = torch.polar(torch.ones_like(omega), omega)
        transfer = torch.tensordot(transfer, waves, dims=([3], [1]))  # the axis moves to the end; all do in turn
        del axis
    half = transfer.movedim(-1, 0)[: ceil((points[-1] + 1) / 2)]  # Ŵ(−ω) is the conjugate of Ŵ(ω)
    matrices = half.flatten(4).movedim(-1, 0) if half.ndim > 4 else half
    largest = float(spectral_norms(matrices).amax())
    # Each of the coefficients, and of the sums over the taps, is off by a few roundings of the sum of all |w|.
    off = (sum(w.shape[3:]) + 64) * 8 * _UNIT * float(w.square().sum().sqrt()) * sqrt(prod(w.shape[3:]))
    return (largest + off) / falls * (1 + 64 * _UNIT)
