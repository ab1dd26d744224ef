"""Audits of privacy: `audit privacy`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.costs import Latency
from schemas.envelope import Record

Verdict = Literal["less", "more", "no_difference", "not_comparable", "inconclusive"]


@Record
class Accuracy(TypedDict):
    """Shares of distinct samples that are classified as labelled; ties are errors."""

    train: float
    """Of members."""
    test: float
    """Of non-members."""
    gap: float
    """The former less the latter."""


@Record
class Rate(TypedDict):
    """A true positive rate; null where the false positive rate times the non-members is below 10."""

    value: float | None
    ci: list[float] | None
    """95 %, Clopper and Pearson, at the threshold that was found."""


Rates = TypedDict("Rates", {"0.01": Rate, "0.001": Rate})
"""By false positive rate."""


@Record
class Attack(TypedDict):
    """How well one attack tells members from non-members."""

    auc: float
    """P(a member's score is higher) + ½·P(both are equal)."""
    ci: list[float]
    """95 %, by a bootstrap over samples."""
    balanced_accuracy: float
    """At the best threshold, found on the same samples: optimistic."""
    tpr: Rates


@Record
class Attacks(TypedDict):
    """By attack; null without references."""

    loss: Attack
    """log p_y − log Σ_{j≠y} p_j."""
    rmia: Attack | None
    """Offline RMIA, a = 0.3, γ = 1."""
    ratio: Attack | None
    """log p_y − log of the references' mean."""


@Record
class File(TypedDict):
    """One file."""

    path: str
    bytes: int
    """As it is saved; of what is no file, those of its weights."""
    latency: Latency | None
    """Null unless files were timed."""
    accuracy: Accuracy
    attacks: Attacks


@Record
class Difference(TypedDict):
    """After less before; means of several files."""

    auc: float
    ci: list[float]
    """Of `auc`: 95 %, by a bootstrap of the same samples for both."""
    accuracy: float
    """On non-members."""
    accuracy_ci: list[float]
    """90 %, Tango's score interval."""


@Record
class Compared(TypedDict):
    """A file, or the group after, beside the first."""

    path: str
    difference: Difference
    verdict: Verdict
    reason: str
    needed_nonmembers: int


@Record
class Spread(TypedDict):
    """Of a figure over files."""

    mean: float
    std: float | None
    """Null of a single file."""


@Record
class Group(TypedDict):
    """Files that count as one."""

    files: int
    auc: Spread
    accuracy: Spread
    """On non-members."""


@Record
class Groups(TypedDict):
    """Files given by `--before` and `--after`."""

    before: Group
    after: Group


@Record
class ReferenceFile(TypedDict):
    """A reference as an attacker."""

    path: str
    auc: float
    ci: list[float]
    """Jointly 95 % over all references and what they were tested by."""


@Record
class References(TypedDict):
    """Models that were trained on neither set."""

    count: int
    trained_on: str | None
    """What their own attacks allow to say of that; null without references."""
    files: list[ReferenceFile]


Samples = TypedDict("Samples", {"members": int, "non-members": int, "population": int}, total=False)
"""Distinct samples by set; a population only with references."""


@Record
class AuditPrivacy(TypedDict):
    """What membership inference finds in files."""

    files: list[File]
    attack: Literal["loss", "rmia"]
    """The attack whose AUC is compared: `rmia` with references."""
    difference: Difference | None
    """Of the only comparison; null of one file, or of more than two."""
    verdict: Verdict | None
    """About these two files, or groups; of one file only `inconclusive`, where something speaks against its figures."""
    reason: str | None
    needed_nonmembers: int | None
    """So many tell accuracies apart to within the margin."""
    comparisons: list[Compared]
    """Of each other file, or of the group after, with the first."""
    groups: Groups | None
    references: References
    samples: Samples
    lower_bound: Literal[True]
    """What attacks find is a lower bound of what a file tells."""
    scores: str | None
    chart: str | None
