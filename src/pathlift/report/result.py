"""The base of every verb's result, which the command line wraps into its JSON envelope."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Where the model came from; both are None for a model that was never a file."""

    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """Base of the verbs' results.

    Parameters
    ----------
    input
        The file that was read.
    assumptions
        What the figures rest on, one sentence each.
    warnings
        What the user should know but did not ask, one sentence each.
    exit_code
        0, or 1 for a refuted claim, or 5 for an inconclusive one.
    """

    input: Source = field(default_factory=Source)
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    exit_code: int = 0

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the ``result`` object of the envelope: plain JSON types, no NaN, no infinity."""

    def for_text(self) -> dict[str, Any]:
        """Return what the verb's `text` shows: the JSON object, unless text says something in words of its own."""
        return self.to_json()
