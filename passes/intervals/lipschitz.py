"""Lipschitz constants from boxes of Jacobians."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from pathlift.passes.generalization.operator_norms import spectral_norms
from pathlift.passes.intervals.box import Box, gamma, up
from pathlift.passes.intervals.jacobian import jacobian
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
SIGNS = 10
"""Up to so many outputs, their sum of magnitudes is bounded by a row for each way to choose signs."""


def box_constant(tape: Tape, known: Sequence[Box], norm: str) -> float:
    """Bound a Lipschitz constant by boxes of Jacobians.

    Parameters
    ----------
    tape
        The network.
    known
        A box of each of its values over a convex domain; infinite ones for all of ℝⁿ. Elements of inputs that have one
        value only do not move.
    norm
        ``linf``: from ℓ_∞ to ℓ_∞; ``l1``: from ℓ_∞ to ℓ₁; ``l2``: from ℓ₂ to ℓ₂.

    Returns
    -------
    float
        Rounded up; ``inf`` where float64 cannot hold it.

    Raises
    ------
    UnsupportedError
        If an activation's slopes are not bounded; names the node.
    """
    moving = torch.cat([(known[i].low < known[i].high).reshape(-1) for i in range(len(tape.inputs))])
    matrix = _flat(jacobian(tape, known), moving)
    if not matrix.bounded:
        return float("inf")
    if norm == "l2":
        centre, radius = matrix.centre_radius()
        whole = float(spectral_norms(matrix.magnitude))
        parts = spectral_norms(torch.stack([centre, radius])).sum()
        return min(whole, float(up(parts)))  # |J| ≤ its magnitudes, and J = centre + something within the radius
    each = _sums(matrix.magnitude)
    if norm == "linf":
        return float(each.max()) if len(each) else 0.0
    total = float(_sums(each[None]))
    count = len(each)
    if not 1 < count <= SIGNS:
        return total
    signs = torch.tensor([[1.0, *s] for s in product((1.0, -1.0), repeat=count - 1)], dtype=torch.float64)
    return min(total, float(_sums(_flat(jacobian(tape, known, signs), moving).magnitude).max()))


def _flat(rows: Sequence[Box], moving: Tensor) -> Box:
    """All inputs next to each other, zero where nothing moves."""
    low, high = torch.cat([b.low.flatten(1) for b in rows], 1), torch.cat([b.high.flatten(1) for b in rows], 1)
    return Box(torch.where(moving, low, 0.0), torch.where(moving, high, 0.0))


def _sums(x: Tensor) -> Tensor:
    """Σ over the last axis of what is not negative, rounded up."""
    return up(x.sum(-1) * (1 + gamma(x.shape[-1])))
