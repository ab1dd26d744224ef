"""The names of the ONNX nodes that an IR node stands for, there and back.

Fusing and splitting leave IR nodes that stand for several ONNX nodes, and several that stand for the same one. A saved
node has one name, which should be its own, so where that is not the whole story, metadata tell it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from onnx import NodeProto, helper

from pathlift.ir.graph import Origin

NODES_KEY = "pathlift.nodes"
"""Key of a JSON list: all names that the node stands for."""


def origin(name: str | None, doc: str | None, metadata: Mapping[str, str]) -> Origin:
    """Return what a node or value of a file says about where it came from."""
    names = _names(metadata.get(NODES_KEY, ""))
    rest = metadata if names is None else {k: v for k, v in metadata.items() if k != NODES_KEY}
    return Origin(((name,) if name else ()) if names is None else names, doc or "", tuple(rest.items()))


def _names(text: str) -> tuple[str, ...] | None:
    """Read the list; ``None`` if it isn't one: a file may hold anything under this key."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def annotate(nodes: Sequence[NodeProto], source: Origin) -> None:
    """Give the ONNX nodes that one IR node became, in place, the names, doc string and metadata it came with.

    The last node has the result, and so the last name and the rest; what only prepares an operand comes first.
    """
    if not nodes or source == Origin():
        return
    for node, name in zip(reversed(nodes), reversed(source.nodes[: len(nodes)]), strict=False):
        node.name = name
    if source.doc:
        nodes[-1].doc_string = source.doc
    helper.set_model_props(nodes[-1], metadata(source, named=len(nodes)))


def metadata(source: Origin, *, named: int = 0) -> dict[str, str]:
    """Return metadata that tell an origin, whose first `named` nodes are told otherwise."""
    names = {NODES_KEY: json.dumps(source.nodes)} if len(source.nodes) > named else {}
    return dict(source.metadata) | names


def separate(nodes: Sequence[NodeProto]) -> None:
    """Make node names unique, in place: tools go by them. The last of several, which has the result, keeps its name."""
    taken = {node.name for node in nodes}
    seen: set[str] = set()
    for node in reversed(nodes):
        if node.name in seen:
            if all(entry.key != NODES_KEY for entry in node.metadata_props):
                node.metadata_props.add(key=NODES_KEY, value=json.dumps([node.name]))
            stem, suffix = f"{node.name}_{node.op_type}", 1
            node.name = stem
            while node.name in taken:
                suffix += 1
                node.name = f"{stem}_{suffix}"
            taken.add(node.name)
        elif node.name:
            seen.add(node.name)
