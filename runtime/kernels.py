"""Kronecker-sparse layers on tensors, by generated kernels, or by the dense product where that is faster."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pathlift.codegen.cache import measured
from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.route import route
from pathlift.codegen.schedule import DType, Form, Layout, Precision, Schedule
from pathlift.codegen.select import bucket, ranked
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, chain
from pathlift.runtime.cards import card, dtype_name, interpreting, obstacle, usable
from pathlift.runtime.packing import packed

__all__ = ["card", "default_precision", "expand", "ks_linear", "obstacle", "usable"]

_ALIGNED = 16
"""Bytes: kernels are compiled for operands that begin at multiples of it."""
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu,
    "Gelu": F.gelu,
    "GeluTanh": functools.partial(F.gelu, approximate="tanh"),
}


class _Step(NamedTuple):
    """Factors that run together: in a kernel, or, without a schedule, as a dense product."""

    patterns: tuple[Pattern, ...]
    form: Form
    schedule: Schedule | None


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
    """
    ranks = [f.ndim for f in factors if f.ndim != 4]
    patterns = () if ranks else chain(Pattern(f.shape[0], f.shape[2], f.shape[3], f.shape[1]) for f in factors)
    reason = f"a factor has {ranks[0]} axes" if ranks else _misfit(x, factors, bias, residual, patterns, reads, writes)
    if reason:
        raise UsageError("1448", f"operands of a Kronecker-sparse layer do not fit: {reason}")
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *factors, bias, residual)):
        raise UsageError("1449", "a kernel has no gradient of its own", hint="pathlift.nn.KSLinear, or torch.no_grad()")
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
    with _on(x.device):
        y = x.reshape(samples, cols) if reads == "rows" else x
        left = list(factors)
        for step in _steps(patterns, form, samples, card(x.device), schedule):
            start = len(left) - len(step.patterns)
            part, left = left[start:], left[:start]
            last = {"bias": bias, "residual": None if residual is None else residual.reshape(flat)} if not left else {}
            compute = _dense if step.schedule is None else _launch
            y = compute(y, part, step, frozen=frozen, **last)
    return y.reshape(shape)


def default_precision() -> Precision:
    """Return the precision that torch is set to: ``tf32`` if that is allowed, else ``tf32x3``."""
    try:
        highest = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set for CUDA alone, of which this function does not tell
        highest = torch.backends.cuda.matmul.fp32_precision != "tf32"
    return "tf32x3" if highest else "tf32"


def expand(factor: Tensor) -> Tensor:
    """Return a factor (a, d, b, c) as a dense matrix, (a·b·d, a·c·d)."""
    a, d, b, c = factor.shape
    matrix = factor.new_zeros(a, b, d, a, c, d)
    i, m = torch.arange(a, device=factor.device)[:, None], torch.arange(d, device=factor.device)
    matrix[i, :, m, i, :, m] = factor
    return matrix.reshape(a * b * d, a * c * d)


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
    shape = (*lead, rows) if writes == "rows" else (rows, math.prod(lead))
    for name, value, wanted in (("bias", bias, (rows,)), ("residual", residual, shape)):
        if value is not None and tuple(value.shape) != wanted:
            return f"{name} has shape {tuple(value.shape)}, not {wanted}"
    others = {(t.dtype, t.device) for t in (*factors, bias, residual) if t is not None} - {(x.dtype, x.device)}
    for dtype, device in others:
        return f"{dtype_name(dtype)} on {device} meets {dtype_name(x.dtype)} on {x.device}"
    return obstacle(x.device, x.dtype)


def _steps(
    patterns: tuple[Pattern, ...], form: Form, samples: int, on: GraphicsCard, schedule: Schedule | None
) -> Sequence[_Step]:
    """What runs, in this order: the last factors come first."""
    if schedule is not None:
        return [_Step(patterns, form, replace(schedule, form=form))]
    if not interpreting():
        steps = [_Step(s.patterns, s.form, s.schedule) for s in route(patterns, form, samples, on, measured()).steps]
        if all(step.schedule is not None for step in steps) or not _finer_than_torch(form):
            return steps
    return _kernels(patterns, form, bucket(samples), on)


def _finer_than_torch(form: Form) -> bool:
    """Whether torch's dense product is less exact than what is asked for."""
    return form.dtype == "float32" and form.precision != "tf32" and default_precision() == "tf32"


@functools.lru_cache(maxsize=1024)
def _kernels(patterns: tuple[Pattern, ...], form: Form, samples: int, on: GraphicsCard) -> Sequence[_Step]:
    """A kernel for each factor: where nothing else is exact enough, and where they are interpreted to be tested."""

    def steps() -> Iterator[_Step]:
        reads = form.reads
        for i, p in reversed(list(enumerate(patterns))):
            if i:
                inner = replace(form, reads=reads, writes=reads, bias=False, residual=False, activation="")
            else:
                inner = replace(form, reads=reads)
            yield _Step((p,), inner, ranked((p,), inner, samples, on)[0][0])

    return tuple(steps())


def _launch(
    x: Tensor, factors: Sequence[Tensor], step: _Step, *,
    frozen: bool, bias: Tensor | None = None, residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Run a kernel on a matrix."""
    assert step.schedule is not None
    module, kind = _module(step.patterns, step.schedule)
    rows, samples = step.patterns[0].rows, x.shape[0 if step.form.reads == "rows" else 1]
    y = torch.empty((samples, rows) if step.form.writes == "rows" else (rows, samples), dtype=x.dtype, device=x.device)
    weights = packed(factors, kind, module.pack, frozen=frozen)
    more = {"bias": bias, "residual": residual}
    epilogue = {name: _aligned(value) for name, value in more.items() if value is not None}
    module.launch(_aligned(x), tuple(map(_aligned, weights)), y, **epilogue)
    return y


def _aligned(x: Tensor) -> Tensor:
    """Return a tensor as it is, or a copy if it is not contiguous or begins in the middle of 16 bytes."""
    return x.contiguous() if x.data_ptr() % _ALIGNED == 0 else x.clone(memory_format=torch.contiguous_format)


@functools.lru_cache(maxsize=4096)
def _module(patterns: tuple[Pattern, ...], schedule: Schedule) -> tuple[ModuleType, str]:
    """A kernel's module, and a text that is the same for all that pack weights in the same way."""
    module = load(render(patterns, schedule))
    return module, inspect.getsource(module.pack)


def _dense(
    x: Tensor, factors: Sequence[Tensor], step: _Step, *,
    frozen: bool, bias: Tensor | None = None, residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Multiply a matrix with the dense product of factors."""
    (matrix,) = packed(factors, "dense", _multiplied, frozen=frozen)
    rows = x if step.form.reads == "rows" else x.T
    if step.form.writes == "rows":
        y = F.linear(rows, matrix, bias)
    else:
        y = matrix @ rows.T if bias is None else torch.addmm(bias[:, None], matrix, rows.T)
    if residual is not None:
        y = y + residual
    return _ACTIVATIONS[step.form.activation](y) if step.form.activation else y


def _multiplied(*factors: Tensor) -> tuple[Tensor]:
    """The dense product of factors, rounded once."""
    first, *rest = (expand(factor) for factor in factors)
    if not rest:
        return (first,)
    product = first.double()
    for factor in rest:
        product = product @ factor.double()
    return (product.to(first.dtype),)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a CUDA device the current one: Triton launches there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
