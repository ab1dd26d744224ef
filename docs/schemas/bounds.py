"""Bounds of one network: `bound`."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from schemas.envelope import Log10, Record, Value


@Record
class Statistical(TypedDict):
    """A bound on the generalization error, or a product of operator norms."""

    kind: Literal["generalization", "pac-bayes", "product"]
    log10: Log10
    """Rounded up."""
    value: Value
    """Rounded up."""
    terms: dict[str, Any]
    """Every constant, by the paper's symbol."""
    vacuous: bool | None
    """Whether it says nothing; null where nothing is trivial."""
    verdict: str
    """One sentence about that."""


@Record
class Lipschitz(TypedDict):
    """A Lipschitz constant."""

    kind: Literal["lipschitz"]
    norm: Literal["linf", "l1", "l2"]
    methods: dict[str, float | dict[str, str] | None]
    """By method; null where one has none, and `refused` says why."""
    method: str
    """The best one."""
    found: Value
    """The largest slope that was found."""
    looseness: Value
    log10: Log10
    value: Value
    terms: dict[str, Any]
    vacuous: bool | None
    verdict: str


@Record
class Robustness(TypedDict):
    """Samples whose class no input nearby changes; the bound is their share."""

    kind: Literal["robustness"]
    certified: int
    refuted: int
    unknown: int
    clean_accuracy: float
    certified_accuracy: float
    attacked_accuracy: float
    log10: Log10
    value: Value
    terms: dict[str, Any]
    vacuous: bool | None
    verdict: str


Bound = Statistical | Lipschitz | Robustness
