"""Scores of classes as what attacks read of each sample: the logit of its label, its log-probability, its margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.labelled import correct

_SUM = 1e-2  # rows of probabilities, of 8 bits or 16, sum to 1 up to this


@dataclass(frozen=True, eq=False)
class Scores:
    """What is kept of a batch, ``(samples,)`` each.

    Parameters
    ----------
    logit
        log p_y − log Σ_{j≠y} p_j, float64.
    log_p
        log p_y, float64.
    margin
        log p_y − max_{j≠y} log p_j, float64: its order is the same at all temperatures.
    right
        Whether the label has the highest score, alone.
    predicted
        The class that has the highest score.
    """

    logit: Array
    log_p: Array
    margin: Array
    right: Array
    predicted: Array

    @classmethod
    def of(cls, rows: Array, labels: Array, *, probabilities: bool) -> Scores:
        """Reduce scores ``(samples, classes)``: logits, or probabilities.

        Σ_{j≠y} p_j is summed, never 1 − p_y: that would be 0 where p_y rounds to 1.
        """
        with np.errstate(divide="ignore"):
            logs = np.log(np.maximum(rows, 0.0)) if probabilities else rows
        index = np.arange(len(labels))
        own, others = logs[index, labels], logs.copy()
        others[index, labels] = -np.inf
        rest = log_sum(others)
        with np.errstate(invalid="ignore"):
            logit, margin = own - rest, own - others.max(1)
            log_p = own - np.logaddexp(own, rest)
        return cls(logit, log_p, margin, correct(rows, labels), rows.argmax(1))

    @classmethod
    def joined(cls, parts: list[Scores]) -> Scores:
        """Join batches."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def log_sum(rows: Array) -> Array:
    """Return log Σ_j exp(row_j) of each row, −∞ for a row of −∞."""
    top = rows.max(1)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found: Array = shift + np.log(np.exp(rows - shift[:, None]).sum(1))
    return found


@dataclass
class Traits:
    """What all scores of a file have in common, batch by batch.

    Parameters
    ----------
    sums
        None is negative, and each row sums to 1: probabilities.
    bounded
        All are between 0 and 1.
    hard
        Each row is one-hot: a class, and no score.
    constant
        All rows are the same.
    """

    sums: bool = True
    bounded: bool = True
    hard: bool = True
    constant: bool = True
    _first: Array | None = None

    def see(self, rows: Array) -> None:
        """Take notice of scores ``(samples, classes)``."""
        total = rows.sum(1)
        self.bounded = self.bounded and bool(((rows >= 0) & (rows <= 1)).all())
        self.sums = self.sums and bool((rows >= 0).all() and (np.abs(total - 1) <= _SUM).all())
        self.hard = self.hard and bool(((rows == 0) | (rows == 1)).all() and (total == 1).all())
        self._first = rows[0] if self._first is None else self._first
        self.constant = self.constant and bool((rows == self._first).all())
