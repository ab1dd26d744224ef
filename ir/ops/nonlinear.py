"""Ops outside the piecewise-linear world: executed, shaped and saved; what analyses know of them is their program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pathlift.ir import dims as D
from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.ops.registry import op
from pathlift.ir.primitives.base import Nonlinear
from pathlift.ir.programs import softmax as programs
from pathlift.ir.programs.onnx import program_of
from pathlift.ir.types import Dims


def _apply(
    alg: Algebra[T],
    reason: str,
    shape: Callable[..., Dims],
    execute: Callable[..., Any],
    *xs: T,
    **more: Any,
) -> T:
    assert alg.node is not None
    f = Nonlinear(alg.node, reason, shape=shape, execute=execute, **more)
    (y,) = alg.apply(f, xs, alg.node.types)
    return y


def _along(shape: Dims, axis: int) -> Dims:
    D.axis(axis, len(shape))
    return shape


@op("Softmax")
def softmax(alg: Algebra[T], x: T, *, axis: int = -1) -> T:
    """exp(x) normalized along an axis."""
    reason = "a softmax inside the network is not piecewise linear"
    program = partial(programs.softmax, axis=axis)
    return _apply(alg, reason, lambda s: _along(s, axis), lambda x: x.softmax(axis), x, program=program)


@op("LogSoftmax")
def log_softmax(alg: Algebra[T], x: T, *, axis: int = -1) -> T:
    """The logarithm of Softmax."""
    reason = "a log-softmax inside the network is not piecewise linear"
    program = partial(programs.log_softmax, axis=axis)
    return _apply(alg, reason, lambda s: _along(s, axis), lambda x: x.log_softmax(axis), x, program=program)


@op("Product")
def product(alg: Algebra[T], x: T, y: T) -> T:
    """x·y of two activations, with broadcasting (gates, attention, squeeze-and-excitation)."""
    reason = "a product of two activations is not piecewise linear"
    return _apply(alg, reason, D.broadcast, lambda x, y: x * y, x, y, commutative=True, bilinear=True)


@op("Opaque")
def opaque(
    alg: Algebra[T],
    *xs: T | None,
    op_type: str,
    domain: str = "",
    version: int = 0,
    reason: str,
    hint: str = "",
    proto: bytes,
    captures: tuple[str, ...] = (),
) -> tuple[T, ...]:
    """An ONNX node without a meaning here: carried, executed and saved unchanged."""
    assert alg.node is not None
    del op_type, domain, version, proto, captures  # how to execute and save it; `Nonlinear.node` hands them on
    return alg.apply(Nonlinear(alg.node, reason, hint, program=program_of(alg.node)), xs, alg.node.types)
