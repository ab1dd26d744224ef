"""Sums of magnitudes: Σ|δ_j| is the largest Σ s_j·δ_j over all signs s.

A row for each s is best, and too many. With rows for all signs of a few elements, Σ s_j·δ_j is no less than a sum of
affine functions of the inputs, one per few elements, whose least value is at hand: a product of matrices for all s at
once. Where that is largest, s gets a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch

from pathlift.passes.intervals.box import Box, gamma, up
from pathlift.passes.relaxations.forms import Form, Known

Tensor = torch.Tensor
FEW = 5
"""Elements that share rows, for each way to choose their signs."""
TOGETHER = 10
"""Elements whose signs are chosen together."""
MANY = 40
"""Of more elements, each has rows by itself."""
LARGEST = 2**24
"""Numbers that all ways may take."""
_AT_ONCE, _TURNS = 64, 4
"""How many ways get rows of their own in one turn, and the most turns."""


@dataclass(frozen=True, eq=False)
class Sum:
    """A bound of Σ|δ_j|.

    Parameters
    ----------
    value
        The bound.
    signs
        ``(K, m)``: ways whose rows it depends on most, the worst first; none where signs are not chosen together.
    """

    value: float
    signs: Tensor


def sum_bound(
    forms: Callable[[Tensor], Form], d: Box, triples: Known, each: Form, own: Mapping[tuple[float, ...], float]
) -> Sum:
    """Bound Σ|δ_j| from above.

    Parameters
    ----------
    forms
        Makes affine functions below rows ``(R, m)`` of δ.
    d
        What is known of each δ_j, flattened.
    triples
        What is known of the inputs.
    each
        Functions below δ_j for all j, and then below −δ_j.
    own
        Bounds of s·δ for some signs, where those of m elements are chosen together.
    """
    m = d.low.numel()
    if not m:
        return Sum(0.0, torch.zeros(0, 0))
    few = FEW if 1 < m <= MANY else 1
    if few > 1:
        each = forms(torch.cat([_placed(-_signs(len(at)), at, m) for at in torch.split(torch.arange(m), few)]))
    width = sum(p[0].numel() for p, _ in each.rows.values()) or 1
    together = max(few, min(TOGETHER, (LARGEST // width).bit_length() - 1) // few * few)
    found = []
    for at in torch.split(torch.arange(m), together):
        signs = _signs(len(at))
        most = -each.mixed(_choice(signs, at, m, few), triples).least(triples)
        most = torch.minimum(most, added(torch.where(signs > 0, d.high[at], -d.low[at])))
        if len(at) == m:
            most = torch.minimum(most, torch.tensor([own.get(tuple(s), torch.inf) for s in signs.tolist()]).double())
            most = _refined(most, signs, forms, triples)
        found.append(most.amax().clamp(min=0))
    worst = signs[most.argsort(descending=True)] if len(found) == 1 else torch.zeros(0, m, dtype=torch.float64)
    return Sum(float(added(torch.stack(found))), worst)


def _refined(most: Tensor, signs: Tensor, forms: Callable[[Tensor], Form], triples: Known) -> Tensor:
    """Give rows of their own to the ways whose bounds are the largest, until the largest has one."""
    most, done = most.clone(), torch.zeros(len(most), dtype=torch.bool)
    for _ in range(_TURNS):
        if bool(done[most.argmax()]):
            break
        at = torch.where(done, -torch.inf, most).topk(min(_AT_ONCE, int((~done).sum()))).indices
        most[at] = torch.minimum(most[at], -forms(-signs[at]).least(triples))
        done[at] = True
    return most


def _signs(n: int) -> Tensor:
    """All ways, ``(2**n, n)``; the one at place i has −1 where the binary number i has a one, the first digit first."""
    return torch.tensor(list(product((1.0, -1.0), repeat=n)), dtype=torch.float64).reshape(-1, n)


def _placed(rows: Tensor, at: Tensor, m: int) -> Tensor:
    found = torch.zeros(len(rows), m, dtype=torch.float64)
    found[:, at] = rows
    return found


def _choice(signs: Tensor, at: Tensor, m: int, few: int) -> Tensor:
    """Which of the rows make up −s·δ for each way: 0 or 1, ``(ways, rows)``."""
    if few == 1:  # +δ_j for all j, and then -δ_j
        return torch.cat([_placed((signs < 0).double(), at, m), _placed((signs > 0).double(), at, m)], 1)
    parts = []
    for begin in range(0, m, few):
        size = min(few, m - begin)
        part = torch.zeros(len(signs), 2**size, dtype=torch.float64)
        if int(at[0]) <= begin <= int(at[-1]):
            own = signs[:, begin - int(at[0]) : begin - int(at[0]) + size] < 0
            place = (own * 2 ** torch.arange(size - 1, -1, -1)).sum(1)
            part[torch.arange(len(signs)), place] = 1.0
        parts.append(part)
    return torch.cat(parts, 1)


def added(x: Tensor) -> Tensor:
    """Σ over the last axis, rounded up."""
    finite = torch.where(x.isfinite(), x, 0.0)
    return up(x.sum(-1) + gamma(x.shape[-1]) * (1 + 1e-6) * finite.abs().sum(-1))
