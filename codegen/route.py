"""Routes: how a product of several factors runs, as kernels one after another, with layouts between them.

Each kernel computes a factor, or two that are fused; between two kernels, samples are in rows, or features come first.
The route that is predicted to be fastest is found by dynamic programming; the dense product of all factors is one, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pathlift.codegen.cache import Measured
from pathlift.codegen.predict import dense
from pathlift.codegen.schedule import Form, Layout
from pathlift.codegen.select import Choice, bucket, key, may_be_dense, select, times
from pathlift.ir.cost import Cost, GraphicsCard
from pathlift.ir.kronecker import Pattern

_LAYOUTS: tuple[Layout, ...] = ("rows", "features")
_MOST_FUSED = 2


@dataclass(frozen=True)
class Route:
    """How a product of factors runs.

    Parameters
    ----------
    steps
        What runs, in that order: the last factors first. One dense step may stand for all.
    cost, dense
        Predicted for them together, and for the dense product.
    """

    steps: tuple[Choice, ...]
    cost: Cost
    dense: Cost

    @property
    def reason(self) -> str:
        """One line: why this one."""
        if len(self.steps) == 1:
            return self.steps[0].reason
        kernels = " then ".join("".join(map(str, s.patterns)) for s in self.steps)
        return f"{times(self.cost)} predicted for {kernels}; dense: {times(self.dense)}"


def route(
    patterns: Sequence[Pattern], form: Form, samples: int, card: GraphicsCard, measured: Measured | None = None
) -> Route:
    """Find the fastest way through a product.

    Parameters
    ----------
    patterns
        Of the factors, as they multiply.
    form
        What is computed; the epilogue comes after all factors.
    samples
        Rows of the input; rounded up to a power of two.
    card
        Where it runs.
    measured
        Measurements to look into.
    """
    patterns, samples = tuple(patterns), bucket(samples)
    best: dict[tuple[int, Layout], tuple[Choice, ...]] = {(len(patterns), form.reads): ()}
    for start in reversed(range(len(patterns))):  # factors from `start` on are done; the last come first
        for layout in (form.writes,) if start == 0 else _LAYOUTS:
            options = []
            for (end, reads), before in best.items():
                if start < end <= start + _MOST_FUSED:
                    part = _between(form, reads, layout, start)
                    step = select(patterns[start:end], part, samples, card, measured)
                    if step.schedule is not None or end == start + 1:
                        options.append((*before, step))
            best[start, layout] = min(options, key=_seconds)
    steps, whole = best[0, form.writes], dense(patterns, form, samples, card)
    found = measured and measured.get(key(patterns, form, samples, card))
    if found:  # where a kernel was measured to be faster, dense takes longer than that
        seconds = found.seconds if found.schedule is None else max(whole.seconds, found.seconds)
        whole = replace(whole, seconds=seconds)
    if len(patterns) > 1 and may_be_dense(form) and whole.seconds < _seconds(steps):
        reason = f"dense: {times(whole)} predicted, {1e6 * _seconds(steps):.1f} µs by kernels"
        steps = (Choice(patterns, form, None, whole, whole, reason),)
    return Route(steps, sum((s.cost for s in steps), Cost()), whole)


def _between(form: Form, reads: Layout, writes: Layout, start: int) -> Form:
    """The form of a step: the epilogue is the last one's."""
    if start == 0:
        return replace(form, reads=reads, writes=writes)
    return replace(form, reads=reads, writes=writes, bias=False, residual=False, activation="")


def _seconds(steps: Sequence[Choice]) -> float:
    return sum(step.cost.seconds for step in steps)
