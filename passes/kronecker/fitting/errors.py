"""Errors of fits: by how much a product of factors differs from the matrix it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pathlift.ir.kronecker import product
from pathlift.ir.types import Array


class Errors(NamedTuple):
    """Relative errors.

    Parameters
    ----------
    frobenius
        ‖W − ΠK‖_F / ‖W‖_F.
    operator
        The same of largest singular values.
    outputs
        √(E‖(W − ΠK)x‖² / E‖Wx‖²); ``None`` without a covariance.
    """

    frobenius: float
    operator: float
    outputs: float | None


def relative_errors(weight: Array, factors: Sequence[Array], covariance: Array | None = None) -> Errors:
    """Measure the error of a product.

    Parameters
    ----------
    weight
        W, ``(out, in)``.
    factors
        As they multiply, each ``(a, d, b, c)``, of any real type.
    covariance
        C = E[x·xᵀ] of the inputs, ``(in, in)``.

    Returns
    -------
    Errors
        0/0 is 0.
    """
    rest = weight - product([k.astype(np.float64) for k in factors])
    weighted = None if covariance is None else ratio(_power(rest, covariance), _power(weight, covariance))
    return Errors(
        ratio(float(np.linalg.norm(rest)), float(np.linalg.norm(weight))),
        ratio(spectral(rest), spectral(weight)),
        weighted,
    )


def _power(matrix: Array, covariance: Array) -> float:
    return math.sqrt(max(0.0, float(np.einsum("ij,ij->", matrix @ covariance, matrix))))


def spectral(matrix: Array) -> float:
    """The largest singular value, from the Gram matrix, whose largest eigenvalue is well conditioned."""
    largest = float(np.abs(matrix).max(initial=0.0))
    if not largest:
        return 0.0
    m = matrix / largest
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    return largest * math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1])))


def ratio(part: float, whole: float) -> float:
    """Divide; 0/0 is 0."""
    if whole:
        return part / whole
    return math.inf if part else 0.0
