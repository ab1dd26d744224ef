"""Sorts of operands, seen through an algebra that writes down what it is asked: also how to write an analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Param


@dataclass(frozen=True)
class Symbol:
    """A parameter, by the formula that computes it."""

    formula: str


class Formulas(TwoSorted[Symbol, str]):
    """What is computed, as text: parameters are `Symbol`, signals plain strings."""

    name: ClassVar[str] = "formulas"
    parameter_type: ClassVar[type] = Symbol

    def param(self, p: Param) -> Symbol:
        assert self.node is not None
        return Symbol(self.node.names[0])

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Symbol]) -> Symbol:
        return Symbol(f"f({', '.join(p.formula for p in params)})")

    def add_parameters(self, x: Symbol, y: Symbol, axis: int | None) -> Symbol:
        return Symbol(f"({x.formula} + {_along(y.formula, axis)})")

    def scale_parameter(self, x: Symbol, c: Symbol, axis: int | None, *, reciprocal: bool) -> Symbol:
        return Symbol(f"({x.formula} {'/' if reciprocal else '·'} {_along(c.formula, axis)})")

    def multiply_parameter(self, x: Symbol, c: float) -> Symbol:
        return Symbol(f"{c:g}·{x.formula}")

    def move_parameters(self, xs: Sequence[Symbol], v: View) -> Symbol:
        return Symbol(f"{type(v).__name__}({', '.join(x.formula for x in xs)})")

    def lift(self, p: Symbol) -> str:
        return f"⟨{p.formula}⟩"

    def apply_weights(self, f: LinearMap, x: str, w: Symbol) -> str:
        return f"{w.formula}({x})"

    def combine(self, f: SeparableMap, x: str) -> str:
        return f"{type(f).__name__}({x})"

    def add_signals(self, x: str, y: str, axis: int | None) -> str:
        return f"[{x} + {_along(y, axis)}]"

    def scale_signal(self, x: str, c: Symbol, axis: int | None, *, reciprocal: bool) -> str:
        return f"[{x} {'/' if reciprocal else '·'} {_along(c.formula, axis)}]"

    def multiply_signal(self, x: str, c: float) -> str:
        return f"[{c:g}·{x}]"

    def activate(self, x: str, f: Activation, *slopes: Symbol) -> str:
        return f"{f.name}({', '.join([x, *(s.formula for s in slopes)])})"

    def pool(self, x: str, s: OrderStatistic) -> str:
        return f"{type(s).__name__}({x})"

    def move_signals(self, xs: Sequence[str], v: View) -> str:
        return f"{type(v).__name__}({', '.join(xs)})"


def _along(vector: str, axis: int | None) -> str:
    return vector if axis is None else f"{vector}@{axis}"


INPUTS = """
    %x = Input : f32[2, 2]
    %v = Input : f32[2]
    %a = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
    %b = Param {value=[[5.0, 6.0], [7.0, 8.0]]} : f32[2, 2]
    %c = Param {value=[1.0, 2.0]} : f32[2]
"""
NORM = "BatchNormalization(%{}, %{}, %{}, %{}, %c) {{epsilon=0.0}}"


def formula(node: str) -> str | Symbol:
    graph = parse_graph(f"{INPUTS}\n%y = {node}\nreturn %y")
    return run(graph, Formulas(), {"x": "x", "v": "v"})["y"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Add(%x, %x)", "[x + x]"),
        ("Add(%x, %a)", "[x + ⟨a⟩]"),
        ("Add(%a, %x)", "[⟨a⟩ + x]"),
        ("Sub(%x, %a)", "[x + ⟨-1·a⟩]"),
        ("Sub(%a, %x)", "[⟨a⟩ + [-1·x]]"),
        ("Mul(%x, %a)", "[x · a]"),
        ("Div(%x, %a)", "[x / a]"),
        ("Gemm(%x, %a, %c)", "[a(x) + ⟨c⟩]"),
        ("Gemm(%b, %a, %v)", "[a(⟨b⟩) + v]"),
        ("ReduceMean(%a) {axes=[1]}", "Reduce(⟨a⟩)"),
        ("PRelu(%x, %a)", "PRelu(x, a)"),
        ("Relu(%a)", "Relu(⟨a⟩)"),
        ("Max(%a, %x)", "Extremum(Stack(⟨a⟩, x))"),
        ("Max(%a, %b)", "Extremum(⟨Stack(a, b)⟩)"),
        ("Concat(%x, %a) {axis=0}", "Concat(x, ⟨a⟩)"),
        (NORM.format("x", "c", "c", "c"), "[[x · f(c, c)@1] + ⟨(c + -1·(c · f(c, c)))⟩@1]"),
        (NORM.format("x", "c", "v", "c"), "[[x · f(c, c)@1] + [v + ⟨-1·(c · f(c, c))⟩]@1]"),
        (NORM.format("a", "c", "v", "c"), "[⟨(a · f(c, c)@1)⟩ + [v + ⟨-1·(c · f(c, c))⟩]@1]"),
        (NORM.format("x", "c", "c", "v"), "[[x · f(c, c)@1] + [⟨c⟩ + [-1·[v · f(c, c)]]]@1]"),
    ],
)
def test_signals(node: str, expected: str) -> None:
    assert formula(node) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Add(%a, %b)", "(a + b)"),
        ("Sub(%a, %b)", "(a + -1·b)"),
        ("Mul(%a, %b)", "(a · b)"),
        ("Div(%a, %b)", "(a / b)"),
        ("Concat(%a, %b) {axis=0}", "Concat(a, b)"),
        ("Transpose(%a) {perm=[1, 0]}", "Transpose(a)"),
        (NORM.format("a", "c", "c", "c"), "((a · f(c, c)@1) + (c + -1·(c · f(c, c)))@1)"),
    ],
)
def test_what_is_computed_from_parameters_is_a_parameter(node: str, expected: str) -> None:
    assert formula(node) == Symbol(expected)


@pytest.mark.parametrize(
    "node",
    [
        "Gemm(%x, %x)",
        "Gemm(%a, %x)",
        "Mul(%x, %x)",
        "Mul(%a, %x)",
        "Div(%a, %v)",
        "PRelu(%a, %v)",
        NORM.format("x", "v", "c", "c"),
    ],
)
def test_weights_factors_and_slopes_are_no_signals(node: str) -> None:
    with pytest.raises(UnsupportedError, match=r"PL0311 node 'y' .*computed from the network's input"):
        formula(node)


def test_numbers_divide_as_they_multiply() -> None:
    algebra = Formulas()
    assert algebra.scale("x", 4.0, reciprocal=True) == "[0.25·x]"
    assert algebra.scale(Symbol("a"), 4, reciprocal=True) == Symbol("0.25·a")
    for operand in ("x", Symbol("a")):
        with pytest.raises(UnsupportedError, match="PL0314"):
            algebra.scale(operand, 0.0, reciprocal=True)


def test_what_an_analysis_leaves_out_is_refused_by_name() -> None:
    class Nothing(TwoSorted[Symbol, str]):
        name = "nothing"
        parameter_type = Symbol

    for compute, what in [
        (lambda alg: alg.add("x", "x"), "an addition"),
        (lambda alg: alg.add("x", Symbol("a")), "a parameter as a signal"),
        (lambda alg: alg.add(Symbol("a"), Symbol("a")), "a sum of parameters"),
        (lambda alg: alg.scale("x", Symbol("a")), "a scaling"),
    ]:
        with pytest.raises(UnsupportedError, match=f"PL0302 nothing has no rule for {what}"):
            compute(Nothing())


def test_a_linear_map_needs_weights_or_coefficients() -> None:
    class Other(LinearMap):
        def shape(self, x: Any, w: Any) -> Any:
            return x

        def __call__(self, x: Any, w: Any = None) -> Any:
            return x

    with pytest.raises(UnsupportedError, match="PL0331 there is no rule for a Other"):
        Formulas().linear(Other(), "x")
