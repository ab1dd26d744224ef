"""Pairs of graphs that differ in parameters only."""

from __future__ import annotations

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Param, is_float


def check_pair(first: Graph, second: Graph) -> None:
    """Check that nothing but the values of parameters tells two graphs apart.

    Raises
    ------
    UsageError
        If they differ in nodes, edges or outputs, or in parameters that are no real numbers; names the first place.
    UnsupportedError
        If a node is another op, or has other attributes, in the second: paths know nothing of functions and limits.
    """
    if list(first.order) != list(second.order) or first.outputs != second.outputs:
        odd = next((key for key in first.order if key not in second), "") or next(
            (key for key in second.order if key not in first), ""
        )
        where = f"node {odd!r} is in one of them alone" if odd else "their nodes have another order, or other outputs"
        raise UsageError("1488", f"the graphs are no pair: {where}")
    for key in first.order:
        a, b = first[key], second[key]
        if (a.value is None) != (b.value is None) or first.inputs_of(key) != second.inputs_of(key):
            raise UsageError("1488", f"the graphs are no pair: node {a.label!r} ({a.op}) is another in the second")
        if a.value is not None and not (b.value is not None and _alike(a.value, b.value)):
            raise UsageError("1488", f"the graphs are no pair: {a.label!r} has another shape or other integers")
        if (a.op, a.attrs) != (b.op, b.attrs) and key in first.live:
            reason = f"{_differing(a, b)} differs, and is no factor of a path"
            raise UnsupportedError("1388", reason, node=a.label, op=a.op)


def parameters(first: Graph, second: Graph) -> dict[str, Param]:
    """Return the second graph's parameters, by the names of the first."""
    found = {}
    for key in first.params:
        value = second[key].value
        assert value is not None
        found[first[key].names[0]] = value
    return found


def _alike(a: Param, b: Param) -> bool:
    """Whether two tensors may differ in a pair: in real numbers only."""
    if a is b:
        return True
    if a.shape != b.shape or is_float(a.dtype) != is_float(b.dtype):
        return False
    return is_float(a.dtype) or bool((a.numpy() == b.numpy()).all())


def _differing(a: Node, b: Node) -> str:
    """The name of an attribute that differs, if the op does not."""
    if a.op != b.op:
        return f"its function ({b.op} in the second)"
    return next(name for name in sorted({*a.attrs, *b.attrs}) if a.attrs.get(name) != b.attrs.get(name))
