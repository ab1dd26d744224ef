"""Affine functions of the inputs, where a backward substitution ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import torch

from pathlift.passes.intervals.box import gamma
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.rounding import MORE, below, flat, floor, size, total

Tensor = torch.Tensor
Rows = tuple[Tensor, Tensor | None]
"""P and Q, each ``(R, *shape)``; no Q for one network alone."""


class Known(Protocol):
    """What is known of every value."""

    def __getitem__(self, value: int, /) -> Triple: ...


@dataclass(frozen=True, eq=False)
class Form:
    """Affine functions of the inputs, one per row: Σ_v P_v·z_v + Q_v·δ_v + constant.

    Parameters
    ----------
    rows
        By input.
    constant
        ``(R,)``.
    rounded
        Whether roundings count.
    """

    rows: dict[int, Rows]
    constant: Tensor
    rounded: bool = True

    def least(self, triples: Known) -> Tensor:
        """Their least values over the domain, ``(R,)``."""
        found = self.constant
        for value, (p, q) in self.rows.items():
            if self.rounded:
                found = below(found + total(floor(p, q, triples[value])))
            else:
                found = found + flat(floor(p, q, triples[value])).sum(1)
        return found

    @classmethod
    def joined(cls, parts: Sequence[Form]) -> Form:
        """All rows of several."""
        if len(parts) == 1:
            return parts[0]
        rows: dict[int, Rows] = {}
        for value in parts[0].rows:
            ps, qs = zip(*(part.rows[value] for part in parts), strict=True)
            rows[value] = torch.cat(ps), None if qs[0] is None else torch.cat(qs)
        return cls(rows, torch.cat([part.constant for part in parts]), parts[0].rounded)

    def mixed(self, weights: Tensor, triples: Known) -> Form:
        """Sums of them with weights that are not negative: ``(S, R)``."""
        n = gamma(weights.shape[1])
        constant = weights @ self.constant - n * (weights @ self.constant.abs()) * MORE
        rows: dict[int, Rows] = {}
        for value, (p, q) in self.rows.items():
            t = triples[value]
            sums = []
            for x, magnitude in ((p, t.a.magnitude), (q, t.d.magnitude)):
                if x is not None:
                    constant = below(constant) - n * (weights @ size(x, magnitude)) * MORE
                sums.append(None if x is None else torch.tensordot(weights, x, 1))
            assert sums[0] is not None
            rows[value] = sums[0], sums[1]
        return Form(rows, below(constant).nan_to_num(-inf, inf, -inf))
