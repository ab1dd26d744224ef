"""The second moment of a layer's inputs, as the weight of a fit."""

from __future__ import annotations

import numpy as np

from pathlift.ir.errors import InvalidModelError, UsageError
from pathlift.ir.types import Array

_TOLERANCE = 1e-5
"""What sums in float32 may lose, relative to the largest eigenvalue."""


def square_root(covariance: Array, size: int, *, name: str) -> Array:
    """Return F of F·Fᵀ = C, scaled to a largest eigenvalue of 1.

    Parameters
    ----------
    covariance
        C, ``(size, size)``, symmetric and positive semidefinite.
    size
        Inputs of the layer.
    name
        What errors call the layer's matrix.

    Returns
    -------
    Array
        ``(size, rank)``, float64. Directions of an eigenvalue below ``size·eps`` of the largest, which float64 cannot
        tell from 0, are left out.

    Raises
    ------
    UsageError
        If it has another size, is not symmetric, or has an eigenvalue that is negative by more than rounding errors of
        float32.
    InvalidModelError
        If it holds values that are not finite.
    """
    c = np.asarray(covariance).astype(np.float64)
    about = f"the second moment of the inputs of {name!r}"
    if c.shape != (size, size):
        raise UsageError("0458", f"{about} is {'×'.join(map(str, c.shape))}, and must be {size}×{size}")
    bad = int(c.size - np.isfinite(c).sum())
    if bad:
        raise InvalidModelError("0182", f"{about}: {bad} of {c.size} values are NaN or infinite")
    c = c / (np.abs(c).max(initial=0.0) or 1.0)
    if np.abs(c - c.T).max(initial=0.0) > _TOLERANCE:
        raise UsageError("0459", f"{about} is not symmetric", hint="give E[x·xᵀ] over samples x")
    values, vectors = np.linalg.eigh((c + c.T) / 2)
    top = max(float(values[-1]), 0.0)
    if values[0] < -_TOLERANCE * max(top, 1.0):
        least = f"its least eigenvalue is {values[0] / (top or 1.0):.1e} times its largest"
        raise UsageError("0469", f"{about} is not positive semidefinite: {least}", hint="give E[x·xᵀ] over samples x")
    kept = values > size * np.finfo(float).eps * top
    root: Array = vectors[:, kept] * np.sqrt(values[kept] / (top or 1.0))
    return root
