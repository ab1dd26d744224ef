"""Figures of an audit of privacy: of each attack, of each file, and of the difference of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlift.ir.types import Array
    from pathlift.report.costs import Cost

Interval = tuple[float, float]
VerdictName = Literal["less", "more", "no_difference", "not_comparable", "inconclusive"]


@dataclass(frozen=True, eq=False)
class Attack:
    """What one attack finds in one file.

    Parameters
    ----------
    auc, interval
        Of telling members from others, and its 95 % interval.
    balanced_accuracy
        At the best threshold, found on the same samples.
    rates
        True positive rates and intervals by false positive rate; ``None`` where there are too few non-members.
    members, others
        The scores.
    curve
        False and true positive rates.
    """

    auc: float
    interval: Interval
    balanced_accuracy: float
    rates: dict[float, tuple[float, Interval] | None]
    members: Array
    others: Array
    curve: tuple[Array, Array]

    def to_json(self) -> dict[str, Any]:
        """Return figures, without scores."""
        return {
            "auc": self.auc,
            "ci": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "tpr": {
                f"{rate:g}": {"value": found and found[0], "ci": found and list(found[1])}
                for rate, found in self.rates.items()
            },
        }


@dataclass(frozen=True, eq=False)
class FileAudit:
    """One file.

    Parameters
    ----------
    path
        Of the file, or what it is called.
    train, test
        Accuracies on members and on non-members.
    test_interval
        Of the latter, 95 %.
    attacks
        By name; ``None`` for those that need references where there are none.
    cost
        Bytes, and the time of a batch.
    """

    path: str
    train: float
    test: float
    test_interval: Interval
    attacks: dict[str, Attack | None]
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """Return figures."""
        return {
            "path": self.path,
            **self.cost.to_json(),
            "accuracy": {"train": self.train, "test": self.test, "gap": self.train - self.test},
            "attacks": {name: attack and attack.to_json() for name, attack in self.attacks.items()},
        }


@dataclass(frozen=True)
class Difference:
    """Files after, less files before: means where there are several.

    Parameters
    ----------
    auc, interval
        Of the attack that counts, with the 95 % interval of the paired bootstrap.
    accuracy, accuracy_interval
        On non-members, with its 90 % interval.
    """

    auc: float
    interval: Interval
    accuracy: float
    accuracy_interval: Interval

    def to_json(self) -> dict[str, Any]:
        """Return figures."""
        return {
            "auc": self.auc,
            "ci": list(self.interval),
            "accuracy": self.accuracy,
            "accuracy_ci": list(self.accuracy_interval),
        }


@dataclass(frozen=True)
class Comparison:
    """Two files, or two groups of files.

    Parameters
    ----------
    path
        Of what is compared with the first.
    difference
        Of figures.
    verdict, reason
        What that says of these files, and why.
    needed
        How many non-members would tell accuracies apart to within the margin.
    """

    path: str
    difference: Difference
    verdict: VerdictName
    reason: str
    needed: int

    def to_json(self) -> dict[str, Any]:
        """Return figures."""
        return {
            "difference": self.difference.to_json(),
            "verdict": self.verdict,
            "reason": self.reason,
            "needed_nonmembers": self.needed,
        }


@dataclass(frozen=True)
class Group:
    """Several files that count as one: means, and standard deviations over files."""

    files: int
    auc: float
    auc_deviation: float | None
    test: float
    test_deviation: float | None

    def to_json(self) -> dict[str, Any]:
        """Return figures."""
        return {
            "files": self.files,
            "auc": {"mean": self.auc, "std": self.auc_deviation},
            "accuracy": {"mean": self.test, "std": self.test_deviation},
        }


@dataclass(frozen=True)
class Reference:
    """A reference as an attacker: what it was not trained on it cannot tell apart."""

    path: str
    auc: float
    interval: Interval
