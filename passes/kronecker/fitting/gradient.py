"""Gradient descent on all factors at once: Adam, and Muon with the polar factor of each dense block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.objective import Objective

Direction = Literal["adam", "muon"]

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def polar(blocks: Array, *, exact: bool = False) -> Array:
    """Compute polar factors U·Vᵀ of matrices U·S·Vᵀ.

    Parameters
    ----------
    blocks
        ``(…, b, c)``, float64.
    exact
        By SVD, where directions of singular value 0 stay 0. Otherwise by five steps of the Newton–Schulz iteration
        X ← 3.4445·X − 4.7750·(X·Xᵀ)X + 2.0315·(X·Xᵀ)²X, which brings singular values above 1 % of the Frobenius norm to
        0.7 … 1.2 (Jordan, Muon, 2024). Gonon, Muşat, Boumal (arXiv 2602.11948) show that this inexactness helps: steps
        of fixed length along exact polar factors confine the iterates to a grid.

    Returns
    -------
    Array
        ``(…, b, c)``.
    """
    if exact:
        u, s, vt = np.linalg.svd(blocks, full_matrices=False)
        alive = s > s[..., :1] * max(blocks.shape[-2:]) * np.finfo(float).eps
        found: Array = (u * alive[..., None, :]) @ vt
        return found
    wide = blocks.shape[-2] <= blocks.shape[-1]
    x = blocks if wide else blocks.mT
    norms = np.linalg.norm(x, axis=(-2, -1), keepdims=True)
    x = x / np.where(norms > 0, norms, 1.0)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


def descend(
    objective: Objective,
    factors: Sequence[Array],
    direction: Direction,
    *,
    steps: int,
    rate: float = 0.2,
    on_step: Callable[[int, float], object] | None = None,
) -> tuple[tuple[Array, ...], int]:
    """Improve factors by gradient descent, and keep the best ones met.

    Parameters
    ----------
    objective
        What to minimize.
    factors
        The start, from left to right, ``(a, d, b, c)``, float64.
    direction
        ``adam`` (Kingma, Ba, arXiv 1412.6980), or ``muon``: the polar factor of the Nesterov momentum of each b×c
        block. Never of the matrix that they stand for, in which they are far apart.
    steps
        To take.
    rate
        Length of the first step, relative to the factor: to the root mean square of its elements for ``adam``, of the
        singular values of its blocks for ``muon``. It decays to 0 along a half-cosine.
    on_step
        Called after each step with its number and the least distance so far.

    Returns
    -------
    tuple
        The factors of least distance, and the number of steps.
    """
    current = list(factors)
    states = [_STATES[direction](k) for k in current]
    best, least = tuple(current), math.inf
    for step in range(steps + 1):
        loss, gradients = objective.gradients(current)
        if loss < least:
            best, least = tuple(current), loss
        if step and on_step is not None:
            on_step(step, least)
        if step < steps:
            length = rate * (1 + math.cos(math.pi * step / steps)) / 2
            current = [k - length * s.direction(g) for k, s, g in zip(current, states, gradients, strict=True)]
    return best, steps


class _Adam:
    def __init__(self, factor: Array) -> None:
        self.scale = math.sqrt(float(np.mean(factor**2)))
        self.mean = self.square = np.zeros_like(factor)
        self.steps = 0

    def direction(self, gradient: Array) -> Array:
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.99 * self.square + 0.01 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.99**self.steps)
        root = np.sqrt(square)
        return self.scale * mean / np.where(root > 0, root, 1.0)


class _Muon:
    def __init__(self, factor: Array) -> None:
        self.scale = math.sqrt(float(np.mean(np.sum(factor**2, axis=(2, 3)))) / min(factor.shape[2:]))
        self.momentum = np.zeros_like(factor)

    def direction(self, gradient: Array) -> Array:
        self.momentum = 0.9 * self.momentum + gradient
        return self.scale * polar(gradient + 0.9 * self.momentum)


_STATES: dict[Direction, type[_Adam] | type[_Muon]] = {"adam": _Adam, "muon": _Muon}
