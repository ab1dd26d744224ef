"""Constant folding: what follows from constants alone becomes a constant, and what does nothing is left out.

A path-norm reads scalings, sums and rearrangements of parameters as one edge or bias already. A linear map, a gate or a
pool of constants it reads as neurons, where paths start: for q ≤ 1 their sum is at least the result's magnitude to the
power q, so that no path-norm rises. For q > 1 it may: (1 + 1)² > 1² + 1².
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import TYPE_CHECKING, Any, ClassVar

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.graph import Graph, Origin, Value
from pathlift.ir.types import Param, TensorType, ValueType, is_float
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.layers.edits import drop_constants
from pathlift.passes.layers.weights import constant, rounded
from pathlift.passes.rewrites.noops import leave_out_noops, merge_views
from pathlift.passes.rewrites.strip_head import HEADS
from pathlift.passes.witness.rewritings import RewriteWitness, SequentialWitness
from pathlift.passes.witness.site import Site, may_rewrite

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 2**16
"""Bytes of a result that may be any number of times as large as its operands."""
GROWTH = 4
"""How many times as large as its operands any other result may be."""

_KEPT = HEADS | {"Input", "Param", "Opaque"}
"""Opaque nodes may be random; of a final Softmax, path-norms read what is before it."""


@dataclass(frozen=True)
class ConstantFolding(Transform):
    """Compute what follows from constants alone, and leave out what does nothing.

    Parameters
    ----------
    limit
        Bytes of the largest result that is computed.
    """

    name: ClassVar[str] = "constant-folding"
    effect: ClassVar[Effect] = Effect.LOWERS_TO_ONE

    limit: int = 2**26

    def run(self, graph: Graph) -> Rewritten:
        """Fold until nothing is left to fold.

        Parameters
        ----------
        graph
            Any graph. Parameters that a caller may replace are no constants, and opaque nodes stay: they may be random.
        """
        current, steps = graph, list[tuple[Witness, Graph]]()
        while True:
            done, folder = len(steps), _Folder(self.limit)
            for stage in (leave_out_noops, merge_views, folder.run):
                rewritten = stage(current)
                if rewritten.graph is not current:
                    current = rewritten.graph
                    steps.append((rewritten.witness, current))
            if len(steps) == done:
                return Rewritten(current, SequentialWitness(tuple(steps), tuple(folder.skipped)))


class _Folder:
    """Computes constants, in float64, and rounds them to their element type."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.values: dict[Value, Any] = {}
        """Parameters and, until nothing is left to compute from them, tensors."""
        self.rounded: dict[Value, Param] = {}
        self.skipped: list[str] = []

    def run(self, graph: Graph) -> Rewritten:
        """Put parameters in the place of what computes them."""
        pending = Counter(v for key in graph.live for v in graph.inputs_of(key))
        for key in graph.order:
            if key not in graph.live:
                continue
            if reason := self._visit(graph, key):
                self.skipped.append(f"{graph[key].label!r} stays: {reason}")
            for value in graph.inputs_of(key):
                pending[value] -= 1
                if value is not None and not pending[value]:
                    self.values.pop(value, None)
        folded = {value.node for value in self.rounded}
        read = {Value(key, port) for key in folded for user, _, port in graph.users(key) if user not in folded}
        kept = {v: param for v, param in self.rounded.items() if v in read or v in graph.outputs}
        sites = tuple(Site(graph.name_of(v), (), graph[v.node].label) for v in kept)
        witness = RewriteWitness("constants computed", sites)
        return Rewritten(_replaced(graph, folded, kept) if folded else graph, witness)

    def _visit(self, graph: Graph, key: str) -> str:
        """Note a constant, or compute it; returns the reason if something is in the way."""
        node, operands = graph[key], graph.inputs_of(key)
        param = constant(graph, Value(key))
        if param is not None:
            self.values[Value(key)] = param
        if node.op in _KEPT or any(v is not None and v not in self.values for v in operands):
            return ""
        size, given = _nbytes(node.types), _nbytes(graph.type_of(v) for v in operands if v is not None)
        if size > self.limit:
            return f"its result of {size} bytes is above the limit of {self.limit}"
        if size > max(SMALL, GROWTH * given):
            return f"its result of {size} bytes is more than {GROWTH} times as large as its operands"
        if not may_rewrite(node.names[0]):
            return ""
        numeric = Numeric()
        inputs = (None if v is None else self.values[v] for v in operands)
        outputs = evaluate(numeric, node, tuple(numeric.param(x) if isinstance(x, Param) else x for x in inputs))
        stored = [_stored(tensor, type_) for tensor, type_ in zip(outputs, node.types, strict=True)]
        if None in stored:
            return "a number does not fit the element type"
        self.values |= {Value(key, i): tensor for i, tensor in enumerate(outputs)}
        self.rounded |= {Value(key, i): param for i, param in enumerate(stored) if param is not None}
        return ""


def _nbytes(types: Iterable[ValueType]) -> int | float:
    """Bytes of all these; infinite if not known, or if they are no real numbers."""
    return sum(
        prod(d if isinstance(d, int) else inf for d in t.shape) * t.dtype.itemsize
        if isinstance(t, TensorType) and t.shape is not None and t.dtype is not None and is_float(t.dtype)
        else inf
        for t in types
    )


def _stored(tensor: Tensor, type_: ValueType) -> Param | None:
    dtype = type_.dtype if isinstance(type_, TensorType) else None
    array = None if dtype is None else rounded(tensor.numpy(), dtype)
    return None if array is None else Param.of(array)


def _replaced(graph: Graph, folded: set[str], kept: Mapping[Value, Param]) -> Graph:
    """Put parameters in the place of the values that nodes compute."""
    builder, params, origins = graph.edit(), dict[str, Value](), dict[str, Origin]()
    for key in graph.order:
        if key in folded:
            operands = (v.node for v in graph.inputs_of(key) if v is not None)
            origins[key] = graph[key].origin.merged(*(origins.get(k, graph[k].origin) for k in operands))
    for value, param in kept.items():
        name = graph.name_of(value)
        params[name] = builder.param(param, builder.fresh(name), origins[value.node])
        builder.nx.nodes[params[name].node]["order"] = graph.nx.nodes[value.node]["order"]
        builder.replace_value(value, params[name])
    unread = [key for key in reversed(graph.order) if key in folded]
    for key in unread:
        builder.remove(key)
    drop_constants(builder, graph, unread)
    for name, value in params.items():
        builder.rename(value, name)
    return builder.finish()
