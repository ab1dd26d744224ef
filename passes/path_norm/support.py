"""Support of path-norms, node by node, from the graph alone (without torch): refused, with weights, neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, View
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Param
from pathlift.passes.path_norm.rules import check_activation, check_padding


class Kind(IntEnum):
    """What a value is; what is computed from several is the greatest of theirs."""

    NUMBER = 0
    """A parameter with one element, or that repeated."""
    WEIGHT = 1
    """A parameter, or what moves and multiplications make of some."""
    SIGNAL = 2
    """Neurons."""


class Kinds(Algebra[Kind]):
    """Tells parameters from neurons, and refuses what path-norms have no rule for.

    Attributes
    ----------
    weighted
        Whether the current node multiplies by weights. A factor that is one number (attention's 1/√d) is none.
    """

    name: ClassVar[str] = "path-norm"
    weighted = False

    def param(self, p: Param) -> Kind:
        return Kind.NUMBER if p.size == 1 else Kind.WEIGHT

    def derive(self, f: Callable[..., Any], *params: Kind) -> Kind:
        return max(map(self._parameter, params))

    def _parameter(self, kind: Kind) -> Kind:
        if kind is Kind.SIGNAL:
            raise UnsupportedError("0311", "a parameter of this node is computed from the network's input")
        return kind

    def linear(self, f: LinearMap, x: Kind, w: Kind | None = None) -> Kind:
        if w is not None:
            self._parameter(w)
            self.weighted = True
        return Kind.SIGNAL

    def add(self, x: Kind, y: Kind, axis: int | None = None) -> Kind:
        return max(x, y)

    def scale(self, x: Kind, c: Kind | float, axis: int | None = None, *, reciprocal: bool = False) -> Kind:
        if not isinstance(c, Kind):
            return x
        if self._parameter(c) is Kind.WEIGHT and x is Kind.SIGNAL:
            self.weighted = True
        return max(x, c)

    def gate(self, x: Kind, f: Activation, *params: Kind) -> Kind:
        for slope in params:
            self._parameter(slope)
        check_activation(f)
        return Kind.SIGNAL

    def select(self, x: Kind, s: OrderStatistic) -> Kind:
        return Kind.SIGNAL

    def move(self, xs: Sequence[Kind], v: View) -> Kind:
        kind = max(xs)
        if isinstance(v, Pad) and kind is Kind.SIGNAL:
            check_padding(v)
        return kind


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
    algebra = Kinds()
    kinds: dict[Value, Kind] = {}
    refused: dict[str, UnsupportedError] = {}
    weighted: set[str] = set()
    for key in graph.order:
        node = graph[key]
        if key not in graph.live:
            continue
        outputs = (Kind.SIGNAL,) * len(node.types)
        if node.op != "Input":
            algebra.weighted = False
            inputs = tuple(None if v is None else kinds[v] for v in graph.inputs_of(key))
            try:
                outputs = evaluate(algebra, node, inputs)
            except UnsupportedError as refusal:
                refused[key] = refusal
            else:
                weighted |= {key} if algebra.weighted else set()
        kinds.update({Value(key, i): kind for i, kind in enumerate(outputs)})
    return Support(refused, frozenset(weighted))
