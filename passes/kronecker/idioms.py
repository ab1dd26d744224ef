"""Products with constant weights, and the views around them, as linear maps of features.

PyTorch has no Kronecker-sparse layer: code for Monarch, butterfly and grouped layers splits features by reshapes and
transpositions, multiplies by a batch of weights, and puts features together again. Whatever the spelling, each axis is
followed factor by factor (`pathlift.passes.kronecker.axes`): factors that the weights share with operand and result
number blocks, those that they share with one of them are summed over or made anew, and all others number samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pathlift.ir.algebras.traits import traits
from pathlift.ir.graph import Graph, Value
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Dims, Param, TensorType
from pathlift.passes.kronecker.axes import (
    Axes,
    Axis,
    Factor,
    contracted,
    extent,
    finest,
    of_shape,
    regrouped,
    viewed,
)
from pathlift.passes.kronecker.products import FeatureLayout, FeatureProduct
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.layers import LAYER_OPS
from pathlift.passes.layers.weights import constant

_FURTHEST = 8
"""How many views before a product, and how many after it, are looked at."""


def products(graph: Graph) -> Iterator[FeatureProduct]:
    """Find the products of a graph, in topological order; each node is in one of them at most.

    Parameters
    ----------
    graph
        Any graph. Convolutions count if their kernel is 1×1; parameters that a caller may replace are not constant.
    """
    taken: set[str] = set()
    for key in graph.order:
        if key in graph.live:
            found = _read(graph, key, taken)
            if found is not None:
                taken.update(found.nodes)
                yield found


Stage = tuple[tuple[str, ...], Value, Axes]
"""A value on the way to a product, or from it; the nodes in between, and the value's axes."""


def _read(graph: Graph, key: str, taken: set[str]) -> FeatureProduct | None:
    parts = _parts(graph, key)
    if parts is None:
        return None
    x, weight, bias = parts
    views = _views_before(graph, x, taken)
    before = next((s for n in range(len(views), -1, -1) if (s := _stages(graph, views[len(views) - n :], x))), [])
    core = _core(graph, key, weight, before[-1][2]) if before else None
    if core is None:
        return None
    axes, result, biased = core
    by_block = graph[key].op == "Conv" or _is_by_block(before[-1][2], result, set(finest(axes)))
    after = _stages_after(graph, key, result, taken)
    found = [
        FeatureProduct(graph, key, (*front, key, *back), *sides, weight, axes, bias, biased, by_block)
        for front, source, source_axes in before
        for back, target, target_axes in after
        if (sides := _sides(source, source_axes, target, target_axes, axes)) is not None
    ]
    plain = [p for p in found if len(p.nodes) == 1 and p.pattern.a * p.pattern.d == 1]
    return min(plain or found, key=lambda p: p.overhead, default=None)


def _parts(graph: Graph, key: str) -> tuple[Value, Param, Param | None] | None:
    """Operand, weights and bias of a product with constants."""
    node, operands = graph[key], (*graph.inputs_of(key), None)
    if node.op not in LAYER_OPS:
        return None
    x, weight, bias = operands[0], constant(graph, operands[1]), constant(graph, operands[2])
    if x is None or weight is None or not weight.size or (operands[2] is not None and bias is None):
        return None
    attrs: dict[str, Any] = dict(node.attrs)
    if node.op == "Conv" and (any(attrs["pads"]) or {*attrs["strides"], *weight.shape[2:]} != {1}):
        return None
    return x, weight, bias


def _core(graph: Graph, key: str, weight: Param, axes: Axes) -> tuple[Axes, Axes, Axis] | None:
    """The axes of weights and result, and the one that a bias runs along."""
    node = graph[key]
    if node.op == "Conv":
        groups = int(node.attrs.get("groups", 1))  # type: ignore[arg-type]  # an attribute has the type that its op gives it
        out, each = weight.shape[0] // groups, weight.shape[1]
        channels = regrouped(axes[1:2], (groups, each))
        if channels is None:
            return None
        sides = contracted("gi,goi->go", channels, (groups, out, each))
        if sides is None:
            return None
        weights, made = sides
        return weights, (axes[0], made[0] + made[1], *axes[2:]), made[0] + made[1]
    matrix = "oi" if node.attrs.get("trans_w") else "io"
    equation = str(node.attrs["equation"]) if node.op == "Einsum" else f"...i,{matrix}->...o"
    x, w, out_term = Contract(equation).terms
    if not (set(x) & set(w)) - set(out_term):
        return None  # a scale, or an outer product
    sides = contracted(equation, axes, weight.shape)
    return None if sides is None else (*sides, sides[1][-1] if sides[1] else ())


def _is_by_block(x: Axes, y: Axes, weights: set[Factor]) -> bool:
    """Whether the factors of blocks lead operand and result."""
    operand, result = finest(x), finest(y)
    blocks = {f for f in operand if f in weights and f in result}
    return blocks == set(operand[: len(blocks)]) == set(result[: len(blocks)])


def _views_before(graph: Graph, x: Value, taken: set[str]) -> list[str]:
    """Views in a row that lead to a value, and that nothing else reads; the furthest first."""
    views: list[str] = []
    while len(views) < _FURTHEST and traits(graph, x.node).permutes and x.node not in taken and is_read_once(graph, x):
        views.insert(0, x.node)
        x = _operand(graph, x.node)
    return views


def _stages(graph: Graph, views: list[str], x: Value) -> list[Stage] | None:
    """Each value on the way to an operand through some views; ``None`` if one of them cannot be followed."""
    start = _operand(graph, views[0]) if views else x
    shape = _shape(graph, start)
    if shape is None:
        return None
    stages = [(tuple(views), start, of_shape(shape))]
    for i, key in enumerate(views):
        axes = _through(graph, key, stages[-1][2])
        if axes is None:
            return None
        stages.append((tuple(views[i + 1 :]), Value(key), axes))
    return stages


def _stages_after(graph: Graph, key: str, axes: Axes, taken: set[str]) -> list[Stage]:
    """The result of a product, and each value that views make of it while nothing else reads it."""
    stages: list[Stage] = [((), Value(key), axes)]
    while len(stages) <= _FURTHEST and is_read_once(graph, stages[-1][1]):
        views, value, axes = stages[-1]
        ((reader, _, _),) = graph.users(value.node)
        found = _through(graph, reader, axes) if traits(graph, reader).permutes and reader not in taken else None
        if found is None:
            break
        stages.append(((*views, reader), Value(reader), found))
    return stages


def _through(graph: Graph, key: str, axes: Axes) -> Axes | None:
    shape = _shape(graph, Value(key))
    return None if shape is None else viewed(graph[key], axes, shape)


def _operand(graph: Graph, view: str) -> Value:
    operand = graph.inputs_of(view)[0]
    assert operand is not None
    return operand


def _shape(graph: Graph, value: Value) -> Dims | None:
    type_ = graph.type_of(value)
    return type_.shape if isinstance(type_, TensorType) else None


def _sides(source: Value, x: Axes, target: Value, y: Axes, weights: Axes) -> tuple[FeatureLayout, FeatureLayout] | None:
    """Tell features from samples; ``None`` if an axis holds both, or samples do not stay where they are."""
    sides = [_side(source, x, set(finest(weights))), _side(target, y, set(finest(weights)))]
    if sides[0] is None or sides[1] is None or sides[0].samples != sides[1].samples:
        return None
    return sides[0], sides[1]


def _side(value: Value, axes: Axes, weights: set[Factor]) -> FeatureLayout | None:
    made_of = [finest((axis,)) for axis in axes]
    features = tuple(i for i, factors in enumerate(made_of) if not weights.isdisjoint(factors))
    if not all(weights.issuperset(made_of[i]) for i in features):
        return None
    samples = tuple(factors for i, factors in enumerate(made_of) if i not in features)
    extents = tuple(extent(axes[i]) or 0 for i in features)
    return FeatureLayout(value, features, extents, tuple(f for i in features for f in made_of[i]), samples)
