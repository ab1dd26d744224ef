"""Trials: two models run on the same inputs, and their outputs compared.

An input that was drawn is left out as ill-conditioned as `pathlift.models.verify` does: if moving it by two units of
rounding moves the first model's outputs nearly as much as they differ. One that was given never is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, NamedTuple

from pathlift.ir.errors import ExecutionError, UnsupportedError, UsageError
from pathlift.ir.stages import stage
from pathlift.models.probes import Feeds, Probes
from pathlift.models.reference import Outputs, run_session
from pathlift.models.sameness.difference import Limits, difference
from pathlift.models.sameness.ports import Ports
from pathlift.models.verify import AMPLIFICATION, NUDGES, STEPS
from pathlift.report.sameness import Difference, OutputDifference


class Trial(NamedTuple):
    """Two models on one input.

    Parameters
    ----------
    kind
        Of the input, in words.
    feeds
        The input, by the first model's names.
    differences
        Of the outputs, in order; empty if one of the models fails.
    apart
        Which outputs differ by more than their limit.
    reason
        Which model fails and why, if one does.
    """

    kind: str
    feeds: Feeds
    differences: tuple[Difference, ...]
    apart: tuple[bool, ...]
    reason: str = ""

    @property
    def same(self) -> bool:
        """Whether both models run and no output differs."""
        return not self.reason and not any(self.apart)

    @property
    def is_given(self) -> bool:
        """Whether the input is the caller's."""
        return self.kind.startswith("given")

    @property
    def badness(self) -> tuple[bool, float, float]:
        """What makes it worse than another."""
        relative = [d.relative for d in self.differences]
        apart = [r for r, a in zip(relative, self.apart, strict=True) if a]
        return bool(self.reason), max(apart, default=0.0), max(relative, default=0.0)


@dataclass(eq=False)
class Trials:
    """Two models in ONNX Runtime, and what was found on each input.

    Parameters
    ----------
    first, second
        The sessions.
    ports
        Their inputs and outputs.
    limits
        What counts as no difference.
    unit
        Of rounding.
    """

    first: Any
    second: Any
    ports: Ports
    limits: Limits
    unit: float
    ran: list[Trial] = field(default_factory=list)
    ill_conditioned: int = 0
    _failure: str = ""
    _checked: bool = False

    @property
    def worst(self) -> Trial:
        """The trial that shows most: one model fails; or outputs differ, on what was given; or they differ most."""
        return max(self.ran, key=lambda t: (bool(t.reason), not t.same, not t.same and t.is_given, t.badness))

    def given(self, samples: Iterable[tuple[str, Feeds]]) -> None:
        """Try inputs of the caller's."""
        with stage("running both on what is given"):
            for kind, feeds in samples:
                self._try(kind, feeds)

    def probed(self, probes: Probes) -> None:
        """Try inputs of every kind, and look for a larger difference near the worst of them."""
        with stage("running both on drawn inputs"):
            drawn = [trial for kind, feeds in probes if (trial := self._try(kind, feeds, probes)) is not None]
            self._search(probes, max(drawn, key=lambda trial: trial.badness, default=None))

    def _search(self, probes: Probes, worst: Trial | None) -> None:
        """Look for a larger difference, going on from wherever it grew."""
        if worst is None or all(x.dtype.kind != "f" for x in worst.feeds.values()):
            return
        kind = f"{worst.kind}, moved"
        for _ in range(STEPS):
            if worst.reason or not isfinite(worst.badness[2]):
                return
            moved = self._try(kind, probes.near(worst.feeds), probes)
            worst = worst if moved is None else max(worst, moved, key=lambda trial: trial.badness)

    def check(self) -> None:
        """Check that both models ran on some input.

        Raises
        ------
        UnsupportedError
            If they did not.
        """
        if any(not trial.reason for trial in self.ran):
            return
        told = next((trial.reason for trial in self.ran), self._failure)
        if not told:
            raise UnsupportedError("0399", "rounding alone moves outputs as much as they differ, on every input")
        raise UnsupportedError("0399", f"the models run on no common input: {told}")

    def outputs(self) -> list[OutputDifference]:
        """Return what became of each output over all trials in which both models ran."""
        both = [trial for trial in self.ran if not trial.reason]
        found = []
        for i, (name, other) in enumerate(self.ports.output_names):
            worst = max(both, key=lambda trial: (trial.apart[i], trial.differences[i].relative))
            far = max(both, key=lambda trial: trial.differences[i].absolute)
            same, largest = not any(trial.apart[i] for trial in both), worst.differences[i]
            found.append(
                OutputDifference(name, other, same, largest, worst.kind, far.differences[i].absolute, far.kind)
            )
        return found

    def _try(self, kind: str, feeds: Feeds, probes: Probes | None = None) -> Trial | None:
        """Compare on one input, drawn if there are probes; none if neither model runs, or it is ill-conditioned."""
        with stage(kind):
            trial = self._trial(kind, feeds)
            if trial is None:
                return None
            if probes is not None and any(trial.apart) and self._is_noise(trial, probes):
                self.ill_conditioned += 1
                return None
        self.ran.append(trial)
        return trial

    def _trial(self, kind: str, feeds: Feeds) -> Trial | None:
        ours, theirs = self._outputs(self.first, feeds), _run(self.second, self.ports.for_second(feeds))
        if isinstance(ours, str) and isinstance(theirs, str):
            self._failure = self._failure or ours
            return None
        if isinstance(ours, str) or isinstance(theirs, str):
            which, why = ("first", ours) if isinstance(ours, str) else ("second", theirs)
            return Trial(kind, feeds, (), (), f"the {which} model fails where the other runs: {why}")
        return Trial(kind, feeds, *self._compared(ours, {a: theirs[b] for a, b in self.ports.output_names}))

    def _compared(self, ours: Outputs, theirs: Outputs) -> tuple[tuple[Difference, ...], tuple[bool, ...]]:
        names = [name for name, _ in self.ports.output_names]
        found = tuple(difference(ours[name], theirs[name]) for name in names)
        return found, tuple(d.relative > self.limits.of(ours[n]) for d, n in zip(found, names, strict=True))

    def _outputs(self, session: Any, feeds: Feeds) -> Outputs | str:
        """Run the first model; the first time twice, which is to make no difference."""
        outputs = _run(session, self.ports.for_first(feeds))
        if not self._checked and not isinstance(outputs, str):
            again = _run(session, self.ports.for_first(feeds))
            _, apart = self._compared(outputs, again) if not isinstance(again, str) else ((), (True,))
            if any(apart):
                name = self.ports.output_names[apart.index(True)][0]
                raise UnsupportedError("0398", f"output {name!r} of the original differs from one run to the next")
            self._checked = True
        return outputs

    def _is_noise(self, trial: Trial, probes: Probes) -> bool:
        """Whether rounding moves all outputs that differ about as much."""
        expected = _run(self.first, self.ports.for_first(trial.feeds))
        noise = [0.0] * len(trial.apart)
        for _ in range(NUDGES):
            moved = _run(self.first, self.ports.for_first(probes.nudged(trial.feeds, 2 * self.unit)))
            if isinstance(expected, str) or isinstance(moved, str):
                return True
            noise = [max(n, d.relative) for n, d in zip(noise, self._compared(expected, moved)[0], strict=True)]
        explained = zip(trial.differences, trial.apart, noise, strict=True)
        return all(d.relative <= (AMPLIFICATION * n if n < inf else inf) for d, apart, n in explained if apart)


def _run(session: Any, feeds: Feeds) -> Outputs | str:
    """Run a model; a text is why it fails: an index out of range, for example."""
    try:
        return run_session(session, feeds)
    except (ExecutionError, UsageError) as error:
        return error.message
