"""Single layers: generated kernels against all that PyTorch offers, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isfinite, nan
from statistics import median

import torch
from benchmarks.gpu.baselines import baselines, compiled
from benchmarks.gpu.cases import BATCH, SMALL_BATCHES, Case, kind, layer_cases, sample, tolerance
from benchmarks.gpu.kernels import Call, Step, in_parallel, this_card
from benchmarks.gpu.operands import difference, times
from benchmarks.gpu.phase import Run
from benchmarks.gpu.timing import Clock, captured
from torch import Tensor

from pathlift.codegen.cache import Measurement, entry
from pathlift.codegen.predict import traffic
from pathlift.codegen.schedule import Schedule
from pathlift.codegen.select import bucket, key, may_be_dense, ranked, select
from pathlift.codegen.tune import MOST_TIMED, candidates
from pathlift.ir.cost import GraphicsCard

CHECKED = 64
"""Samples that are compared with float64; the rest must be free of NaN, which is what memory held before."""
_CAPTURED = 1024
"""Up to so many samples, a call is captured as a graph: launches would take longer than what is launched."""
_TUNING, _COMPILING = 0.4, 0.15
"""Shares of the phase after which nothing is tuned any more, and for torch.compile."""
_MOST_SECONDS = 40.0
"""For compiling the kernels of a pattern."""


def main(run: Run) -> None:
    card, clock, whole = this_card(run.dry), Clock(run.device, run.seed), run.left
    torch.manual_seed(run.seed)
    compiling = _COMPILING * whole
    cases = layer_cases(sample(run.seed, run.dry), run.dry)
    for index, group in enumerate(run.cases(cases, "patterns", lambda group: str(group[0].pattern))):
        tuned = run.left > (1 - _TUNING) * whole
        contests = [Contest(run, card, clock, case, tuned and case.samples > SMALL_BATCHES[1]) for case in group]
        jobs = {name: job for contest in contests for name, job in contest.jobs().items()}
        done = in_parallel(jobs, min(run.left / 3, _MOST_SECONDS), run.dry)
        for i, contest in enumerate(contests):
            if run.left < 1:
                run.emit("left_out", what=f"{len(contests) - i} of {len(contests)} cases", why="no time was left")
                break
            begin = time.monotonic()
            with_compiler = not run.dry and compiling > 0 and contest.case.samples == BATCH and i == index % 8
            contest.leave_out(done)
            try:
                contest.hold(with_compiler)
            except Exception as error:
                run.caught(str(contest.case), error)
            compiling -= (time.monotonic() - begin) * with_compiler
        if not run.dry:
            torch.cuda.empty_cache()


class Contest:
    """One case: its kernels, and those that they run against.

    Parameters
    ----------
    tuned
        Whether several kernels are timed, or only the one that the cost model likes best.
    """

    def __init__(self, run: Run, card: GraphicsCard, clock: Clock, case: Case, tuned: bool) -> None:
        self.run, self.card, self.clock, self.case = run, card, clock, case
        p, form = case.pattern, case.form
        dtype = getattr(torch, form.dtype)
        self.factor = (torch.randn(p.shape, device=run.device) / p.c**0.5).to(dtype)
        chosen = select([p], form, case.samples, card)
        self.dense_predicted, self.tuned = chosen.schedule is None, tuned
        options = ranked((p,), form, bucket(case.samples), card)[:1]
        schedules = [s for s, _ in options]
        if tuned:
            schedules += [s for s in candidates([p], form, bucket(case.samples), card) if s not in schedules]
        self.steps: dict[Schedule, Step] = {}
        for schedule in schedules[: 2 if run.dry else MOST_TIMED]:
            try:
                self.steps[schedule] = Step(replace(chosen, schedule=schedule), [self.factor])
            except Exception as error:
                run.caught(f"{case}: {schedule}", error)

    def jobs(self) -> dict[str, Callable[[], object]]:
        """What compiles its kernels, by name."""
        return {self.name(s): partial(step.compile, self.case.samples) for s, step in self.steps.items()}

    def name(self, schedule: Schedule) -> str:
        """Name a kernel."""
        return f"{self.case}: {schedule}"

    def leave_out(self, done: set[str]) -> None:
        """Leave out what there was no time to compile, but the cost model's choice."""
        late = [s for i, s in enumerate(self.steps) if i and not self.run.dry and self.name(s) not in done]
        for schedule in late:
            del self.steps[schedule]
        if late:
            self.run.emit("left_out", what=f"{len(late)} candidates of {self.case}", why="no time was left to compile")

    def hold(self, with_compiler: bool) -> None:
        """Check and time all contestants, and write it down."""
        case, form = self.case, self.case.form
        torch.set_float32_matmul_precision("high" if form.precision == "tf32" else "highest")
        shape = (case.samples, case.pattern.cols)
        x = torch.randn(shape if form.reads == "rows" else shape[::-1], device=self.run.device).to(self.factor.dtype)
        checker = Checker(x, self.factor, case)
        absent: dict[str, str] = {}
        errors: dict[str, float] = {}
        calls: dict[str, Call] = {}
        ready: dict[str, Callable[[], object]] = {}
        seconds = self._kernels(x, checker, calls, errors)
        makers = baselines(case.pattern, x, self.factor, form.reads)
        if with_compiler:
            makers["compiled bmm"] = partial(compiled, x, self.factor, form.reads)
        for name, make in makers.items():
            try:
                call = make()
                errors[name] = checker.error(call)
                if not errors[name] < 5 * tolerance(form):
                    raise ArithmeticError(f"its error is {errors[name]:.1e}")
                calls[name] = call
            except Exception as error:  # a way that is not open, or has no room; a broken card shows in the timing
                absent[name] = f"{type(error).__name__}: {str(error).strip()[:200]}"
        for name, call in calls.items():
            try:
                ready[name] = captured(call, self.run.device) if case.samples <= _CAPTURED else call
            except Exception as error:
                absent[name] = f"no graph of it: {type(error).__name__}: {str(error).strip()[:200]}"
        timed = self.clock.race(ready, 3 if self.run.dry else 11, 0.1)
        best = min(seconds, key=seconds.__getitem__, default=None) if self.tuned else None
        if best is not None and "tuned kernel" in timed:
            self._keep(best, timed)
        self.run.emit(
            "layer", pattern=str(case.pattern), samples=case.samples, kind=kind(form), layout=form.reads,
            schedule=str(next(iter(self.steps), "")), tuned=str(best or ""), dense_predicted=self.dense_predicted,
            bytes=traffic([case.pattern], form, case.samples), seconds=timed, errors=errors, absent=absent,
        )  # fmt: skip

    def _keep(self, best: Schedule, timed: dict[str, list[float]]) -> None:
        """Write down what is fastest, for a table: the dense product may be."""
        form = self.case.form
        found = Measurement(best, median(timed["tuned kernel"]))
        if "dense" in timed and may_be_dense(form) and median(timed["dense"]) < found.seconds:
            found = Measurement(None, median(timed["dense"]))
        self.run.emit("tuned", **entry(key([self.case.pattern], form, self.case.samples, self.card), found))

    def _kernels(
        self, x: Tensor, checker: Checker, calls: dict[str, Call], errors: dict[str, float]
    ) -> dict[Schedule, float]:
        """Check the kernels, enter the cost model's and the fastest; returns the seconds of each."""
        found: dict[Schedule, float] = {}
        for index, (schedule, step) in enumerate(self.steps.items()):
            call = partial(step, x)
            try:
                error = checker.error(call)
                if not error < tolerance(self.case.form):
                    self.run.emit("wrong", what=self.name(schedule), error=error)
                    continue
                found[schedule] = self.clock.median(call, 3) if self.tuned else 0.0
            except Exception as caught:
                self.run.caught(self.name(schedule), caught)
                continue
            if index == 0:
                calls["kernel"], errors["kernel"] = call, error
            if self.tuned and found[schedule] == min(found.values()):
                calls["tuned kernel"], errors["tuned kernel"] = call, error
        return found


class Checker:
    """Compares some samples of a result with float64, and looks for NaN in all of it."""

    def __init__(self, x: Tensor, factor: Tensor, case: Case) -> None:
        self.case, self.rows = case, case.form.reads == "rows"
        some = torch.randperm(case.samples, device=x.device)[:CHECKED]
        self.some = torch.cat([some, some.new_tensor([0, case.samples - 1])])
        part = x[self.some] if self.rows else x[:, self.some].mT
        self.expected = times(part, factor)
        self.x = x

    def error(self, call: Callable[[], Tensor]) -> float:
        """The relative error of what a call returns; NaN if it has one."""
        p, n = self.case.pattern, self.case.samples
        self.x.new_full((n * p.rows,), torch.nan)  # freed at once: the result is likely to get this memory
        y = call()
        error = difference(y[self.some] if self.rows else y[:, self.some].mT, self.expected)
        return error if isfinite(float(y.sum(dtype=torch.float32))) else nan
