"""Keep consecutive Kronecker-sparse layers feature-major, with transpositions at both ends only.

Rows of samples are what ONNX has; a product with a Kronecker-sparse matrix then has to bring the features of a block
next to each other, and back. With the features first, that is where they are already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Dim, Dims, TensorType
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.edits import is_read_once, source
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site

_RESIDUAL = 3
"""The slot of a layer's residual."""


@dataclass(frozen=True)
class AssignLayout(Transform):
    """Keep consecutive Kronecker-sparse layers feature-major, and move transpositions to the ends.

    Parameters
    ----------
    shortest
        How many layers must follow one another.
    """

    name: ClassVar[str] = "ks-layout"
    effect: ClassVar[Effect] = Effect.KEEPS

    shortest: int = 2

    def run(self, graph: Graph) -> Rewritten:
        """Rewrite chains of layers, with elementwise activations between them.

        A residual is transposed where a chain reads it. Where it is what the chain starts from, that is shared: a block
        with a skip connection needs no more transpositions than one without.

        Parameters
        ----------
        graph
            Any graph; `ks-epilogue` first puts biases where this pass can move them.
        """
        builder, sites, skipped = graph.edit(), list[Site](), list[str]()
        for chain in _chains(graph, self.shortest):
            x, y = graph.inputs_of(chain[0])[0], Value(chain[-1])
            assert x is not None
            what = f"{graph[chain[0]].label} … {graph[chain[-1]].label}"
            type_ = graph.type_of(x)
            shape = type_.shape if isinstance(type_, TensorType) else None
            if shape is None or sum(not isinstance(d, int) for d in shape[:-1]) > 1:
                skipped.append(f"{what!r} stay as they are: more than one extent of their input is not known")
                continue
            read = dict.fromkeys([x, *(r for key in chain if (r := _residual(graph, key)) is not None)])
            names = tuple(graph.name_of(v) for v in read if graph[v.node].op != "Param")
            sites.append(Site(graph.name_of(y), names, what))
            _rewrite(builder, graph, chain, shape)
        return Rewritten(
            builder.finish() if sites else graph,
            RewriteWitness("chains of Kronecker-sparse layers made feature-major", tuple(sites), tuple(skipped)),
        )


def _chains(graph: Graph, shortest: int) -> Iterator[list[str]]:
    """Yield the longest runs of layers, and of elementwise ops between two of them."""
    seen: set[str] = set()
    for key in graph.order:
        if key in seen or key not in graph.live or not _is_layer(graph, key):
            continue
        chain = [key]
        while (following := _reader(graph, chain[-1])) is not None:
            chain.append(following)
        while not _is_layer(graph, chain[-1]):
            chain.pop()
        seen.update(chain)
        if sum(_is_layer(graph, k) for k in chain) >= shortest:
            yield chain


def _is_layer(graph: Graph, key: str) -> bool:
    return graph[key].op == "KSLinear" and not graph[key].attrs.get("feature_major")


def _reader(graph: Graph, key: str) -> str | None:
    """The layer or elementwise op that reads a node, and alone reads it."""
    if not is_read_once(graph, Value(key)):
        return None
    ((reader, slot, _),) = graph.users(key)
    return reader if slot == 0 and (_is_layer(graph, reader) or traits(graph, reader).elementwise) else None


def _residual(graph: Graph, key: str) -> Value | None:
    """What a layer adds to its product.

    In a chain it comes from outside, or is what the chain starts from: other values are read once, as first operands.
    """
    operands = graph.inputs_of(key)
    return operands[_RESIDUAL] if len(operands) > _RESIDUAL else None


def _rewrite(builder: Builder, graph: Graph, chain: list[str], shape: Dims) -> None:
    name = graph[chain[-1]].names[0]
    columns = _Columns(builder, name, flat=len(shape) == 2)
    h, rows = columns.of(source(builder, chain[0]), shape[-1]), 0
    for key in chain:
        node, attrs = graph[key], dict(graph[key].attrs)
        operands = list(graph.inputs_of(key)[1:])
        if node.op == "KSLinear":
            attrs["feature_major"] = True
            rows = Pattern(*attrs["pattern"]).rows  # type: ignore[misc]  # an attribute has the type that its op gives it
            if _residual(graph, key) is not None:
                operands[_RESIDUAL - 1] = columns.of(source(builder, key, _RESIDUAL), rows)
        hint = builder.fresh(f"{node.names[0]}_features")
        h = builder.op(node.op, h, *operands, name=hint, origin=node.origin, **attrs)
    y = builder.op("Transpose", h, name=builder.fresh(f"{name}_rows"), perm=(1, 0))
    if len(shape) != 2:
        lead = tuple(d if isinstance(d, int) else -1 for d in shape[:-1])
        types = graph[chain[-1]].types
        y = builder.op("Reshape", y, name=builder.fresh(f"{name}_lead"), types=types, shape=(*lead, rows))
    builder.replace_value(Value(chain[-1]), y)
    for key in reversed(chain):
        builder.remove(key)
    builder.rename(y, name)


class _Columns:
    """What a chain reads, its features first; a value that it reads twice is transposed once."""

    def __init__(self, builder: Builder, name: str, *, flat: bool) -> None:
        self.builder, self.name, self.flat = builder, name, flat
        self.known: dict[Value, Value] = {}

    def of(self, value: Value, features: Dim) -> Value:
        """Return a value as a matrix of this layout."""
        if value not in self.known:
            h = value if self.flat else self._step("Reshape", value, "samples", shape=(-1, features))
            self.known[value] = self._step("Transpose", h, "features", perm=(1, 0))
        return self.known[value]

    def _step(self, op: str, x: Value, hint: str, **attrs: Any) -> Value:
        return self.builder.op(op, x, name=self.builder.fresh(f"{self.name}_{hint}"), **attrs)
