"""The loop of a tuning: measure, solve, verify the best choices, learn from that, and again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, isfinite, sqrt

import numpy as np

from pathlift.ir.stages import stage
from pathlift.ir.work import Map, in_turn
from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.candidates import Space
from pathlift.models.tuning.errors import Errors
from pathlift.models.tuning.judge import Judge
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.latency import Contestant, Track
from pathlift.models.tuning.outcome import Aim, Outcome, Verified
from pathlift.models.tuning.sizes import Sizes
from pathlift.models.tuning.strategies import Random, Strategy, Trial, best_first, uniform_first
from pathlift.models.tuning.trials import Cost, Quality, Trials

_MEASURING, _VERIFYING, _CONFIRMING = 0.4, 0.2, 0.2
"""Shares of the time: for all costs, for each round of verification, and for the last race."""
_LIMITS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Times the limit, that predictions are made for."""
_ROUNDED = 1e-9
"""What ratios that are exact may differ by, since sums are rounded."""
_SLACK = 0.7
"""A choice that loses too much accuracy makes this, times its error, the limit of the next ones."""


@dataclass(eq=False)
class Tuning:
    """All that a search needs.

    Parameters
    ----------
    space
        Layers and their options.
    track
        Where files race.
    errors
        Of single options.
    judge
        Of files.
    trials
        What is known already, and where it is kept.
    aim
        What is looked for.
    progress
        Told of what goes on.
    now
        A clock, in seconds.
    """

    space: Space
    track: Track
    errors: Errors
    judge: Judge
    trials: Trials
    aim: Aim
    progress: Callable[[str, int, int], object] | None = None
    now: Callable[[], float] = time.monotonic
    _spent: float = field(default=0.0, init=False)

    def squares(self, each: Map = in_turn) -> list[np.ndarray]:
        """Measure what each option alone makes outputs be off by; no time is measured.

        Parameters
        ----------
        each
            What measures an error; the network and the samples are sent there once.

        Returns
        -------
        list of numpy.ndarray
            Squared errors, ``(options,)``, by layer.
        """
        start = self.now()
        found, todo = [np.zeros(len(options)) for options in self.space.options], list[tuple[int, int]]()
        for layer, options in enumerate(self.space.options):
            for number, option in enumerate(options[1:], 1):
                known = self.trials.qualities.get(("layer", self.space.only(layer, number)))
                if known is None and isfinite(option.error):
                    todo.append((layer, number))
                else:
                    found[layer][number] = inf if known is None else known.error**2

        def pairs() -> Iterator[tuple[int, int]]:
            for done, (layer, number) in enumerate(todo):
                if self.progress is not None:
                    self.progress(f"error of {self.space.layers[layer].label}", done, len(todo))
                yield layer, number

        with stage("errors of single layers"):
            for at, error in each(partial(_single, self.errors), pairs()):
                layer, number = todo[at]
                found[layer][number] = error**2
                if isfinite(error):
                    self.trials.quality("layer", self.space.only(layer, number), Quality(error))
        self._spent = self.now() - start
        return found

    def run(self, squares: list[np.ndarray], strategies: Callable[[float], Sequence[Strategy]]) -> Outcome:
        """Search. Nothing else may be at work on this machine: files race.

        Parameters
        ----------
        squares
            As `squares` returns them.
        strategies
            Makes them of the noise of a ratio. The next one goes on where the one before has ended, if the additive
            model is off by more than twice the noise.
        """
        self._start = self.now() - self._spent
        with stage("timing options" if self._timed else "counting"):
            costs = self._costs()
        model = Additive([list(self.space.groups).index(s) for s in self.space.signatures], costs, squares)
        outcome = Outcome(model, baselines=self._baselines(model), accuracy=self.judge.accuracy, noise=self.noise)
        with stage("verifying"):
            for strategy in strategies(self.noise):
                if outcome.method and (outcome.rms or 0.0) <= max(2 * self.noise, _ROUNDED):
                    break
                outcome.method = " + ".join(filter(None, [outcome.method, strategy.name]))
                self._search(strategy, model, outcome)
        outcome.model = self._refitted(model, outcome)
        outcome.predicted = self._front(outcome.model)
        if outcome.in_time:
            with stage("confirming the best"):
                self._confirm(outcome)
        outcome.noise = self.noise
        return outcome

    @property
    def noise(self) -> float:
        """What ratios of repeated measurements differ by: root mean square over all races."""
        return sqrt(float(np.mean([n.deviation**2 for n in self.trials.noises]))) if self.trials.noises else 0.0

    @property
    def _timed(self) -> bool:
        return self.aim.objective == "latency"

    @property
    def _left(self) -> float:
        return self.aim.budget - (self.now() - self._start)

    def _costs(self) -> list[np.ndarray]:
        """What options add to the ratio: a signature's measured ratio is shared by its layers."""
        if not self._timed:
            return Sizes(self.space, self.aim.objective).additive()
        found = [np.zeros(len(options)) for options in self.space.options]
        groups = self.space.groups
        for number, (signature, layers) in enumerate(groups.items()):
            if self.progress is not None:
                self.progress("timing options", number, len(groups))
            choices = [self.space.uniform(signature, o) for o in range(1, len(self.space.options[layers[0]]))]
            ratios = self._raced("signature", choices, _MEASURING * self.aim.budget / len(groups))
            for layer in layers:
                found[layer][1:] = [(ratios[choice].ratio - 1) / len(layers) for choice in choices]
        return found

    def _raced(
        self,
        name: str,
        choices: Sequence[Choice],
        seconds: float,
        opened: Sequence[Contestant] = (),
        *,
        together: bool = False,
    ) -> dict[Choice, Cost]:
        """Costs of choices, from the log or by one race of the others; of all, if they are to be of one race."""
        runners = {contestant.choice: contestant for contestant in opened}
        new = [choice for choice in choices if (name, choice) not in self.trials.costs]
        new = list(choices) if new and together else new
        if new:
            contestants = [runners.get(choice) or self.track.open(choice) for choice in new]
            costs, noise = self.track.race(contestants, seconds)
            self.trials.noise(noise)
            for choice, cost in zip(new, costs, strict=True):
                self.trials.cost(name, choice, cost)
        return {choice: self.trials.costs[name, choice] for choice in choices}

    def _search(self, strategy: Strategy, model: Additive, outcome: Outcome) -> None:
        limit = self.aim.limit
        while True:
            if self._left <= 0:
                outcome.in_time = bool(outcome.verified)
                return
            current = self._refitted(model, outcome)
            history = [
                Trial(v.choice, inf if v.cost is None else v.cost.ratio, v.quality.error, v.within)
                for v in outcome.verified.values()
            ]
            choices = strategy.propose(current, history, limit, self.aim.verify)
            if not outcome.verified:
                choices = list(dict.fromkeys([*choices, *outcome.baselines.values()]))
            if not choices:
                return
            self._verify(choices, current, outcome)
            lost = [outcome.verified[c].quality for c in choices if self._loses(outcome.verified[c].quality)]
            limit = min([limit, *(_SLACK * q.error for q in lost if q.error <= limit)])

    def _verify(self, choices: Sequence[Choice], model: Additive, outcome: Outcome) -> None:
        """Measure errors of real files, and race those that are within the limit."""
        qualities, opened = dict[Choice, Quality](), list[Contestant]()
        for number, choice in enumerate(choices):
            if self.progress is not None:
                self.progress("verifying", number, len(choices))
            known = self.trials.qualities.get(("file", choice))
            if known is None:
                contestant = self.track.open(choice)
                known = self.judge.quality(contestant)
                if isfinite(known.error):
                    self.trials.quality("file", choice, known)
                if self._within(known):
                    opened.append(contestant)
            qualities[choice] = known
        within = [choice for choice in choices if self._within(qualities[choice])]
        if self._timed:
            costs = self._raced("verify", within, _VERIFYING * self.aim.budget, opened)
        else:
            sizes = Sizes(self.space, self.aim.objective)
            costs = {choice: sizes.measure(choice) for choice in choices}
        for choice in choices:
            outcome.verified[choice] = Verified(
                choice, model.ratio(choice), model.error(choice), costs.get(choice), qualities[choice],
                choice in within,
            )  # fmt: skip

    def _loses(self, quality: Quality) -> bool:
        drop, dense = self.aim.max_drop, self.judge.accuracy
        return drop is not None and dense is not None and (quality.accuracy or 0.0) < dense - drop - 1e-12

    def _within(self, quality: Quality) -> bool:
        return quality.error <= self.aim.limit and not self._loses(quality)

    def _refitted(self, model: Additive, outcome: Outcome) -> Additive:
        found = outcome.verified.values()
        return model.refitted(
            {v.choice: v.cost.ratio for v in found if v.cost is not None} if self._timed else {},
            {v.choice: v.quality.error for v in found},
        )

    def _confirm(self, outcome: Outcome) -> None:
        """Race the best once more, with the dense file and the baselines that are within the limit.

        The least of many measured ratios is too low by choice, and ratios of different races do not compare.
        """
        found = [v for v in outcome.verified.values() if v.within and v.cost is not None]
        if not found:
            return
        chosen = {min(found, key=_ratio).choice, *outcome.baselines.values()}
        finalists = [v for v in found if v.choice in chosen]
        if self._timed:
            seconds = _CONFIRMING * self.aim.budget
            costs = self._raced("confirm", [v.choice for v in finalists], seconds, together=True)
            finalists = [replace(v, cost=costs[v.choice]) for v in finalists]
            outcome.dense = self.trials.noises[-1]
        outcome.finalists = {v.choice: v for v in finalists}
        outcome.best = min(finalists, key=_ratio)

    def _baselines(self, model: Additive) -> dict[str, Choice]:
        """The best uniform choice, the best of random ones, and the one by layer, as the model predicts them."""
        limit, found = self.aim.limit, dict[str, Choice]()
        uniform = list(itertools.islice(uniform_first(model, limit), 1))
        drawn = Random(self.aim.seed).propose(model, [], limit, self.aim.verify)
        own = tuple(
            min(
                (number for number, option in enumerate(options) if option.error <= limit),
                key=lambda number: options[number].predicted,
            )
            for options in self.space.options
        )
        for name, choices in (("uniform", uniform), ("random", drawn), ("ks_fit", [own])):
            if choices and any(best := min(choices, key=model.ratio)):
                found[name] = best
        return found

    def _front(self, model: Additive) -> list[tuple[float, float]]:
        best = [next(best_first(model, self.aim.limit * times), self.space.dense) for times in _LIMITS]
        return sorted({(model.ratio(choice), model.error(choice)) for choice in best})


def _ratio(verified: Verified) -> float:
    return inf if verified.cost is None else verified.cost.ratio


def _single(errors: Errors, pair: tuple[int, int]) -> float:
    """The error of an option of a layer."""
    return errors.single(*pair)
