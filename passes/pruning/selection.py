"""Selection: which weights go, from what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.passes.pruning.prunable import Prunable
from pathlift.passes.pruning.structure import Patterned, Structure

SCOPES = ("global", "layer", "row")


def select(
    found: Sequence[Prunable],
    scores: Mapping[str, Array],
    sparsity: float,
    scope: str,
    structure: Structure | Patterned,
) -> dict[str, Array]:
    """Choose the weights that stay.

    Of N units (weights, or blocks of them) in a scope, exactly round(sparsity·N) go: those that are zero already, then
    those of the lowest scores; of equal ones, the first.

    Parameters
    ----------
    found
        Parameters that have the structure.
    scores
        By name, ≥ 0, in the parameter's shape, float64.
    sparsity
        In [0, 1); patterns need none.
    scope
        What is compared with each other: all weights (``global``), those of a parameter (``layer``), or of one output
        (``row``).
    structure
        What goes together.

    Returns
    -------
    dict
        Masks by name: bool, in the parameter's shape, true for what stays.

    Raises
    ------
    UsageError
        If there is no such scope.
    """
    if scope not in SCOPES:
        raise UsageError("1405", f"there is no scope {scope!r}", hint=", ".join(SCOPES))
    worth = {p.name: np.where(p.param.numpy() == 0, -1.0, scores[p.name]) for p in found}
    if isinstance(structure, Patterned):
        return {p.name: structure.kept(p, worth[p.name]) for p in found}
    units = [structure.units(p, worth[p.name]) for p in found]
    if scope == "row":
        kept = [_kept(u.reshape(len(u), -1), sparsity).reshape(u.shape) for u in units]
    elif scope == "layer":
        kept = [_kept(u.reshape(1, -1), sparsity).reshape(u.shape) for u in units]
    else:
        every = _kept(np.concatenate([u.reshape(-1) for u in units])[None], sparsity)[0]
        parts = np.split(every, np.cumsum([u.size for u in units])[:-1])
        kept = [part.reshape(u.shape) for part, u in zip(parts, units, strict=True)]
    return {p.name: structure.spread(p, mask) for p, mask in zip(found, kept, strict=True)}


def _kept(scores: Array, sparsity: float) -> Array:
    """What stays of each row of a matrix."""
    kept = np.ones(scores.shape, bool)
    go = round(sparsity * scores.shape[1])
    if go:
        # Only the largest score that goes is looked for, which takes no sorting.
        limit = np.partition(scores, go - 1, axis=1)[:, go - 1, None]
        kept = scores >= limit
        equal = scores == limit
        missing = go - (scores.shape[1] - kept.sum(1, keepdims=True))
        kept[equal & (equal.cumsum(1) <= missing)] = False
    return kept
