"""Elementwise arithmetic of activations, and products."""

from __future__ import annotations

from typing import Any

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.programs.gates import COS, EXP, LOG, RECIPROCAL, RELU, SIGMOID, SIN, SQRT, STEPS, exp, power
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import bilinear, minus, number, times, within


@program("Exp")
def exp_(alg: Algebra[T], x: T) -> T:
    """Exp(x)."""
    return exp(alg, x)


@program("Sqrt", "Log", "Reciprocal")
def function(alg: Algebra[T], x: T, *, op_type: str) -> T:
    """Functions that are defined on one side of 0, or beside it."""
    return alg.gate(x, {"Sqrt": SQRT, "Log": LOG, "Reciprocal": RECIPROCAL}[op_type])


@program("Sin", "Cos")
def wave(alg: Algebra[T], x: T, *, op_type: str) -> T:
    """Sine and cosine, which are between -1 and 1."""
    return within(alg, alg.gate(x, {"Sin": SIN, "Cos": COS}[op_type]), -1.0, 1.0)


@program("Floor", "Ceil", "Round", "Sign")
def step(alg: Algebra[T], x: T, *, op_type: str) -> T:
    """Functions that jump."""
    return alg.gate(x, STEPS[op_type])


@program("Mod")
def mod(alg: Algebra[T], x: T, y: T, *, fmod: int = 0) -> T:
    """The remainder of a division by a number: x − y·⌊x/y⌋, or cut towards 0."""
    c = number(alg, y)
    if c == 0:
        raise UnsupportedError("0314", "division by a constant that holds a zero")
    quotient = alg.gate(alg.scale(x, c, reciprocal=True), STEPS["Trunc" if fmod else "Floor"])
    return minus(alg, x, alg.scale(quotient, c))


@program("Div")
def div(alg: Algebra[T], x: T, y: T) -> T:
    """x times the reciprocal of y."""
    return times(alg, x, alg.gate(y, RECIPROCAL))


@program("Pow")
def pow_(alg: Algebra[T], x: T, y: T) -> T:
    """A power with one exponent; with an exponent that is computed, where x is positive."""
    if not alg.is_constant(y):
        return alg.gate(times(alg, y, alg.gate(x, LOG)), EXP)
    if alg.is_constant(x):
        raise UnsupportedError("0304", "a power of parameters")
    p = number(alg, y)
    if p == 1:
        return x
    return times(alg, x, x) if p == 2 else alg.gate(x, power(p))


@program("MatMul")
def matmul(alg: Algebra[T], x: T, y: T) -> T:
    """Products of matrices of activations."""

    def f(x: Any, y: Any) -> Any:
        return x @ y

    return bilinear(alg, x, y, f)


@program("Einsum")
def einsum(alg: Algebra[T], x: T, y: T | None = None, *rest: T, equation: str) -> T:
    """A contraction of two activations."""
    if y is None or rest:
        raise UnsupportedError("0304", f"an einsum of {1 if y is None else 2 + len(rest)} operands")

    def f(x: Any, y: Any) -> Any:
        import torch

        return torch.einsum(equation.replace(" ", ""), x, y)

    return bilinear(alg, x, y, f)


@program("PRelu")
def prelu(alg: Algebra[T], x: T, slope: T) -> T:
    """Slopes that are computed: max(x, 0) − slope·max(−x, 0)."""
    below = alg.gate(alg.scale(x, -1.0), RELU)
    return minus(alg, alg.gate(x, RELU), times(alg, slope, below))


@program("Swish")
def swish(alg: Algebra[T], x: T, *, alpha: float = 1.0) -> T:
    """x·σ(αx)."""
    return times(alg, x, alg.gate(alg.scale(x, alpha), SIGMOID))
