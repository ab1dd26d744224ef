"""Support of path-norms, node by node, from the graph alone (without torch): refused, with weights, neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from pathlift.ir.algebras.interpret import evaluate, walk
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param
from pathlift.passes.path_norm.rules import check_activation, check_padding


@dataclass(frozen=True)
class Parameter:
    """A parameter, or what moves, sums and multiplications make of some.

    Parameters
    ----------
    number
        Whether it has one element, or repeats one.
    """

    number: bool


class Signal(Enum):
    """Neurons, of which nothing is told apart."""

    NEURONS = "neurons"


ValueKind = Parameter | Signal


class KindAlgebra(TwoSorted[Parameter, Signal]):
    """Tells parameters from neurons, and refuses what path-norms have no rule for.

    Attributes
    ----------
    weighted
        Whether the current node multiplies by weights. A factor that is one number (attention's 1/√d) is none.
    """

    name: ClassVar[str] = "path-norm"
    parameter_type: ClassVar[type] = Parameter
    weighted = False

    def enter(self, node: Node) -> None:
        super().enter(node)
        self.weighted = False

    def param(self, p: Param) -> Parameter:
        return Parameter(p.size == 1)

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Parameter]) -> Parameter:
        return _joined(params)

    def add_parameters(self, x: Parameter, y: Parameter, axis: int | None) -> Parameter:
        return _joined([x, y])

    def scale_parameter(self, x: Parameter, c: Parameter, axis: int | None, *, reciprocal: bool) -> Parameter:
        return _joined([x, c])

    def multiply_parameter(self, x: Parameter, c: float) -> Parameter:
        return x

    def move_parameters(self, xs: Sequence[Parameter], v: View) -> Parameter:
        return _joined(xs)

    def lift(self, p: Parameter) -> Signal:
        return Signal.NEURONS

    def apply_weights(self, f: LinearMap, x: Signal, w: Parameter) -> Signal:
        self.weighted = True
        return x

    def combine(self, f: SeparableMap, x: Signal) -> Signal:
        return x

    def add_signals(self, x: Signal, y: Signal, axis: int | None) -> Signal:
        return x

    def scale_signal(self, x: Signal, c: Parameter, axis: int | None, *, reciprocal: bool) -> Signal:
        self.weighted = self.weighted or not c.number
        return x

    def multiply_signal(self, x: Signal, c: float) -> Signal:
        return x

    def activate(self, x: Signal, f: Activation, *slopes: Parameter) -> Signal:
        check_activation(f)
        return x

    def pool(self, x: Signal, s: OrderStatistic) -> Signal:
        return x

    def move_signals(self, xs: Sequence[Signal], v: View) -> Signal:
        if isinstance(v, Pad):
            check_padding(v)
        return xs[0]


def _joined(parts: Sequence[Parameter]) -> Parameter:
    """What is computed from parameters: one number if all of them are."""
    return Parameter(all(p.number for p in parts))


@dataclass(frozen=True)
class Support:
    """Which nodes a path-norm refuses, and which have weights; both by key, of live nodes.

    Parameters
    ----------
    refused
        In topological order, each with the reason.
    weighted
        Supported nodes that multiply neurons by weights.
    """

    refused: Mapping[str, UnsupportedError]
    weighted: frozenset[str]


def support(graph: Graph) -> Support:
    """Judge every live node; the outputs of a refused one count as neurons."""
    algebra = KindAlgebra()
    refused: dict[str, UnsupportedError] = {}
    weighted: set[str] = set()

    def step(key: str, inputs: tuple[ValueKind | None, ...]) -> Sequence[ValueKind]:
        node = graph[key]
        neurons = (Signal.NEURONS,) * len(node.types)
        if node.op == "Input":
            return neurons
        try:
            outputs = evaluate(algebra, node, inputs)
        except UnsupportedError as refusal:
            refused[key] = refusal
            return neurons
        if algebra.weighted:
            weighted.add(key)
        return outputs

    walk(graph, step)
    return Support(refused, frozenset(weighted))
