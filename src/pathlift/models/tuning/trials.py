"""Measurements of choices, in a log that resumes: what was measured once is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from pathlift.ir.errors import UsageError
from pathlift.models.journal import Journal
from pathlift.models.tuning.knapsack import Choice

T = TypeVar("T")
VERSION = 1


class Cost(NamedTuple):
    """What a choice takes, over what the dense file takes.

    Parameters
    ----------
    ratio
        The median over rounds that both ran in; exact for bytes and operations.
    low, high
        Its 95 % interval.
    """

    ratio: float
    low: float
    high: float


class Quality(NamedTuple):
    """What a choice computes.

    Parameters
    ----------
    error
        ‖y − y'‖/‖y‖ over held-out samples, of the output that is off most.
    accuracy
        The share of held-out samples that it classifies as labelled; ``None`` without labels.
    """

    error: float
    accuracy: float | None = None


@dataclass(frozen=True)
class Noise:
    """How far repeated measurements of the dense file are apart in one race.

    Parameters
    ----------
    deviation
        Of the ratio of the file to itself: root of its squared distance from 1 and its squared standard error.
    seconds
        The median of a run.
    low, high
        The 95 % interval of that.
    wall_over_cpu
        Wall over processor time of a run; ``None`` where the latter says nothing.
    """

    deviation: float
    seconds: float
    low: float
    high: float
    wall_over_cpu: float | None = None


class Trials:
    """What is known of choices.

    Parameters
    ----------
    journal
        Where it is kept.
    nodes
        What the layers are called.
    names
        Of the options of each layer, as the log spells them: numbers would mean something else once options change.
    """

    def __init__(self, journal: Journal, nodes: Sequence[str], names: Sequence[Sequence[str]]) -> None:
        self.costs: dict[tuple[str, Choice], Cost] = {}
        self.qualities: dict[tuple[str, Choice], Quality] = {}
        self.noises: list[Noise] = []
        self.resumed = 0
        self._journal, self._nodes, self._names = journal, nodes, names

    @classmethod
    def read(
        cls,
        path: Path | None,
        about: Mapping[str, Any],
        nodes: Sequence[str],
        names: Sequence[Sequence[str]],
        *,
        force: bool = False,
    ) -> Self:
        """Take up a log; one of something else is replaced by force alone.

        Parameters
        ----------
        path
            The file, if any.
        about
            What measurements depend on.
        nodes, names, force
            As above.

        Raises
        ------
        UsageError
            If the file is of something else.
        OutputError
            If the system fails.
        """
        journal = Journal(path, "tuning", VERSION, about)
        trials = cls(journal, nodes, names)
        try:
            rows = journal.read(trials._row)
        except UsageError:
            if not force:
                raise
            rows = journal.read(trials._row, force=True)
        for row in rows:
            row()
        trials.resumed = len(trials.costs) + len(trials.qualities)
        return trials

    def cost(self, stage: str, choice: Choice, cost: Cost) -> None:
        """Keep what a choice was measured to take, in one kind of race."""
        self.costs[stage, choice] = cost
        self._journal.add({"choice": self.spelled(choice), "stage": stage, "cost": cost._asdict()})

    def quality(self, stage: str, choice: Choice, quality: Quality) -> None:
        """Keep what a choice computes, as found in one way."""
        self.qualities[stage, choice] = quality
        self._journal.add({"choice": self.spelled(choice), "stage": stage, "quality": quality._asdict()})

    def noise(self, noise: Noise) -> None:
        """Keep how noisy a race was."""
        self.noises.append(noise)
        self._journal.add({"noise": asdict(noise)})

    def spelled(self, choice: Choice) -> dict[str, str]:
        """Return the layers that a choice replaces, and by what."""
        return {
            node: names[option] for node, names, option in zip(self._nodes, self._names, choice, strict=True) if option
        }

    def _row(self, row: Mapping[str, Any]) -> Any:
        """Check a line of the log; returns what takes it in."""
        if "noise" in row:
            noise = _read(Noise, row["noise"])
            return lambda: self.noises.append(noise)
        replaced = dict(row["choice"])
        choice = tuple(
            names.index(replaced.pop(node)) if node in replaced else 0
            for node, names in zip(self._nodes, self._names, strict=True)
        )
        if replaced:
            raise ValueError(replaced)
        key = (str(row["stage"]), choice)
        if "quality" in row:
            quality = _read(Quality, row["quality"])
            return lambda: self.qualities.__setitem__(key, quality)
        cost = _read(Cost, row["cost"])
        return lambda: self.costs.__setitem__(key, cost)


def _read(kind: Callable[..., T], said: Mapping[str, Any]) -> T:
    """Make something of figures that a log has; raises `ValueError` or `TypeError` if they are none."""
    for name, value in said.items():
        lacks = value is None and name in ("accuracy", "wall_over_cpu")
        if not lacks and (type(value) not in (int, float) or not 0 <= value < inf):
            raise ValueError(f"{name} is {value!r}")
    return kind(**said)
