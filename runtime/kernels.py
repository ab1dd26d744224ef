"""Kronecker-sparse layers on tensors, by generated kernels, or by the dense product where that is faster."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from pathlift.codegen.cache import Measured, measured
from pathlift.codegen.route import route
from pathlift.codegen.schedule import DType, Form, Layout, Precision, Schedule
from pathlift.codegen.select import bucket, ranked
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.kronecker import Pattern, chain
from pathlift.runtime.cards import card, dtype_name, interpreting
from pathlift.runtime.factors import misfit
from pathlift.runtime.steps import Step, launch, multiply

_MOST_SAMPLES = 2**30
"""Numbers of samples, and of tiles of them, are 32-bit numbers."""


def ks_linear(
    x: Tensor,
    factors: Sequence[Tensor],
    *,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    activation: str = "",
    reads: Layout = "rows",
    writes: Layout = "rows",
    precision: Precision | None = None,
    schedule: Schedule | None = None,
    dense: bool = False,
    known: Measured | None = None,
    frozen: bool = False,
) -> Tensor:
    """Compute activation(x·(K₁⋯K_L)ᵀ + bias + residual), without gradients.

    Parameters
    ----------
    x
        In rows, (..., inputs) of any rank; with features first, (inputs, samples). Strides may be any.
    factors
        The non-zeros of each factor, (a, d, b, c), as they multiply. They are packed once, as long as they stay the
        same: see `pathlift.runtime.packing.packed`.
    bias
        Of the outputs, (outputs,).
    residual
        Of the shape of the result.
    activation
        ``Relu``, ``Gelu``, ``GeluTanh``, or none.
    reads, writes
        Layouts of x and of the result: ``rows``, or ``features``.
    precision
        Of products of float32 numbers. By default that of torch: ``tf32`` if `torch.set_float32_matmul_precision`
        allows it, else ``tf32x3``, whose error is like that of float32.
    schedule
        How to compute; its form is adapted to the operands, except for the precision where none is given. By default
        what was measured, or else is predicted, to be fastest on the card for about so many samples.
    dense
        Compute the dense product of all factors, whatever is fastest.
    known
        Where to look for what was measured; by default this machine's measurements.
    frozen
        Whether the factors never change.

    Returns
    -------
    Tensor
        In rows, (..., outputs); with features first, (outputs, samples).

    Raises
    ------
    UsageError
        If operands do not fit each other, a gradient is asked for, or kernels do not run where they are.
    ExecutionError
        If Triton has no kernel.
    """
    ranks = [f.ndim for f in factors if f.ndim != 4]
    patterns = () if ranks else chain(Pattern(f.shape[0], f.shape[2], f.shape[3], f.shape[1]) for f in factors)
    reason = f"a factor has {ranks[0]} axes" if ranks else _misfit(x, factors, bias, residual, patterns, reads, writes)
    if reason:
        raise misfit(reason)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *factors, bias, residual)):
        raise UsageError(
            "1449",
            "a kernel has no gradient of its own",
            hint="apply pathlift.nn.KSLinear, or compute without gradients",
        )
    here = card(x.device, x.dtype)
    if precision is None:
        precision = schedule.form.precision if schedule is not None else default_precision()
    name = dtype_name(x.dtype)
    form = Form(
        cast(DType, name), precision if name == "float32" else "ieee", reads, writes,
        bias is not None, residual is not None, activation,
    )  # fmt: skip
    rows, cols = patterns[0].rows, patterns[-1].cols
    lead = x.shape[:-1] if reads == "rows" else x.shape[1:]
    samples = math.prod(lead)
    shape = (*lead, rows) if writes == "rows" else (rows, samples)
    flat = (samples, rows) if writes == "rows" else (rows, samples)
    with on(x.device):
        y = x.reshape(samples, cols) if reads == "rows" else x
        left = list(factors)
        others = None if schedule is not None or interpreting() else here
        steps = [Step(patterns, form, None)] if dense else _steps(patterns, form, samples, here, schedule, known)
        for step in steps:
            start = len(left) - len(step.patterns)
            part, left = left[start:], left[:start]
            last = {"bias": bias, "residual": None if residual is None else residual.reshape(flat)} if not left else {}
            if step.schedule is None:
                y = multiply(y, part, step, frozen=frozen, **last)
            else:
                y = launch(y, part, step, on=others, frozen=frozen, **last)
    return y.reshape(shape)


def forget_routes() -> None:
    """Choose anew from now on: something was measured."""
    _route.cache_clear()


def default_precision() -> Precision:
    """Return the precision that torch is set to: ``tf32`` if that is allowed, else ``tf32x3``."""
    try:
        highest = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set for CUDA alone, of which this function does not tell
        highest = torch.backends.cuda.matmul.fp32_precision != "tf32"
    return "tf32x3" if highest else "tf32"


def _misfit(
    x: Tensor, factors: Sequence[Tensor], bias: Tensor | None, residual: Tensor | None,
    patterns: Sequence[Pattern], reads: Layout, writes: Layout,
) -> str:  # fmt: skip
    """What is wrong with operands; empty if they fit."""
    rows, cols = patterns[0].rows, patterns[-1].cols
    if x.ndim < 1 or (reads == "features" and x.ndim != 2):
        return f"x has {x.ndim} axes"
    found, lead = (x.shape[-1], x.shape[:-1]) if reads == "rows" else (x.shape[0], x.shape[1:])
    if found != cols:
        return f"x has {found} features, not {cols}"
    if math.prod(lead) >= _MOST_SAMPLES:
        return f"x has {math.prod(lead)} samples, of less than 2³⁰"
    shape = (*lead, rows) if writes == "rows" else (rows, math.prod(lead))
    for name, value, wanted in (("bias", bias, (rows,)), ("residual", residual, shape)):
        if value is not None and tuple(value.shape) != wanted:
            return f"{name} has shape {tuple(value.shape)}, not {wanted}"
    others = {(t.dtype, t.device) for t in (*factors, bias, residual) if t is not None} - {(x.dtype, x.device)}
    for dtype, device in others:
        return f"{dtype_name(dtype)} on {device} meets {dtype_name(x.dtype)} on {x.device}"
    return ""


def _steps(
    patterns: tuple[Pattern, ...],
    form: Form,
    samples: int,
    on: GraphicsCard,
    schedule: Schedule | None,
    known: Measured | None,
) -> Sequence[Step]:
    """What runs, in this order: the last factors come first."""
    if schedule is not None:
        return [Step(patterns, form, replace(schedule, form=form))]
    if not interpreting():
        steps = _route(patterns, form, bucket(samples), on, known or measured())
        if all(step.schedule is not None for step in steps) or not _finer_than_torch(form):
            return steps
    return _kernels(patterns, form, bucket(samples), on)


@functools.lru_cache(maxsize=4096)
def _route(
    patterns: tuple[Pattern, ...], form: Form, samples: int, on: GraphicsCard, known: Measured
) -> Sequence[Step]:
    return tuple(Step(s.patterns, s.form, s.schedule) for s in route(patterns, form, samples, on, known).steps)


def _finer_than_torch(form: Form) -> bool:
    """Whether torch's dense product is less exact than what is asked for."""
    return form.dtype == "float32" and form.precision != "tf32" and default_precision() == "tf32"


@functools.lru_cache(maxsize=1024)
def _kernels(patterns: tuple[Pattern, ...], form: Form, samples: int, on: GraphicsCard) -> Sequence[Step]:
    """A kernel for each factor: where nothing else is exact enough, and where they are interpreted to be tested."""

    def steps() -> Iterator[Step]:
        reads = form.reads
        for i, p in reversed(list(enumerate(patterns))):
            if i:
                inner = replace(form, reads=reads, writes=reads, bias=False, residual=False, activation="")
            else:
                inner = replace(form, reads=reads)
            options = ranked((p,), inner, samples, on)
            if not options:
                raise ExecutionError("0932", f"Triton has no kernel for {p}: none fits {on.name}", hint="cpu works")
            yield Step((p,), inner, options[0][0])

    return tuple(steps())


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a CUDA device the current one: Triton launches there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
