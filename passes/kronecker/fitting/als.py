"""Alternating least squares: one factor after the other is the best one for all others as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pathlift.ir.kronecker import Pattern, apply, dense, gather, pattern_of
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.objective import Objective, correlate, times

_DAMPING = 1e-12
_INNER = 2
"""Steps of conjugate gradients per factor and sweep."""
_PLATEAU = 3e-4
"""A sweep that gains less than this share is the last."""


def als(
    objective: Objective,
    factors: Sequence[Array],
    *,
    steps: int,
    on_step: Callable[[int, float], object] | None = None,
) -> tuple[tuple[Array, ...], int]:
    """Improve factors by alternating least squares.

    For a factor K between the product L of those before it and S = R·X of those behind it, the distance is a convex
    quadratic in the non-zeros of K, with the normal equations

        [Lᵀ·L·K·S·Sᵀ] = [Lᵀ·Y·Sᵀ]    within the pattern of K.

    Where blocks of K reach disjoint parts of Y (the first factor always; all factors, if they are chainable and X is
    the identity) these are one equation per b×c block, G·K·H = T, solved by K = G⁻¹·T·H⁻¹. This is the preconditioner
    of conjugate gradients otherwise, which is one step where it is exact. Distances never increase.

    Parameters
    ----------
    objective
        What to minimize.
    factors
        The start, from left to right, ``(a, d, b, c)``, float64.
    steps
        The most sweeps over all factors. It ends before, where a sweep gains less than 3·10⁻⁴ of the distance.
    on_step
        Called after each sweep with its number and the distance.

    Returns
    -------
    tuple
        The factors, and the number of sweeps.
    """
    best, reads = list(factors), objective.reads(factors)
    distance = objective.loss(best, reads)
    gram = None if objective.inputs is None else objective.inputs @ objective.inputs.T
    for step in range(1, steps + 1):
        found = _sweep(objective, best, reads, gram)
        reads = objective.reads(found)
        before, after = distance, objective.loss(found, reads)
        if after < before:
            best, distance = found, after
        if on_step is not None:
            on_step(step, distance)
        if after >= (1 - _PLATEAU) * before:
            return tuple(best), step
    return tuple(best), steps


def _sweep(
    objective: Objective, factors: Sequence[Array], reads: Sequence[Array | None], gram: Array | None
) -> list[Array]:
    found = list[Array]()
    target, left = objective.target, None
    for k, (factor, read) in enumerate(zip(factors, reads, strict=True)):
        last = k == len(factors) - 1
        right = gram if last or read is None else read @ read.T
        factor = _solve(left, right, correlate(target, read, pattern_of(factor)), factor)
        found.append(factor)
        if not last:
            transposed = factor.swapaxes(2, 3)
            target = apply(transposed, target)
            left = apply(transposed, times(transposed, left).T)
    return found


def _solve(left: Array | None, right: Array | None, target: Array, start: Array) -> Array:
    """Solve [left·K·right] = target within a pattern; matrices are symmetric and may be singular or the identity.

    A few steps are enough: what they leave, the next sweep finds, and its factors are better ones to solve for.
    """
    p = pattern_of(start)
    g, h = _inverse_blocks(left, Pattern(p.a, p.b, p.b, p.d)), _inverse_blocks(right, Pattern(p.a, p.c, p.c, p.d))
    solution = start
    rest = target - _normal(left, right, start)
    direction, slope, stop = np.zeros_like(start), 1.0, 0.0
    for step in range(_INNER):
        step_ = g @ rest @ h
        new = float(np.vdot(rest, step_))
        if step == 0:
            stop = new * 1e-20
        if not new > stop:
            break
        direction = step_ + (new / slope if step else 0.0) * direction
        image = _normal(left, right, direction)
        curvature = float(np.vdot(direction, image))
        if not curvature > 0:
            break
        solution = solution + (new / curvature) * direction
        rest = rest - (new / curvature) * image
        slope = new
    return solution


def _normal(left: Array | None, right: Array | None, factor: Array) -> Array:
    """The elements of left·K·right within the pattern of K."""
    p = pattern_of(factor)
    if left is None and right is not None:
        blocks: Array = factor @ gather(right, Pattern(p.a, p.c, p.c, p.d))
        return blocks
    rows = dense(factor) if left is None else _rows(left, factor)
    return correlate(rows, right, p)


def _rows(left: Array, factor: Array) -> Array:
    return apply(factor.swapaxes(2, 3), left).T  # left is symmetric: (Kᵀ·left)ᵀ = left·K


def _inverse_blocks(matrix: Array | None, pattern: Pattern) -> Array:
    """Invert the diagonal blocks of a positive semidefinite matrix, damped by 10⁻¹² of their trace."""
    identity = np.eye(pattern.b)
    if matrix is None:
        return identity
    blocks = gather(matrix, pattern)
    damping = _DAMPING * np.trace(blocks, axis1=-2, axis2=-1)
    damping = np.where(damping > 0, damping, 1.0)[..., None, None]
    found: Array = np.linalg.inv(blocks + damping * identity)
    return found
