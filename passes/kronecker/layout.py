"""Keep consecutive Kronecker-sparse layers feature-major, with transpositions at both ends only.

Rows of samples are what ONNX has; a product with a Kronecker-sparse matrix then has to bring the features of a block
next to each other, and back. With the features first, that is where they are already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Dims, TensorType
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site


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
            sites.append(Site(graph.name_of(y), (graph.name_of(x),), what))
            _rewrite(builder, graph, chain, x, shape)
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


def _rewrite(builder: Builder, graph: Graph, chain: list[str], x: Value, shape: Dims) -> None:
    name = graph[chain[-1]].names[0]
    if len(shape) != 2:
        x = builder.op("Reshape", x, name=builder.fresh(f"{name}_samples"), shape=(-1, shape[-1]))
    h = builder.op("Transpose", x, name=builder.fresh(f"{name}_features"), perm=(1, 0))
    rows = 0
    for key in chain:
        node, attrs = graph[key], dict(graph[key].attrs)
        if node.op == "KSLinear":
            attrs["feature_major"] = True
            rows = Pattern(*attrs["pattern"]).rows  # type: ignore[misc]
        hint = builder.fresh(f"{node.names[0]}_features")
        h = builder.op(node.op, h, *graph.inputs_of(key)[1:], name=hint, origin=node.origin, **attrs)
    y = builder.op("Transpose", h, name=builder.fresh(f"{name}_rows"), perm=(1, 0))
    if len(shape) != 2:
        lead = tuple(d if isinstance(d, int) else -1 for d in shape[:-1])
        types = graph[chain[-1]].types
        y = builder.op("Reshape", y, name=builder.fresh(f"{name}_lead"), types=types, shape=(*lead, rows))
    builder.replace_value(Value(chain[-1]), y)
    for key in reversed(chain):
        builder.remove(key)
    builder.rename(y, name)
