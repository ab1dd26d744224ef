"""The form in which graphs are compared: real numbers in float64, batch norms as the scale and the shift they are.

A weight is known up to a rounding of its own size, but a sum of weights only up to roundings of its terms: a batch
norm's shift β − s·mean, or the bias that a folded one leaves behind. The sizes of the terms come from the same rewrites
of the same graph with absolute values for parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Origin, Value, freeze_attrs
from pathlift.ir.ops.normalization import EPSILON
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.rows import Rows
from pathlift.ir.types import DTYPES, Array, Param, TensorType, ValueType, float_limits, is_float, not_finite
from pathlift.passes.base import Transform
from pathlift.passes.layers.weights import constant

F64 = DTYPES["f64"]
MEAN = 3
"""The slot in which a batch norm reads its mean."""


@dataclass(frozen=True, eq=False)
class ComparisonForm:
    """A graph to compare.

    Parameters
    ----------
    graph
        All real numbers are float64.
    sizes
        By key of a parameter, what its rounding errors are relative to, elementwise.
    """

    graph: Graph
    sizes: Mapping[str, Param]


def comparison_form(graph: Graph, rewrites: Sequence[Transform]) -> ComparisonForm:
    """Bring a graph into the form in which it is compared.

    Parameters
    ----------
    graph
        Any graph.
    rewrites
        What to run on it first; they keep its function.

    Raises
    ------
    InvalidModelError
        If a parameter that an output depends on, or the root of a batch norm's variance, is NaN somewhere.
    """
    ours, sizes = (_normalized(g, rewrites) for g in (in_float64(graph), _in_float64(graph, _size)))
    return ComparisonForm(ours, {key: p for key in sizes.params if (p := sizes[key].value) is not None})


def in_float64(graph: Graph) -> Graph:
    """Return the graph with all real numbers in float64, which holds each of them exactly.

    Raises
    ------
    InvalidModelError
        If a parameter that an output depends on is NaN somewhere.
    """
    _check_numbers(graph)
    return _in_float64(graph, _exact)


def _check_numbers(graph: Graph) -> None:
    for key in graph.params:
        value = graph[key].value
        if key in graph.live and value is not None and value.non_finite and np.isnan(value.numpy()).any():
            raise not_finite(graph[key].names[0], value.numpy())


def _in_float64(graph: Graph, convert: Callable[[Graph, str, Param], Param]) -> Graph:
    builder = graph.edit()
    for key in graph.order:
        node, changes = graph[key], dict[str, object]()
        changes["types"] = tuple(map(_double, node.types))
        if node.op == "Cast":
            changes["attrs"] = freeze_attrs({"to": "f64"})
        if node.value is not None and is_float(node.value.dtype):
            changes["value"] = convert(graph, key, node.value)
        builder.replace_node(Value(key), **changes)
    return builder.finish()


def _double(type_: ValueType) -> ValueType:
    known = isinstance(type_, TensorType) and is_float(type_.dtype)
    return TensorType(F64, type_.shape) if known and isinstance(type_, TensorType) else type_


def _exact(graph: Graph, key: str, param: Param) -> Param:
    return Param.by_rows(F64, param.shape, lambda rows: param.rows(rows).astype(np.float64))


def _size(graph: Graph, key: str, param: Param) -> Param:
    """Absolute values, at least the smallest that the format holds with all digits; negative where subtracted."""
    users = graph.users(key)
    subtracted = bool(users) and all(graph[n].op == "BatchNormalization" and slot == MEAN for n, slot, _ in users)
    least = float(float_limits(param.dtype).smallest_normal)

    def part(rows: Rows) -> Array:
        size = np.maximum(np.abs(param.rows(rows).astype(np.float64)), least)
        return -size if subtracted else size

    return Param.by_rows(F64, param.shape, part)


def _normalized(graph: Graph, rewrites: Sequence[Transform]) -> Graph:
    for rewrite in rewrites:
        graph = rewrite.run(graph).graph
    norms = [key for key in graph.order if graph[key].op == "BatchNormalization" and key in graph.live]
    builder = graph.edit()
    for key in norms:
        _write_as_scale_and_shift(builder, graph, key)
    return builder.finish() if norms else graph


def _write_as_scale_and_shift(builder: Builder, graph: Graph, key: str) -> None:
    """Let a batch norm have mean 0 and variance 1, if its parameters are constants."""
    operands = graph.inputs_of(key)
    params = [p for v in operands[1:] if (p := constant(graph, v)) is not None]
    if len(params) < len(operands) - 1:
        return
    gamma, beta, mean, var = params
    epsilon = float(graph[key].attrs.get("epsilon", EPSILON))  # type: ignore[arg-type]  # an attribute has the type that its op gives it
    edge = NormScale(epsilon)
    edge.check(graph[key], var.numpy())

    def scale() -> Array:
        s: Array = edge(gamma.numpy(), var.numpy())
        return s

    new = (
        Param(F64, gamma.shape, scale),
        Param(F64, beta.shape, lambda: beta.numpy() - scale() * mean.numpy()),
        Param.of(np.zeros(mean.shape)),
        Param.of(np.ones(var.shape)),
    )
    for slot, (param, old) in enumerate(zip(new, operands[1:], strict=True), start=1):
        assert old is not None
        name = graph[old.node].label
        builder.connect(key, slot, builder.param(param, builder.fresh(name), Origin(nodes=(name,))))
    builder.replace_node(Value(key), attrs=freeze_attrs({"epsilon": 0.0}))
