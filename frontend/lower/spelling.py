"""Notes of a file's spelling, taken while it is lowered."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir
from onnx import AttributeProto, NodeProto

from pathlift.frontend.doubles import is_single
from pathlift.frontend.fold import Constant
from pathlift.frontend.ks_function import DOMAIN
from pathlift.ir.graph import Graph, Value
from pathlift.ir.spelling import Spelling, Stored, Wording
from pathlift.ir.types import Param

MOST_STEPS = 64
"""Nodes that compute constants from each other are kept up to this many in a row: bounds a recursion."""
_PLAIN = {AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING}
_PLAIN |= {AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS}


@dataclass(frozen=True)
class Note:
    """An ONNX node, and the IR nodes and operands that it became."""

    wording: Wording
    keys: Sequence[str]
    results: Sequence[Value | Constant]


def word(node: onnx_ir.Node, version: int, operands: Sequence[Value | Constant | None]) -> Wording | None:
    """Return how the file has a node; ``None`` for one that holds tensors or graphs, which may be large, or doubles."""
    proto = onnx_ir.serde.serialize_node(node)
    if node.domain == DOMAIN or any(attribute.type not in _PLAIN for attribute in proto.attribute):
        return None
    if any(a.type == AttributeProto.FLOAT and not is_single(node.attributes[a.name].value) for a in proto.attribute):
        return None
    for said in ("name", "doc_string", "metadata_props"):
        proto.ClearField(said)
    inputs = [_stored(x) if isinstance(x, Constant) else x for x in operands]
    steps = [x.source.depth for x in inputs if isinstance(x, Stored) and isinstance(x.source, Wording)]
    return Wording(proto.SerializeToString(deterministic=True), version, tuple(inputs), 1 + max(steps, default=0))


def _stored(constant: Constant) -> Stored:
    return Stored(constant.name, weakref.ref(constant.param), constant.wording or constant.param, constant.origin)


def spellings(
    graph: Graph, notes: Iterable[Note], constants: Iterable[Constant], params: Mapping[Param, Value]
) -> Iterator[Spelling]:
    """Yield the spellings of what is in the graph.

    Parameters
    ----------
    graph
        Its types, and nothing else, may have changed since the notes were taken.
    notes
        Of its nodes.
    constants
        Those that nodes of the file compute.
    params
        The values that constants became.
    """
    for note in notes:
        keys = [key for key in note.keys if key in graph]
        values = [x if isinstance(x, Value) else None for x in note.results]
        count = len(NodeProto.FromString(note.wording.proto).output)  # what is left out at the end is not written
        outputs = (*values, *[None] * count)[:count]
        if keys and (found := Spelling.of(note.wording, outputs, graph, keys)) is not None:
            yield found
    for constant in constants:
        value = params.get(constant.param)
        if value is not None and value.node in graph and constant.wording is not None:
            found = Spelling.of(constant.wording, (value,), graph, [value.node])
            assert found is not None
            yield found
