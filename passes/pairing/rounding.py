"""Parameters that rewrites compute, and how far they may be off what exact arithmetic makes of the file's numbers.

Such a parameter is a sum of products of the parameters before, each operation rounded once. In n operations it is off
by at most γₙ = n·u/(1 − n·u) times the same sum of absolute values (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., §3.1), whatever the order of summation. That sum comes from the same rewrites of the same graph
with absolute values for parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from pathlift.ir.algebras.traits import Elements, traits
from pathlift.ir.graph import Graph, Value
from pathlift.ir.ops.normalization import EPSILON
from pathlift.ir.types import Array, Param, TensorType, is_float
from pathlift.passes.base import Transform
from pathlift.passes.layers.layers import LAYER_OPS
from pathlift.passes.layers.weights import constant

UNIT = 2.0**-53
"""The largest relative error of a rounding to float64."""
LARGEST, SMALLEST = 2.0**60, 2.0**-60
"""Absolute values are in this range, or 0, so that a product of `FACTORS` of them is a normal number."""
FACTORS = 16
GROWN = 1 + 2.0**-20
"""By this much absolute values are too large, unless they are those of 1: what a factor other than 1 leaves as it was,
because it is rounded to 1, is seen to change in the graph of absolute values."""
OPERATIONS = 16
"""Of a node per element, sums over operands apart; a batch norm's shift takes seven."""

_SUMS = frozenset({"Add", "Sum", "Mul", "Gemm"})
"""Ops that constants are computed with, besides views, and that an absolute value of each constant bounds."""
_CARRIES = LAYER_OPS | {"ConvTranspose", "BatchNormalization", "Mul", "Div", "Add"}
"""Ops that rewrites make one of, views apart."""


@dataclass(frozen=True, eq=False)
class Derived:
    """A graph with computed parameters.

    Parameters
    ----------
    graph
        The graph.
    errors
        By key of a parameter that is not exact: the largest absolute error of each element.
    """

    graph: Graph
    errors: Mapping[str, Array]


def derived(graph: Graph, rewrites: Sequence[Transform]) -> Derived | str:
    """Run rewrites that compute sums of products of parameters.

    Parameters
    ----------
    graph
        Real numbers are float64; each constant is read once.
    rewrites
        The rewrites.

    Returns
    -------
    Derived or str
        The graph, or why there are no error bounds.
    """
    reason = _unbounded(graph)
    if reason:
        return reason
    builder = graph.edit()
    for key in graph.params:
        param = constant(graph, Value(key))
        if param is None or key not in graph.live:
            continue
        ((user, slot, _), *_) = graph.users(key) or (("", 0, 0),)
        sizes = _sizes(graph, user, slot, param.numpy())
        if isinstance(sizes, str):
            return f"tensor {graph[key].names[0]!r} {sizes}"
        builder.replace_node(Value(key), value=Param.of(sizes))
    absolute = builder.finish()
    ours, theirs = graph, absolute
    for rewrite in rewrites:
        ours, theirs = rewrite.run(ours).graph, rewrite.run(theirs).graph
    if not _is_alike(ours, theirs):
        return "its rewrites depend on the signs of weights"
    n = sum(OPERATIONS + _terms(graph, key) for key in graph.live) * UNIT
    if not n < 2.0**-10:
        return "it is too large"
    errors: dict[str, Array] = {}
    for key in ours.params:
        value, size = ours[key].value, theirs[key].value
        assert value is not None
        assert size is not None
        kept = key in graph and value is graph[key].value and size is absolute[key].value
        if is_float(value.dtype) and not kept and constant(ours, Value(key)) is not None:
            errors[key] = 2 * n * np.abs(size.numpy())  # γₙ with room for the roundings of these sums themselves
    return Derived(ours, errors)


def _sizes(graph: Graph, user: str, slot: int, values: Array) -> Array | str:
    """Absolute values, rounded up; or what is wrong with the values."""
    op = graph[user].op if user else ""
    if op == "BatchNormalization" and slot == 4:
        epsilon: float = graph[user].attrs.get("epsilon", EPSILON)  # type: ignore[assignment]  # an attribute has the type that its op gives it
        fits = (values + epsilon >= SMALLEST) & (values <= LARGEST)  # √ halves the exponents
        return values if fits.all() else "has a variance out of range"
    size: Array = np.abs(values)
    if not (size <= LARGEST).all():
        return "has numbers that are too large"
    exact = (values == 1) if (op, slot) != ("BatchNormalization", 1) else np.zeros(values.shape, bool)
    if op == "Div" and slot == 1:
        small = bool((size < 2 * SMALLEST).any())
        return "has divisors that are too small" if small else np.where(exact, size, size / GROWN)
    grown = np.where(exact, size, np.maximum(size, SMALLEST) * GROWN)
    grown = np.where(values == 0, 0.0, grown)
    return -grown if op == "BatchNormalization" and slot == 3 else grown  # it is subtracted


def _terms(graph: Graph, key: str) -> int:
    """The most terms of the sums that a node's parameters take part in."""
    operands = graph.inputs_of(key)
    shapes = [t.shape for v in operands if v is not None and isinstance(t := graph.type_of(v), TensorType)]
    if graph[key].op not in (*LAYER_OPS, "ConvTranspose") or len(shapes) < 2 or shapes[1] is None:
        return len(operands)
    extents = [n if isinstance(n, int) else 1 for n in shapes[1]]
    if graph[key].op == "Gemm":
        return max(extents)
    return prod(extents) // (min(extents[:2]) or 1) if graph[key].op != "Einsum" else prod(extents)


def _unbounded(graph: Graph) -> str:
    """Why parameters computed from those of a graph have no error bounds; empty if they have."""
    known: set[str] = set()
    factors: dict[str, int] = {}
    for key in graph.order:
        if key not in graph.live:
            continue
        node, operands = graph[key], [v.node for v in graph.inputs_of(key) if v is not None]
        read = [k for k in operands if k not in known]
        computed = any(k in known and graph[k].op != "Param" for k in operands)
        is_view = traits(graph, key).elements >= Elements.PICKED
        where = f"node {node.label!r} ({node.op})"
        if constant(graph, Value(key)) is not None or (operands and not read):
            known.add(key)
            if operands and not is_view and node.op not in _SUMS:
                return f"{where} computes a constant"
        elif (computed and node.op in ("Sub", "Div", "BatchNormalization")) or (node.op == "Sub" and len(read) < 2):
            return f"{where} reads a constant"
        factors[key] = _factors(node.op, [factors[k] for k in operands], carries=len(read) <= 1, is_view=is_view)
        if factors[key] > FACTORS:
            return f"more than {FACTORS} factors meet at {where}"
    return ""


def _factors(op: str, operands: Sequence[int], *, carries: bool, is_view: bool) -> int:
    """How many parameters may meet in a product behind a node, if each operand is one of so many."""
    if op == "Param":
        return 1
    if not carries or not (is_view or op in _SUMS | _CARRIES):
        return 0
    if op == "BatchNormalization":
        return operands[0] + 3  # mean, γ and the root
    if op in ("Add", "Sum") or is_view:
        return max(operands)
    return max(sum(operands[:2]), *operands)


def _is_alike(a: Graph, b: Graph) -> bool:
    """Whether two graphs are the same but for the values of parameters."""
    return (
        a.order == b.order
        and a.outputs == b.outputs
        and all(a[k].op == b[k].op and a[k].attrs == b[k].attrs and a[k].types == b[k].types for k in a.order)
        and all(a.inputs_of(k) == b.inputs_of(k) for k in a.order)
    )
