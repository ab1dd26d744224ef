"""The kernels of a model for an architecture: each compiled, and none that spills or needs more than there is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pathlift.codegen.architectures import Architecture
from pathlift.codegen.offline import Report, compile_source
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Schedule
from pathlift.codegen.select import Choice, bucket, may_be_dense, ranked, times
from pathlift.ir.cost import Cost, GraphicsCard
from pathlift.ir.errors import ExecutionError
from pathlift.ir.kronecker import Pattern

_MOST_TRIED = 24
"""Schedules that are compiled for one layer: neighbours in the order of predicted times mostly fail together."""


@dataclass(frozen=True)
class Kernel:
    """The source of a kernel, and what its machine code uses.

    Parameters
    ----------
    patterns
        Of the factors that it computes, as they multiply.
    schedule
        How it computes.
    source
        Of its module.
    report
        Of the compiler.
    """

    patterns: tuple[Pattern, ...]
    schedule: Schedule
    source: str = field(repr=False)
    report: Report

    @property
    def sha256(self) -> str:
        """Of the source, in UTF-8."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def file(self) -> str:
        """A file's name that says what it holds, and is a module's name, too."""
        patterns = "__".join("_".join(map(str, p)) for p in self.patterns)
        return f"ks_{self.schedule.template}_{patterns}_{self.sha256[:8]}.py"


@dataclass(frozen=True)
class Step:
    """A choice, and its kernel.

    Parameters
    ----------
    choice
        As it is carried out: its schedule, cost and reason are those of the kernel. Dense, if none can be used.
    kernel
        ``None`` if the step is dense.
    """

    choice: Choice
    kernel: Kernel | None = None


class Kernels:
    """Compiles what is chosen, each kernel once.

    Parameters
    ----------
    arch
        The architecture.
    card
        What was chosen for.
    """

    def __init__(self, arch: Architecture, card: GraphicsCard) -> None:
        self.arch, self.card = arch, card
        self._compiled: dict[tuple[tuple[Pattern, ...], Schedule], Kernel | str] = {}

    def step(self, choice: Choice, samples: int) -> Step:
        """Return the kernel of a choice, or that of the next best schedule whose kernel can be used.

        Parameters
        ----------
        choice
            What was chosen.
        samples
            That it was chosen for.
        """
        if choice.schedule is None:
            return Step(choice)
        passed_over: list[str] = []
        for schedule, cost in self._candidates(choice, samples):
            kernel = self._compile(choice.patterns, schedule, samples)
            if isinstance(kernel, Kernel):
                reason = choice.reason
                if passed_over:
                    others = f"{len(passed_over)} predicted to be faster are of no use: {passed_over[0]}"
                    reason = f"{times(cost)} predicted; {others}"
                return Step(replace(choice, schedule=schedule, cost=cost, reason=reason), kernel)
            passed_over.append(kernel)
        reason = f"dense: {len(passed_over)} kernels are of no use: {passed_over[0]}"
        return Step(replace(choice, schedule=None, cost=choice.dense, reason=reason))

    def _candidates(self, choice: Choice, samples: int) -> Iterator[tuple[Schedule, Cost]]:
        """Yield what was chosen, then the others, as long as they are worth it."""
        assert choice.schedule is not None
        yield choice.schedule, choice.cost
        others = ranked(choice.patterns, choice.form, bucket(samples), self.card)
        for schedule, cost in others[:_MOST_TRIED]:
            if cost.seconds > choice.dense.seconds and may_be_dense(choice.form):
                return
            if schedule != choice.schedule:
                yield schedule, cost

    def _compile(self, patterns: tuple[Pattern, ...], schedule: Schedule, samples: int) -> Kernel | str:
        """Return a kernel that can be used, or why it cannot."""
        key = patterns, schedule
        if key not in self._compiled:
            self._compiled[key] = self._attempt(patterns, schedule, samples)
        return self._compiled[key]

    def _attempt(self, patterns: tuple[Pattern, ...], schedule: Schedule, samples: int) -> Kernel | str:
        source = render(patterns, schedule)
        try:
            report = compile_source(source, self.arch.name, samples_divisible_by_16=samples % 16 == 0)
        except ExecutionError as error:
            if error.code != "PL0930":
                raise
            return error.message
        if not report.fits:
            return f"{report.shared:,} bytes of shared memory are more than the {self.arch.shared:,} of {report.arch}"
        if report.spills:
            return f"{report.stack + report.local} bytes of registers are spilled"
        return Kernel(patterns, schedule, source, report)
