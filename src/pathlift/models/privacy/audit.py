"""An audit: files and references run on the sets, attacked, drawn again, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.stages import stage
from pathlift.ir.types import Array
from pathlift.models.data import fixed_batch
from pathlift.models.file_costs import batch_size, costs
from pathlift.models.privacy import attacks, roc
from pathlift.models.privacy.binomial import clopper_pearson
from pathlift.models.privacy.bootstrap import auc_draws, interval
from pathlift.models.privacy.data import SampleSet
from pathlift.models.privacy.references import tested
from pathlift.models.privacy.running import Answers, answers
from pathlift.models.privacy.verdict import (
    LEAST,
    Margins,
    accuracy_difference,
    decide,
    doubt,
    needed_nonmembers,
    reversed_sets,
    signed,
)
from pathlift.models.source import Opened
from pathlift.report.audited import Attack, Comparison, Difference, FileAudit, Group, Reference, VerdictName
from pathlift.report.costs import Cost
from pathlift.runtime.session import ExecutorName

MEMBERS, OTHERS, POPULATION = "members", "non-members", "population"
_PLURAL = {POPULATION: "samples of the population"}
Pairs = dict[str, tuple[Array, Array]]
Progress = Callable[[str, int, int], object] | None


@dataclass(frozen=True)
class Named:
    """A file that is opened, and what to call it."""

    path: str
    opened: Opened


@dataclass(frozen=True)
class Request:
    """What is asked.

    Parameters
    ----------
    margins
        Of the verdict.
    draws, seed
        Of the bootstrap.
    output
        The output of class scores; empty for the only one.
    executor
        What runs files.
    seconds
        To time files for; 0 for none.
    """

    margins: Margins
    draws: int = 1000
    seed: int = 0
    output: str = ""
    executor: ExecutorName = "auto"
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of all files.

    Parameters
    ----------
    files
        With their figures.
    headline
        The attack that counts.
    references
        As attackers.
    remarks
        What the figures rest on.
    """

    files: Sequence[FileAudit]
    headline: str
    references: Sequence[Reference]
    remarks: tuple[str, ...]
    margins: Margins
    _draws: Mapping[tuple[int, str], Array] = field(repr=False)
    _answers: Sequence[Answers] = field(repr=False)
    _labels: tuple[Array, Array] = field(repr=False)

    @property
    def few(self) -> str:
        """Say which set is too small, if one is."""
        sizes = {name: len(scores.logit) for name, scores in self._answers[0].scores.items()}
        name = min(sizes, key=sizes.__getitem__)
        return (
            f"there are {sizes[name]} distinct {_PLURAL.get(name, name)}, fewer than {LEAST}"
            if sizes[name] < LEAST
            else ""
        )

    def reversed(self, i: int) -> str:
        """Say that in file `i` members look like non-members, if they do."""
        attack = self.attack(i)
        return reversed_sets(attack.auc, attack.interval, self.margins.auc)

    def attack(self, i: int) -> Attack:
        """Return the attack that counts, on file `i`."""
        attack = self.files[i].attacks[self.headline]
        assert attack is not None
        return attack

    def group(self, which: Sequence[int]) -> Group:
        """Return means over files, and standard deviations."""
        values = np.array([[self.attack(i).auc, self.files[i].test] for i in which])
        mean = values.mean(0)
        spread = [float(s) for s in values.std(0, ddof=1)] if len(which) > 1 else [None, None]
        return Group(len(which), float(mean[0]), spread[0], float(mean[1]), spread[1])

    def compare(self, before: Sequence[int], after: Sequence[int], path: str) -> Comparison:
        """Compare files, or means over several."""
        first, second = self.group(before), self.group(after)
        draws = self._mean_draws(after, self.headline) - self._mean_draws(before, self.headline)
        was, became = (np.mean([self._answers[i].scores[OTHERS].right for i in w], axis=0) for w in (before, after))
        accuracy, accuracy_interval = accuracy_difference(was, became)
        found = Difference(second.auc - first.auc, interval(draws), accuracy, accuracy_interval)
        verdict, reason = self._verdict(found, before, after)
        return Comparison(path, found, verdict, reason, needed_nonmembers(was, became, self.margins.accuracy))

    def _verdict(self, found: Difference, before: Sequence[int], after: Sequence[int]) -> tuple[VerdictName, str]:
        if self.few:
            return "inconclusive", self.few
        both = [*before, *after]
        if said := next(filter(None, map(self.reversed, both)), ""):
            return "inconclusive", said
        verdict, reason = decide(found, self.margins)
        if verdict not in ("less", "more"):
            return verdict, reason
        margins = self._mean_draws(after, "margin") - self._mean_draws(before, "margin")
        low, high = interval(margins)
        if high >= 0 if verdict == "less" else low <= 0:
            seen = f"their AUC differs by {signed(low)} to {signed(high)}"
            said = f"margins, which rescaling scores does not change, show no such difference: {seen}"
            return "inconclusive", said
        for i in both if verdict == "less" else ():
            scores = self._answers[i].scores
            if said := doubt(scores[MEMBERS], scores[OTHERS], self._labels):
                return "inconclusive", f"{self.files[i].path}: {said}"
        return verdict, reason

    def _mean_draws(self, which: Sequence[int], attack: str) -> Array:
        drawn: Array = np.mean([self._draws[i, attack] for i in which], axis=0)
        return drawn


def audit(
    files: Sequence[Named],
    references: Sequence[Named],
    sets: Mapping[str, SampleSet],
    request: Request,
    progress: Progress = None,
) -> Found:
    """Audit files by membership inference.

    Parameters
    ----------
    files
        One or more.
    references
        Models trained on neither set; may be none.
    sets
        Members, non-members, and with references a population, by these names.
    request
        What is asked.
    progress
        Called with what goes on, its number, and how many there are.

    Raises
    ------
    PathliftError
        If a file has no scores of classes or cannot be run, a label is no class, or a reference tells sets apart.
    """
    both = [sets[MEMBERS], sets[OTHERS]]
    run = [*both, *([sets[POPULATION]] if references else [])]
    batch = _batch(files, both[0], request.seconds)
    said: list[Answers] = []
    for i, file in enumerate([*files, *references]):
        if progress is not None:
            progress(file.path, i, len(files) + len(references))
        with stage(f"running {file.path}"):
            said.append(answers(file.opened, file.path, run, request.output, request.executor))
        if said[i].classes != said[0].classes:
            reason = f"{file.path} tells {said[i].classes} classes apart, {files[0].path} {said[0].classes}"
            raise UsageError("1566", reason, hint="files of one task")
    own, others = said[: len(files)], said[len(files) :]
    checked = tested([file.path for file in references], [a.scores for a in others], (MEMBERS, OTHERS))
    scored = _attacked(own, others)
    with stage("drawing samples"):
        keys = [(i, name) for i, pairs in enumerate(scored) for name in pairs]
        drawn = auc_draws([scored[i][name] for i, name in keys], request.draws, request.seed)
    draws = dict(zip(keys, drawn, strict=True))
    opened, names = [file.opened for file in files], [file.path for file in files]
    paid, timed = costs(opened, names, [batch] * len(files), request.seconds, request.seed, request.executor)
    audits = [
        _file(
            file.path,
            own[i],
            paid[i],
            {name: _attack(*scored[i][name], draws[i, name]) for name in scored[i] if name != "margin"},
        )
        for i, file in enumerate(files)
    ]
    labels = (both[0].labels, both[1].labels)
    headline = "rmia" if references else "loss"
    return Found(audits, headline, checked, (*_remarks(files, own), *timed), request.margins, draws, own, labels)


def _attacked(own: Sequence[Answers], references: Sequence[Answers]) -> list[Pairs]:
    """Return scores of members and others, of each file, by attack; and margins, which are no attack of their own."""
    found: list[Pairs] = [
        {
            "loss": (a.scores[MEMBERS].logit, a.scores[OTHERS].logit),
            "margin": (a.scores[MEMBERS].margin, a.scores[OTHERS].margin),
        }
        for a in own
    ]
    if not references:
        return found
    mean = {name: attacks.mean_log([r.scores[name].log_p for r in references]) for name in references[0].scores}
    for pairs, a in zip(found, own, strict=True):
        relative = {name: attacks.relative(a.scores[name].log_p, mean[name]) for name in mean}
        rmia = [attacks.rmia(relative[name], relative[POPULATION]) for name in (MEMBERS, OTHERS)]
        ratio = [attacks.ratio(a.scores[name].log_p, mean[name]) for name in (MEMBERS, OTHERS)]
        pairs.update(rmia=(rmia[0], rmia[1]), ratio=(ratio[0], ratio[1]))
    return found


def _attack(members: Array, others: Array, draws: Array) -> Attack:
    return Attack(
        roc.auc(members, others),
        interval(draws),
        roc.balanced_accuracy(members, others),
        {rate: roc.tpr_at(rate, members, others) for rate in roc.RATES},
        members,
        others,
        roc.curve(members, others),
    )


def _file(path: str, said: Answers, cost: Cost, found: dict[str, Attack]) -> FileAudit:
    train, test = (said.scores[name].right for name in (MEMBERS, OTHERS))
    return FileAudit(
        path, float(train.mean()), float(test.mean()), clopper_pearson(int(test.sum()), len(test)),
        {name: found.get(name) for name in ("loss", "rmia", "ratio")}, cost,
    )  # fmt: skip


def _batch(files: Sequence[Named], own: SampleSet, seconds: float) -> dict[str, Array]:
    """The first samples of a set, again from the first where a batch is larger; none where nothing is timed."""
    if not seconds:
        return {}
    size = batch_size(((file.path, fixed_batch(file.opened.graph)) for file in files), own.count)
    return {name: array[np.arange(size) % own.count] for name, array in own.inputs.items()}


def _remarks(files: Sequence[Named], own: Sequence[Answers]) -> tuple[str, ...]:
    """Say how outputs were read."""
    found = []
    for kind, read in ((False, "logits"), (True, "probabilities: rows sum to 1")):
        names = [file.path for file, a in zip(files, own, strict=True) if a.probabilities is kind]
        if names:
            found.append(f"scores of {', '.join(names)} are {read}")
    return tuple(found)
