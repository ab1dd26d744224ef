"""Nodes that hand on what they read, and pairs of views that are one."""

from __future__ import annotations

from pathlift.ir.algebras.traits import Elements, traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Attrs, Graph, Node, Value, freeze_attrs
from pathlift.ir.types import TensorType, ValueType
from pathlift.passes.base import Rewritten
from pathlift.passes.layers.edits import disconnect, drop_constants
from pathlift.passes.layers.weights import constant
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site, may_rewrite

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
"""Constants that leave the other operand as it is. Not a trait, since it depends on the values of parameters."""
_MERGED = frozenset({"Transpose", "Reshape", "Flatten"})
"""A choice: two transpositions become one, and what ends in a reshape becomes that; a Squeeze says more than one."""


def leave_out_noops(graph: Graph) -> Rewritten:
    """Leave out nodes that hand on what they read; where both have to keep their names, an Identity is left.

    Parameters
    ----------
    graph
        Any graph.
    """
    builder, copies = graph.edit(), list[tuple[str, str]]()
    for key in graph.order:
        slot = _handed_on(graph, key) if key in graph.live else None
        if (
            slot is not None
            and may_rewrite(graph[key].names[0])
            and _leave_out(builder, key, _read(builder, key, slot))
        ):
            operand = graph.inputs_of(key)[slot]
            assert operand is not None
            copies.append((graph[key].names[0], graph.name_of(operand)))
            drop_constants(builder, graph, [key])
    witness = RewriteWitness("nodes without effect left out", (), copies=tuple(copies))
    return Rewritten(builder.finish() if copies else graph, witness)


def _handed_on(graph: Graph, key: str) -> int | None:
    """The slot of the operand that a node hands on; ``None`` if it does something."""
    node, operands, trait = graph[key], graph.inputs_of(key), traits(graph, key)
    if trait.elements == Elements.UNCHANGED:
        return 0
    for slot, operand in enumerate(operands):
        if operand is None or not _same_type(graph.type_of(operand), node.types[0]):
            continue
        if trait.in_order:
            return 0
        if node.op in _NEUTRAL and (slot == 0 or node.op in ("Add", "Mul")):
            other = constant(graph, operands[1 - slot])
            if other is not None and bool((other.numpy() == _NEUTRAL[node.op]).all()):
                return slot
    return None


def _same_type(a: ValueType, b: ValueType) -> bool:
    """Whether two types are known to be the same; a symbol is one extent wherever it occurs."""
    known = isinstance(a, TensorType) and a.dtype is not None and a.shape is not None and None not in a.shape
    return known and a == b


def _read(builder: Builder, key: str, slot: int) -> Value:
    """What a node reads by now."""
    return next(Value(p, port) for p, _, k, port in builder.nx.in_edges(key, keys=True, data="port") if k == slot)


def _leave_out(builder: Builder, key: str, operand: Value) -> bool:
    """Let everything read the operand instead; whether anything changed."""
    node, source, is_output = builder[Value(key)], builder[operand], Value(key) in builder.outputs
    if is_output and (source.op in ("Input", "Param") or operand in builder.outputs):
        if node.op == "Identity":
            return False
        disconnect(builder, key)
        builder.replace_node(Value(key), op="Identity", attrs=freeze_attrs({}))
        builder.connect(key, 0, operand)
        return True
    if source.op not in ("Input", "Param"):
        builder.replace_node(operand, origin=source.origin.merged(node.origin))
    builder.replace_value(Value(key), operand)
    builder.remove(key)
    if is_output:
        builder.rename(operand, node.names[0])
    return True


def merge_views(graph: Graph) -> Rewritten:
    """Make one of two transpositions, or of two reshapes, in a row.

    Parameters
    ----------
    graph
        Any graph.
    """
    builder, sites = graph.edit(), list[Site]()
    for key in graph.order:
        if key not in graph.live or graph[key].op not in _MERGED:
            continue
        first = _read(builder, key, 0)
        merged = _merged(builder, first, graph[key])
        if merged is None or builder.nx.out_degree(first.node) > 1 or first in builder.outputs:
            continue
        if not may_rewrite(graph[key].names[0]):
            continue
        x, what = _read(builder, first.node, 0), f"{builder[first].label} + {graph[key].label}"
        origin = graph[key].origin.merged(builder[first].origin)
        builder.replace_node(Value(key), op=merged[0], origin=origin)
        builder.replace_node(Value(key), attrs=merged[1])
        builder.connect(key, 0, x)
        builder.remove(first.node)
        sites.append(Site(graph[key].names[0], (builder[x].names[x.port],), what))
    return Rewritten(builder.finish() if sites else graph, RewriteWitness("pairs of views merged", tuple(sites)))


def _merged(builder: Builder, first: Value, second: Node) -> tuple[str, Attrs] | None:
    """The op and the attributes of two views in a row."""
    if builder[first].op == second.op == "Transpose":
        inner, outer = builder[first].attrs["perm"], second.attrs["perm"]
        return "Transpose", freeze_attrs({"perm": tuple(inner[p] for p in outer)})  # type: ignore[index, union-attr]  # an attribute has the type that its op gives it
    type_, is_reshape = second.types[0], traits(builder, first.node).elements >= Elements.ROW_MAJOR
    if is_reshape and second.op != "Transpose" and isinstance(type_, TensorType) and type_.shape:
        target = tuple(d if isinstance(d, int) else -1 for d in type_.shape)
        if target.count(-1) <= 1 and 0 not in target:  # 0 would mean: as in the operand
            return "Reshape", freeze_attrs({"shape": target})
    return None
