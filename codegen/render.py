"""Source of kernels: a template, with a pattern and a schedule filled in.

What comes out is a module of its own, which needs torch and triton and nothing else::

    pack(*factors)                                 weights as the kernel reads them, on the factors' device
    launch(x, weights, y, bias=None, residual=None)      the kernel alone, on operands that fit
    ks_linear(x, *factors, bias=None, residual=None)     the layer: checks, packs, allocates, launches

or, of a gradient::

    count_parts(samples, processors=132)           of how many partial sums, so that processors are busy
    launch(x, dy, partials)                        the kernel alone, on operands that fit
    ks_gradient(x, dy, processors=132)             the gradient: checks, allocates, launches, adds up
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathlift.codegen.boxes import boxes
from pathlift.codegen.chains import tiling
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern, chain

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 65536
"""Samples that are added up in a row: it bounds the error of sums in float32."""


def render(pattern: Pattern | Sequence[Pattern], schedule: Schedule) -> str:
    """Return the source of a kernel.

    Parameters
    ----------
    pattern
        Of the factor; of two, as they multiply from left to right, for a ``chain``.
    schedule
        What the kernel computes, and how.

    Raises
    ------
    UsageError
        If the schedule does not fit the pattern: see `pathlift.codegen.fits.check`.
    """
    from pathlift.codegen.fits import check

    patterns = (pattern,) if isinstance(pattern, Pattern) else chain(pattern)
    check(patterns, schedule)
    template = _environment().get_template(f"{schedule.template}.py.jinja")
    return template.render(patterns=patterns, pattern=patterns[0], schedule=schedule, form=schedule.form)


@functools.cache
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals.update(padded=padded, epilogue=epilogue, boxes=boxes, tiling=tiling, longest=LONGEST)
    return environment


def padded(extent: int, block: int) -> int:
    """Round an extent up to whole tiles."""
    return -(-extent // block) * block


def epilogue(form: Form) -> str:
    """Write what a kernel computes as a formula."""
    total = "x·Kᵀ" + " + bias" * form.bias + " + residual" * form.residual
    return f"{form.activation}({total})" if form.activation else total
