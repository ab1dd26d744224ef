"""Lipschitz constants from boxes of Jacobians, and from linear relaxations of the fold that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from pathlift.passes.generalization.operator_norms import spectral_norms
from pathlift.passes.intervals.adjoints import Adjoints, Wanted
from pathlift.passes.intervals.box import Box, gamma, up
from pathlift.passes.intervals.jacobian import jacobian
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
SIGNS = 10
"""Up to so many outputs, their sum of magnitudes is bounded by a row for each way to choose signs."""


def box_constant(tape: Tape, known: Sequence[Box], norm: str, wanted: Wanted | None = None) -> float:
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
    wanted
        Where linear relaxations may tighten the boxes, as `Adjoints` asks for it; nowhere by default.

    Returns
    -------
    float
        Rounded up; ``inf`` where float64 cannot hold it.

    Raises
    ------
    UnsupportedError
        If an activation's slopes are not bounded; names the node.
    """
    moving = [known[i].low < known[i].high for i in range(len(tape.inputs))]
    count = sum(torch.Size(tape.shapes[value]).numel() for value in tape.outputs.values())
    matrix, each = _rows(tape, known, torch.eye(count, dtype=torch.float64), moving, wanted)
    if norm == "l2":
        if not matrix.bounded:
            return float("inf")
        centre, radius = matrix.centre_radius()
        whole = float(spectral_norms(matrix.magnitude))
        parts = spectral_norms(torch.stack([centre, radius])).sum()
        return min(whole, float(up(parts)))  # |J| ≤ its magnitudes, and J = centre + something within the radius
    if norm == "linf":
        return float(each.max()) if len(each) else 0.0
    total = float(_sums(each[None]))
    if not 1 < count <= SIGNS:
        return total
    signs = torch.tensor([[1.0, *s] for s in product((1.0, -1.0), repeat=count - 1)], dtype=torch.float64)
    return min(total, float(_rows(tape, known, signs, moving, wanted)[1].max()))


def _rows(
    tape: Tape, known: Sequence[Box], rows: Tensor, moving: Sequence[Tensor], wanted: Wanted | None
) -> tuple[Box, Tensor]:
    """Rows of Jacobians, all inputs next to each other and zero where nothing moves, and bounds of their ℓ₁ norms."""
    found = None if wanted is None else Adjoints(tape, known, rows, wanted)
    boxes = jacobian(tape, known, rows) if found is None else found.inputs
    low = torch.cat([torch.where(m, b.low, 0.0).flatten(1) for b, m in zip(boxes, moving, strict=True)], 1)
    high = torch.cat([torch.where(m, b.high, 0.0).flatten(1) for b, m in zip(boxes, moving, strict=True)], 1)
    matrix = Box(low, high)
    sums = _sums(matrix.magnitude)
    return matrix, sums if found is None else torch.minimum(sums, found.sums(moving))


def _sums(x: Tensor) -> Tensor:
    """Σ over the last axis of what is not negative, rounded up."""
    return up(x.sum(-1) * (1 + gamma(x.shape[-1])))
