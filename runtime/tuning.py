"""Tuning on this machine's card: schedules are timed on random operands, and what was found is kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pathlift.codegen.cache import Measured, measured
from pathlift.codegen.offline import compile_source
from pathlift.codegen.render import render
from pathlift.codegen.route import Route, route
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import Choice, key
from pathlift.codegen.tune import tune
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.foreign import is_out_of_memory
from pathlift.ir.kronecker import Pattern
from pathlift.runtime import cards, kernels

_MOST_ROUNDS = 8
"""Of tuning a route: each measures at least a step, and few steps are worth it."""


def tune_layer(
    patterns: Sequence[Pattern], form: Form, samples: int, device: torch.device, known: Measured | None = None
) -> Choice:
    """Find the fastest schedule of a layer on a device; later sessions and layers use it.

    Parameters
    ----------
    patterns
        Of a factor, or of two that may be fused, as they multiply.
    form
        What is computed.
    samples
        Rows of the input; schedules are tuned for powers of two.
    device
        A CUDA device.
    known
        Where measurements are kept: this machine's, by default.

    Raises
    ------
    UsageError
        If the device is none that kernels run on.
    """
    card = cards.card(device)
    clock = Clock(tuple(patterns), form, samples, device)
    compiles = functools.partial(_has_room, patterns, card)
    found = tune(patterns, form, samples, card, clock, measured() if known is None else known, compiles=compiles)
    kernels.forget_routes()
    return found


def _has_room(patterns: Sequence[Pattern], card: GraphicsCard, schedule: Schedule) -> bool:
    """Whether a kernel, compiled, keeps to registers and to shared memory."""
    report = compile_source(render(patterns, schedule), card.arch)
    return not report.spills and report.shared <= card.shared_memory


def tune_product(
    patterns: Sequence[Pattern], form: Form, samples: int, device: torch.device, known: Measured | None = None
) -> Route:
    """Find the fastest route through a product: what would run is tuned, until what would run is what was tuned.

    Parameters and errors are those of `tune_layer`, for any number of factors.
    """
    known, card = measured() if known is None else known, cards.card(device)
    for _ in range(_MOST_ROUNDS):
        found = route(patterns, form, samples, card, known)
        new = [s for s in found.steps if known.get(key(s.patterns, s.form, samples, card)) is None]
        if not new:
            break
        for step in new:
            tune_layer(step.patterns, step.form, samples, device, known)
    return route(patterns, form, samples, card, known)


class Clock:
    """Times schedules of a layer, on operands that stay: random ones, since zeros make arithmetic faster.

    Parameters
    ----------
    patterns, form, samples, device
        As for `tune_layer`.
    time
        Returns the milliseconds that a function takes on the device, with caches emptied before each call.
    """

    def __init__(
        self,
        patterns: tuple[Pattern, ...],
        form: Form,
        samples: int,
        device: torch.device,
        time: Callable[[Callable[[], Any]], float] | None = None,
    ) -> None:
        self._form, self._time = form, time or _milliseconds
        dtype, rows = getattr(torch, form.dtype), patterns[0].rows

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, device=device, dtype=dtype)

        def matrix(features: int, layout: str) -> Tensor:
            return draw(samples, features) if layout == "rows" else draw(features, samples)

        self._x, self._factors = matrix(patterns[-1].cols, form.reads), [draw(*p.shape) for p in patterns]
        self._bias = draw(rows) if form.bias else None
        self._residual = matrix(rows, form.writes) if form.residual else None

    def __call__(self, schedule: Schedule | None) -> float:
        """Return seconds; infinity for what does not run here."""
        try:
            return self._time(lambda: self.run(schedule)) / 1e3
        except (PathliftError, RuntimeError) as error:
            if isinstance(error, UsageError):
                raise
            if is_out_of_memory(error):
                torch.cuda.empty_cache()
            return math.inf

    def run(self, schedule: Schedule | None) -> Tensor:
        """Compute the layer once."""
        f = self._form
        return kernels.ks_linear(
            self._x, self._factors, bias=self._bias, residual=self._residual, activation=f.activation, reads=f.reads,
            writes=f.writes, precision=f.precision, schedule=schedule, dense=schedule is None,
        )  # fmt: skip


def _milliseconds(function: Callable[[], Any]) -> float:
    from triton.testing import do_bench

    return float(do_bench(function, warmup=10, rep=50, return_mode="median"))
