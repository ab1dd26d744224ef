"""Recentring: an input x is written as c + u, and what c adds behind the layers that read it goes into their biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.edits import disconnect, drop_constants
from pathlift.passes.layers.layers import Layer, read_layer
from pathlift.passes.tightening.gates import compact
from pathlift.passes.tightening.outward import Computed


@dataclass(frozen=True, eq=False)
class Recentred:
    """A graph whose inputs are distances from a centre.

    Parameters
    ----------
    graph
        The graph.
    inputs
        Names of the inputs that were moved.
    skipped
        Why others were not, one sentence each.
    """

    graph: Graph
    inputs: tuple[str, ...]
    skipped: tuple[str, ...]


def recentre(graph: Graph, centres: Mapping[str, Array]) -> Recentred:
    """Let inputs be distances from centres.

    Parameters
    ----------
    graph
        The network.
    centres
        By an input's name, ``(1, *shape)``, float64.
    """
    moved, skipped = list[str](), list[str]()
    for name, centre in centres.items():
        if not centre.any():
            continue
        changed = _recentred(graph, next(key for key in graph.inputs if graph[key].names[0] == name), centre)
        if isinstance(changed, str):
            skipped.append(f"input {name!r} is not recentred: {changed}")
        else:
            graph = changed
            moved.append(name)
    return Recentred(graph, tuple(moved), tuple(skipped))


def _recentred(graph: Graph, key: str, centre: Array) -> Graph | str:
    """Return the graph with one input moved, or why that cannot be."""
    shifts = dict[str, Computed]()
    waiting = [(Value(key), centre)]
    while waiting:
        value, constant = waiting.pop()
        if value in graph.outputs:
            return f"{graph.name_of(value)!r} is an output"
        for reader, slot, _ in graph.users(value.node):
            if reader not in graph.live:
                continue
            label = graph[reader].label
            layer = read_layer(graph, reader) if slot == 0 else None
            try:
                if traits(graph, reader).permutes:
                    (seen,) = evaluate(Numeric(), graph[reader], (torch.from_numpy(constant),))
                    waiting.append((Value(reader), seen.contiguous().numpy()))
                elif layer is None:
                    return f"{label!r}, which reads it, is no layer with constant weights"
                elif not np.isfinite(layer.weight).all():
                    return f"the weights of {label!r} are not finite"
                else:
                    shifts[reader] = _through(graph, reader, layer, constant)
            except (PathliftError, RuntimeError) as error:
                return f"{label!r}: {' '.join(str(error).split())[:200]}"
    builder = graph.edit()
    for reader, shift in shifts.items():
        if reason := _write(builder, graph, reader, shift):
            return reason
    return builder.finish()


def _through(graph: Graph, key: str, layer: Layer, constant: Array) -> Computed:
    """What a layer without its bias makes of a constant."""
    node, weight = graph[key], graph.inputs_of(key)[1]
    assert weight is not None
    param = graph[weight.node].value
    assert param is not None
    w = torch.from_numpy(param.numpy().astype(np.float64))
    x = torch.from_numpy(constant)
    (values,), (size,) = (evaluate(Numeric(), node, operands) for operands in ((x, w), (x.abs(), w.abs())))
    return Computed(values.numpy(), size.numpy(), int(np.prod(layer.weight.shape[1:])) + 2)


def _write(builder: Builder, graph: Graph, key: str, shift: Computed) -> str:
    """Add what a constant becomes behind a layer: to the bias, or position by position. Returns why it cannot."""
    node, type_ = graph[key], graph.type_of(Value(key))
    if not isinstance(type_, TensorType) or type_.shape is None or type_.dtype is None:
        return f"the shape behind {node.label!r} is not known"
    weight, bias = (*graph.inputs_of(key), None)[1:3]
    assert weight is not None
    axis = 1 if node.op == "Conv" else len(type_.shape) - 1
    along = [-1 if i == axis else 1 for i in range(len(type_.shape))]
    old = None if bias is None else graph[bias.node].value
    before = np.zeros(1) if old is None else old.numpy().astype(np.float64).reshape(-1)
    total = shift.plus(Computed.exact(np.broadcast_to(before.reshape(along), shift.values.shape)))
    stored = total.stored(type_.dtype)
    if stored is None:
        return f"the bias of {node.label!r} overflows"
    stored = compact(stored)
    if any(not isinstance(d, int) and n != 1 for d, n in zip(type_.shape, stored.shape, strict=True)):
        return f"what it adds behind {node.label!r} differs along an axis of unknown extent"
    operands = graph.inputs_of(key)[:2]
    uniform = all(n == 1 for i, n in enumerate(stored.shape) if i != axis)
    if uniform and node.op in ("Gemm", "Conv"):
        disconnect(builder, key, 2)
        vector = np.broadcast_to(stored.reshape(-1), (shift.values.shape[axis],))
        builder.connect(key, 2, builder.param(Param.of(vector), builder.fresh(f"{node.label}.recentred")))
    else:
        product = builder.op(node.op, *operands, name=builder.fresh(f"{node.names[0]}.product"), **node.attrs)
        disconnect(builder, key)
        builder.replace_node(Value(key), op="Add", attrs=freeze_attrs({}))
        builder.connect(key, 0, product)
        builder.connect(key, 1, builder.param(Param.of(stored), builder.fresh(f"{node.names[0]}.constant")))
    drop_constants(builder, graph, [key])
    return ""
