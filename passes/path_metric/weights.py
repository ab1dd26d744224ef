"""A parameter of two networks: what both have of it, and what each has beyond."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pathlift.passes.fields.weight import U, Weight

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class PairWeight:
    """A parameter w of the first network, and w' of the second; one object where nothing tells them apart.

    With w_∧ = sgn(w)·min(|w|, |w'|), and 0 where signs differ, each of the two networks is an excess away from one
    that has w_∧: |w − w_∧| = |w| − |w_∧|.

    Where the values are rounded (parameters that are computed from others), w_∧ is meant to be exactly that one of the
    two true values whose computed magnitude is smaller. Any real number may stand in its place, as nothing rests on its
    being the minimum; only the excesses have to be bounds of its distance to both.
    """

    first: Weight
    second: Weight

    @property
    def same(self) -> bool:
        """Whether nothing tells the two apart."""
        return self.first is self.second

    @property
    def common(self) -> Weight:
        """w_∧."""
        return self._split[0]

    @property
    def excess(self) -> tuple[Weight | None, Weight | None]:
        """Upper bounds of |w − w_∧| and |w' − w_∧|; ``None`` where all are 0."""
        return self._split[1:]

    @functools.cached_property
    def _split(self) -> tuple[Weight, Weight | None, Weight | None]:
        if self.same:
            return self.first, None, None
        a, b = self.first.wide(), self.second.wide()
        error_a, error_b = _uncertainty(self.first), _uncertainty(self.second)
        apart = a.sign() * b.sign() < 0
        second_is_less = b.abs() <= a.abs()
        gap = torch.where(apart, 0.0, a - b).abs() + (error_a + error_b)
        beyond_a = torch.where(apart, a.abs() + error_a, torch.where(second_is_less, gap, 0.0))
        beyond_b = torch.where(apart, b.abs() + error_b, torch.where(second_is_less, 0.0, gap))
        values = torch.where(apart, 0.0, torch.where(second_is_less, b, a))
        error = None
        if self.first.error is not None or self.second.error is not None:
            errors = [0.0 if w.error is None else w.error for w in (self.first, self.second)]
            error = torch.where(apart, 0.0, torch.where(second_is_less, errors[1], errors[0]))
        common = Weight(values, max(self.first.roundings, self.second.roundings), error)
        return common, _excess(beyond_a), _excess(beyond_b)


def paired(f: Callable[..., Weight], *weights: PairWeight) -> PairWeight:
    """Compute a parameter of both networks from others, once if they are the same."""
    first = f(*(w.first for w in weights))
    return PairWeight(first, first if all(w.same for w in weights) else f(*(w.second for w in weights)))


def _uncertainty(w: Weight) -> Tensor:
    """By how much the values may be off, relative roundings and all."""
    size = 1.01 * w.roundings * U * w.wide().abs()
    return size if w.error is None else size + w.error


def _excess(values: Tensor) -> Weight | None:
    """A bound of a difference: a subtraction, three additions and a product that rounding has met."""
    return Weight(values, roundings=6) if bool(values.any()) else None
