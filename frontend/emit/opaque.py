"""Opaque nodes: written as they were read, with the names that their values have now."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from pathlift.frontend.emit.versions import carried
from pathlift.frontend.emit.writer import EmissionSite, emits, mentioned, without_trailing
from pathlift.frontend.ks_function import DOMAIN, FUNCTION_NAMES
from pathlift.frontend.protos import nested, subgraphs


@emits("Opaque")
def opaque(
    at: EmissionSite, *inputs: str, domain: str, version: int, proto: bytes, captures: tuple[str, ...], **_: object
) -> None:
    """The node itself, under the names of today."""
    node = NodeProto.FromString(proto)
    count = len(node.input)
    # A subgraph reads outer values by name, and may not reuse one: rename what was renamed, and what would clash.
    names = dict(zip((*node.input, *captures), inputs, strict=False))
    for name in dict.fromkeys(mentioned(node)):
        if name in at.writer.values and name not in names:
            names[name] = at.writer.fresh(name)
    _rename(node, names)
    node.input[:] = without_trailing(inputs[:count])
    node.output[:] = without_trailing(at.outputs)
    own = at.writer.graph.info.opsets.get("", at.opset)
    written = carried(node, version or own if not domain else own, at.opset, at.writer.fresh)
    at.writer.emitted.nodes.extend(written)
    at.writer.emitted.functions.update(
        n.op_type for n in nested(written) if n.domain == DOMAIN and n.op_type in FUNCTION_NAMES
    )


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Replace names in the subgraphs of a node, at any depth; ONNX lets none of them stand for two values."""
    for body in subgraphs(node.attribute):
        for named in (*body.input, *body.output, *body.initializer, *body.value_info):
            named.name = names.get(named.name, named.name)
        for inner in body.node:
            for field in (inner.input, inner.output):
                field[:] = [names.get(name, name) for name in field]
            _rename(inner, names)
