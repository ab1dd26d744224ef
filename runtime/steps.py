"""Steps of a product on matrices: factors in one kernel, or as a dense product."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import bucket, ranked
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import ExecutionError
from pathlift.ir.kronecker import Pattern
from pathlift.runtime.factors import expand
from pathlift.runtime.packing import packed

_ALIGNED = 16
"""Bytes: kernels are compiled for operands that begin at multiples of it."""
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": torch.relu,
    "Gelu": F.gelu,
    "GeluTanh": functools.partial(F.gelu, approximate="tanh"),
}
_COMPILER = ("triton", "compiler", "compiler.py")
_UNFIT: set[tuple[tuple[Pattern, ...], Schedule, torch.device]] = set()
"""What Triton could not compile, or has no room for."""


class Step(NamedTuple):
    """Factors that run together: in a kernel, or, without a schedule, as a dense product."""

    patterns: tuple[Pattern, ...]
    form: Form
    schedule: Schedule | None


def launch(
    x: Tensor,
    factors: Sequence[Tensor],
    step: Step,
    *,
    on: GraphicsCard | None,
    frozen: bool,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Run a kernel.

    Parameters
    ----------
    x
        A matrix in the layout that the form reads.
    factors
        Of the step, as they multiply.
    step
        With a schedule.
    on
        Where the next best schedule is looked for, if Triton does not manage this one; ``None`` if only this one will
        do.
    frozen
        Whether factors never change.
    bias, residual
        As the form has them.

    Raises
    ------
    ExecutionError
        If Triton manages none.
    """
    assert step.schedule is not None

    def options() -> Iterator[Schedule]:
        yield from (step.schedule,) if step.schedule is not None else ()
        if on is not None:
            samples = x.shape[0 if step.form.reads == "rows" else 1]
            yield from (s for s, _ in ranked(step.patterns, step.form, bucket(samples), on))

    failure: Exception | None = None
    for schedule in options():
        if (step.patterns, schedule, x.device) in _UNFIT:
            continue
        try:
            return _launch(x, factors, step.patterns, schedule, frozen, {"bias": bias, "residual": residual})
        except Exception as error:
            if not _is_of_compiler(error):
                raise
            failure = error
            if on is not None:
                _UNFIT.add((step.patterns, schedule, x.device))
    said = "none that fits is left" if failure is None else str(failure).strip().partition("\n")[0]
    text = "".join(map(str, step.patterns))
    raise ExecutionError("0932", f"Triton has no kernel for {text}: {said}", hint="cpu works") from failure


def _is_of_compiler(error: Exception) -> bool:
    """Whether a kernel was not compiled, or has no room: stages of the compiler raise what they like, too.

    What is raised when a compiled kernel is loaded, or launched, may be the fault of another one.
    """
    from triton.errors import TritonError

    codes = (frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__))
    stages = any(code.co_name == "compile" and Path(code.co_filename).parts[-3:] == _COMPILER for code in codes)
    return isinstance(error, TritonError) or stages


def _launch(
    x: Tensor,
    factors: Sequence[Tensor],
    patterns: tuple[Pattern, ...],
    schedule: Schedule,
    frozen: bool,
    epilogue: Mapping[str, Tensor | None],
) -> Tensor:
    module, kind = _module(patterns, schedule)
    rows, samples = patterns[0].rows, x.shape[0 if schedule.form.reads == "rows" else 1]
    y = torch.empty(
        (samples, rows) if schedule.form.writes == "rows" else (rows, samples), dtype=x.dtype, device=x.device
    )
    weights = packed(factors, kind, module.pack, frozen=frozen)
    more = {name: _aligned(value) for name, value in epilogue.items() if value is not None}
    module.launch(_aligned(x), tuple(map(_aligned, weights)), y, **more)
    return y


def _aligned(x: Tensor) -> Tensor:
    """Return a tensor as it is, or a copy if it is not as its memory says, or begins in the middle of 16 bytes.

    Of a view with signs swapped, which torch swaps when it computes, a kernel would read the memory as it is.
    """
    x = x.resolve_neg()
    return x.contiguous() if x.data_ptr() % _ALIGNED == 0 else x.clone(memory_format=torch.contiguous_format)


@functools.lru_cache(maxsize=4096)
def _module(patterns: tuple[Pattern, ...], schedule: Schedule) -> tuple[ModuleType, str]:
    """A kernel's module, and a text that is the same for all that pack weights in the same way."""
    module = load(render(patterns, schedule))
    return module, inspect.getsource(module.pack)


def multiply(
    x: Tensor,
    factors: Sequence[Tensor],
    step: Step,
    *,
    frozen: bool,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Multiply with the dense product of factors; parameters are those of `launch`."""
    (matrix,) = packed(factors, "dense", _product, frozen=frozen)
    rows = x if step.form.reads == "rows" else x.T
    if step.form.writes == "rows":
        y = F.linear(rows, matrix, bias)
    else:
        y = matrix @ rows.T if bias is None else torch.addmm(bias[:, None], matrix, rows.T)
    if residual is not None:
        y = y + residual
    return _ACTIVATIONS[step.form.activation](y) if step.form.activation else y


def _product(*factors: Tensor) -> tuple[Tensor]:
    """The dense product of factors, rounded once."""
    first, *rest = (expand(factor) for factor in factors)
    if not rest:
        return (first,)
    product = first.double()
    for factor in rest:
        product = product @ factor.double()
    return (product.to(first.dtype),)
