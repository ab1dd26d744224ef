"""Patterns, forms and sizes that are measured; the patterns follow the rule of arXiv 2405.15013."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from benchmarks.encoders import VIT

from pathlift.codegen.schedule import Form, Layout
from pathlift.ir.kronecker import Pattern

BATCH = 25088
"""196 positions of 128 images."""
SMALL_BATCHES = (1, 16, 256)
LAYOUTS: tuple[Layout, ...] = ("rows", "features")
FORMS = (Form("float32", "tf32x3"), Form("float32", "tf32"), Form("float16", "ieee"), Form("bfloat16", "ieee"))
TOLERANCES = {"ieee": 2e-6, "tf32x3": 2e-6, "tf32": 2e-3, "float16": 1e-2, "bfloat16": 1e-2}
"""Of ‖error‖ / ‖reference‖, by precision of float32 and by other element types."""
_SIZES = (48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_LEFT_OUT = ({256, 1024}, {128, 512}, {64, 256})
_TINY = [Pattern(2, 5, 6, 1), Pattern(1, 8, 6, 4), Pattern(2, 4, 4, 2)]


@dataclass(frozen=True)
class Case:
    """A layer to time: both layouts are the form's ``reads``."""

    pattern: Pattern
    samples: int
    form: Form

    def __str__(self) -> str:
        return f"{self.pattern} of {self.samples}, {kind(self.form)}, {self.form.reads}"


def kind(form: Form) -> str:
    """Element type, and for float32 the precision of its products."""
    return form.precision if form.dtype == "float32" else form.dtype


def tolerance(form: Form) -> float:
    """The largest relative error of a kernel."""
    return TOLERANCES[kind(form)]


def benchmark_patterns() -> list[Pattern]:
    """All patterns of the paper's benchmark: 376."""
    return [
        Pattern(a, b, c, d)
        for b, c in itertools.product(_SIZES, repeat=2)
        if (b == c or b == 4 * c or c == 4 * b) and {b, c} not in _LEFT_OUT
        for a in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
        for d in (4, 16, 64)
        if BATCH * a * max(b, c) * d < 2**31
    ]


def sample(seed: int, dry: bool) -> list[Pattern]:
    """The patterns of a run, in order: drawn at random, with those of ViT-S/16 between them."""
    if dry:
        return _TINY[1:2]
    drawn = benchmark_patterns()
    random.Random(seed).shuffle(drawn)
    own, found = sorted({p for factors in VIT.values() for p in factors}), []
    for i, p in enumerate(drawn):
        if i % 3 == 0 and own:
            found.append(own.pop())
        found.append(p)
    return found


def layer_cases(patterns: list[Pattern], dry: bool) -> list[list[Case]]:
    """The cases of each pattern: all forms and layouts, at the paper's batch and at a small one, which takes turns."""
    forms = (FORMS[0], FORMS[2]) if dry else FORMS  # the interpreter's bfloat16 is wrong
    found = []
    for i, p in enumerate(patterns):
        sizes = (20, 1) if dry else (BATCH, SMALL_BATCHES[i % len(SMALL_BATCHES)])
        found.append(
            [
                Case(p, samples, Form(form.dtype, form.precision, layout, layout))
                for samples, form, layout in itertools.product(sizes, forms, LAYOUTS)
            ]
        )
    return found
