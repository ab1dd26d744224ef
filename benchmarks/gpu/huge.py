"""Kernels on more than 2³¹ elements, where 32-bit offsets would wrap around."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from benchmarks.gpu.cases import LAYOUTS, Case
from benchmarks.gpu.correctness import record
from benchmarks.gpu.kernels import Step, this_card
from benchmarks.gpu.layers import Checker
from benchmarks.gpu.phase import Run

from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import Choice, bucket, ranked, select
from pathlift.ir.kronecker import Pattern

_PATTERNS = [Pattern(1, 48, 48, 64), Pattern(4, 192, 192, 4)]
_TINY = [Pattern(1, 4, 4, 2)]
_ARRAYS = 3
"""x, y, and the memory full of NaN before it."""


def main(run: Run) -> None:
    card = this_card(run.dry)
    for p in _TINY if run.dry else _PATTERNS:
        samples = 33 if run.dry else 2**31 // p.cols + 1001
        free = 2**40 if run.dry else torch.cuda.mem_get_info()[0]
        for layout in LAYOUTS:
            form = Form("float16", "ieee", layout, layout)
            case = Case(p, samples, form)
            if run.left < 10 and not run.dry:
                run.emit("left_out", what=f"{case}, more than 2³¹ elements", why="no time was left")
                continue
            if _ARRAYS * 2 * samples * p.cols > 0.9 * free:
                run.emit("left_out", what=f"{case}, more than 2³¹ elements", why="there is no memory for it")
                continue
            chosen = select([p], form, samples, card)
            first: dict[str, Schedule] = {}  # the best of each template
            for schedule, _ in ranked((p,), form, bucket(samples), card):
                first.setdefault(schedule.template, schedule)
            for template, schedule in first.items():
                check = partial(_error, run, case, replace(chosen, schedule=schedule))
                record(run, f"{case}: {schedule}", template, form, check)
            if not run.dry:
                torch.cuda.empty_cache()


def _error(run: Run, case: Case, choice: Choice) -> float:
    p, rows = case.pattern, case.form.reads == "rows"
    x = torch.empty((case.samples, p.cols) if rows else (p.cols, case.samples), dtype=torch.float16, device=run.device)
    x.normal_()
    factor = (torch.randn(p.shape, device=run.device) / p.c**0.5).half()
    step = Step(choice, [factor])
    return Checker(x, factor, case).error(partial(step, x))
