"""Errors and accuracies of choices on held-out samples, as their files compute."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Array
from pathlift.models.output_errors import OutputErrors
from pathlift.models.tuning.held_out import Parts
from pathlift.models.tuning.latency import Contestant
from pathlift.models.tuning.trials import Quality
from pathlift.runtime.session import CheckedSession


class Judge(Protocol):
    """What says how good a choice is."""

    @property
    def accuracy(self) -> float | None:
        """The dense file's, ``None`` without labels."""

    def quality(self, contestant: Contestant) -> Quality:
        """Return what a choice is off by, and its accuracy."""


class FileJudge:
    """Compares files with the dense one.

    Parameters
    ----------
    dense
        The dense file, opened.
    parts
        With the samples to judge by.
    """

    def __init__(self, dense: CheckedSession, parts: Parts) -> None:
        self._dense, self._parts = dense, parts

    @cached_property
    def _expected(self) -> list[dict[str, Array]]:
        return [self._dense.run(batch) for batch in self._parts.judge]

    @cached_property
    def accuracy(self) -> float | None:
        """The dense file's, ``None`` without labels."""
        return self._accuracy(self._expected)

    def quality(self, contestant: Contestant) -> Quality:
        """Return what a file's outputs are off by, and its accuracy."""
        found, errors = [contestant.session.run(batch) for batch in self._parts.judge], OutputErrors()
        for expected, outputs in zip(self._expected, found, strict=True):
            errors.add(expected, outputs)
        return Quality(errors.largest(), self._accuracy(found))

    def _accuracy(self, outputs: list[dict[str, Array]]) -> float | None:
        """The share of samples whose largest score is that of their label; what is not finite is wrong."""
        if self._parts.labels is None:
            return None
        right = 0
        for found, labels in zip(outputs, self._parts.labels, strict=True):
            scores = [np.asarray(y, np.float64) for y in found.values()]
            if len(scores) != 1 or scores[0].ndim != 2 or len(scores[0]) != len(labels):
                raise UnsupportedError("0309", "accuracy is of one output of scores (samples, classes)")
            right += int((np.isfinite(scores[0]).all(1) & (scores[0].argmax(1) == labels)).sum())
        return right / self._parts.samples
