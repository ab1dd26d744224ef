"""Kernels against float64, on fresh random operands between guard bands, into memory full of NaN."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.gpu.cases import FORMS, LAYOUTS, kind, tolerance
from benchmarks.gpu.kernels import alike, compile_only, in_parallel, this_card
from benchmarks.gpu.operands import Drawn, Guarded, gradient_error, layer_error
from benchmarks.gpu.phase import Run, spelled

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import TEMPLATES, Form, Schedule
from pathlift.codegen.space import gradients, space
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.kronecker import Pattern

PATTERNS = [
    (2, 48, 64, 1), (1, 192, 48, 2), (1, 33, 17, 2), (3, 20, 24, 4), (1, 64, 64, 6), (1, 16, 48, 16), (2, 96, 24, 8),
    (1, 5, 7, 3), (1, 16, 24, 32), (6, 64, 64, 1),
]  # fmt: skip
CHAINS = [((1, 192, 48, 2), (2, 48, 192, 1)), ((1, 32, 32, 32), (32, 32, 32, 1)), ((1, 24, 16, 4), (4, 16, 40, 1))]
TINY, TINY_CHAINS = [(2, 5, 6, 1), (1, 8, 6, 4)], [((1, 4, 4, 2), (2, 4, 6, 1))]
SAMPLES = (1, 3, 16, 17, 100, 256, 1000, 2051)
EPILOGUES: list[dict[str, Any]] = [
    {"bias": bias, "residual": residual, "activation": activation}
    for activation in ("", "Relu", "Gelu", "GeluTanh")
    for bias in (False, True)
    for residual in (False, True)
]
PASSES = 6
"""How often all templates × types × layouts are gone through, with other patterns, sizes, tiles and epilogues."""


@dataclass(frozen=True)
class Check:
    """A kernel, and what it is run on."""

    patterns: tuple[Pattern, ...]
    schedule: Schedule
    samples: int
    guard: int
    seed: int

    def __str__(self) -> str:
        given = f"{self.samples} samples, {self.guard} elements around operands, seed {self.seed}"
        return f"{spelled(self.patterns)} of {given}: {self.schedule}"

    def drawn(self, samples: int, device: str) -> Drawn:
        """Its operands, or as many samples of them."""
        return Drawn(self.patterns, self.schedule.form, samples, self.seed, device)

    def compile(self, device: str) -> None:
        """Compile its kernel without running it; that of a gradient is compiled when it runs."""
        if self.schedule.template == "gradient":
            return
        module, drawn = load(render(self.patterns, self.schedule)), self.drawn(alike(self.samples), device)
        weights = module.pack(*drawn.factors)
        held = Guarded(drawn.operands(weights), self.guard)
        packed = tuple(held[f"weights {i}"] for i in range(len(weights)))
        compile_only(module, held["x"], packed, held["y"], held.get("bias"), held.get("residual"))

    def run(self, device: str) -> float:
        """Run it; returns the relative error."""
        drawn = self.drawn(self.samples, device)
        if self.schedule.template == "gradient":
            return gradient_error(self.patterns[0], self.schedule, drawn, self.guard)
        return layer_error(self.patterns, self.schedule, drawn, self.guard)


def main(run: Run) -> None:
    """Check kernels of every template, then the largest sizes."""
    sweep(run, PASSES)
    from benchmarks.gpu import huge

    huge.main(run)


def sweep(run: Run, passes: int) -> None:
    """Check kernels, some at a time: they are compiled side by side and run one after the other."""
    card = this_card(run.dry)
    planned = list(checks(run, card, passes))
    size = 48
    for index, check in enumerate(run.cases(planned, "kernels", str)):
        at = run.skip + index
        if index % size == 0:
            jobs = {str(c): partial(c.compile, run.device) for c in planned[at : at + size]}
            in_parallel(jobs, run.left / 2, run.dry)
        record(run, str(check), check.schedule.template, check.schedule.form, partial(check.run, run.device))


def record(run: Run, what: str, template: str, form: Form, check: Callable[[], float]) -> None:
    """Run a check and write down what came of it."""
    try:
        error = check()
    except Exception as caught:
        run.caught(what, caught)
        return
    layouts = f"{form.reads} to {form.writes}"
    run.emit("checked", what=what, template=template, kind=kind(form), layouts=layouts, error=error,
             good=error < tolerance(form))  # fmt: skip


def checks(run: Run, card: GraphicsCard, passes: int) -> Iterator[Check]:
    """Yield checks: every template, type and pair of layouts in each pass; the rest is drawn."""
    rng = random.Random(run.seed)
    singles, pairs = (TINY, TINY_CHAINS) if run.dry else (PATTERNS, CHAINS)
    forms = [f for f in (Form("float32", "ieee"), *FORMS) if not run.dry or f.dtype != "bfloat16"]
    for _ in range(1 if run.dry else passes):
        for form in forms:
            for reads in LAYOUTS:
                for writes in LAYOUTS:
                    here = replace(form, reads=reads, writes=writes, **rng.choice(EPILOGUES))
                    for template in TEMPLATES:
                        options = pairs if template == "chain" else [(p,) for p in singles]
                        tried = [tuple(Pattern(*p) for p in rng.choice(options)) for _ in range(4)]
                        yield from _draw(rng, template, tried, here, card, run.dry)


def _draw(
    rng: random.Random, template: str, tried: Sequence[tuple[Pattern, ...]], form: Form, card: GraphicsCard, dry: bool
) -> Iterator[Check]:
    """Yield a check of a template, with the first patterns that it has a schedule for."""
    samples = rng.choice((1, 5, 17) if dry else (1, 3, 16) if template == "decode" else SAMPLES)
    for patterns in tried:
        if template == "gradient":
            plain = replace(form, bias=False, residual=False, activation="")
            options = list(gradients(patterns[0], plain, card))
        else:
            options = [s for s in space(patterns, form, samples, card) if s.template == template]
        if dry:
            options = sorted(options, key=lambda s: (s.block_n * s.block_p * s.block_k * s.group, str(s)))[:4]
        if options:
            yield Check(patterns, rng.choice(options), samples, rng.choice((256, 257)), rng.randrange(2**31))
            return
