"""One spelling for layers that files spell in several ways. Nothing is rounded: elements move, change sign, or are 0.

A product with a matrix is a Gemm that reads it as (in, out) and has a bias; what is subtracted is added; a
Kronecker-sparse layer is the dense one that it stands for, and a 1×1 convolution a Gemm between transpositions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph, Origin, Value, freeze_attrs
from pathlift.ir.kronecker import dense
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.edits import disconnect, is_read_once
from pathlift.passes.layers.layers import read_layer
from pathlift.passes.layers.weights import constant
from pathlift.passes.rewrites.dead_code import DeadCode


class Respelling:
    """A graph whose nodes are written anew, one after the other.

    Parameters
    ----------
    graph
        Real numbers are float64.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.builder = graph, graph.edit()

    def finish(self) -> Graph:
        """Return the graph, without what nothing reads any more."""
        return DeadCode().run(self.builder.finish()).graph

    def constant(self, value: Value | None) -> Array | None:
        """Return the values of a parameter that no caller may replace."""
        param = constant(self.graph, value)
        return None if param is None else param.numpy()

    def param(self, values: Array, old: Value | None, hint: str) -> Value:
        """Add a parameter in the place of an old one, if there is any."""
        origin = Origin() if old is None else _origin(self.graph, old)
        name = hint if old is None else self.graph.name_of(old)
        return self.builder.param(Param.of(np.ascontiguousarray(values)), self.builder.fresh(name), origin)

    def step(self, key: str, op: str, *operands: Value | None, **attrs: Any) -> Value:
        """Add a node that stands for an old one."""
        node = self.graph[key]
        return self.builder.op(op, *operands, name=self.builder.fresh(node.names[0]), origin=node.origin, **attrs)

    def replace(self, key: str, new: Value) -> None:
        """Let everything read a new value instead of a node's only one, and be called as it was."""
        name = self.graph[key].names[0]
        self.builder.replace_value(Value(key), new)
        disconnect(self.builder, key)
        self.builder.remove(key)
        self.builder.rename(new, name)

    def read(self, key: str) -> list[Value | None]:
        """Return what the slots of a node read by now."""
        edges = self.builder.nx.in_edges(key, keys=True, data="port")
        slots = {slot: Value(producer, port) for producer, _, slot, port in edges}
        return [slots.get(i) for i in range(4)]


def _origin(graph: Graph, value: Value) -> Origin:
    """Where a parameter is from: its own name, if it is the file's."""
    node = graph[value.node]
    return node.origin if node.origin.nodes else Origin(nodes=(node.names[0],))


def one_parameter_per_use(graph: Graph) -> Graph:
    """Give each operand that is a constant a parameter of its own."""
    builder = graph.edit()
    for key in graph.params:
        param = constant(graph, Value(key))
        for consumer, slot, _ in graph.users(key)[1:] if param is not None else ():
            name = builder.fresh(graph[key].names[0])
            assert param is not None
            own = builder.param(replace(param), name, _origin(graph, Value(key)))
            builder.connect(consumer, slot, own)
    return builder.finish()


def sums(graph: Graph) -> Graph:
    """Write x − c as x + (−c), and c − x as x·(−1) + c."""
    work = Respelling(graph)
    for key in graph.order:
        if graph[key].op != "Sub":
            continue
        x, c = work.read(key)[:2]
        assert x is not None
        assert c is not None
        subtracted, given = work.constant(c), work.constant(x)
        if subtracted is not None and given is None:
            work.replace(key, work.step(key, "Add", x, work.param(-subtracted, c, "")))
        elif given is not None and subtracted is None:
            flipped = work.step(key, "Mul", c, work.param(np.array(-1.0), None, f"{graph[key].label}.sign"))
            work.replace(key, work.step(key, "Add", flipped, x))
    return work.finish()


def biases(graph: Graph) -> Graph:
    """Give each Gemm and Conv a bias, one number per channel: what the sum behind it adds, or zeros."""
    work = Respelling(graph)
    for key in graph.order:
        node, layer = graph[key], read_layer(graph, key)
        if layer is None or key not in graph.live:
            continue
        operands, count = work.read(key), len(layer.weight)
        if node.op != "Conv":
            if layer.trans_w:
                work.builder.connect(key, 1, work.param(layer.weight.T, operands[1], ""))
            work.builder.replace_node(Value(key), op="Gemm")
            work.builder.replace_node(Value(key), attrs=freeze_attrs({}))
        old, values = operands[2], layer.bias
        behind = None if old is not None else _shift(graph, key, count)
        if behind is not None:
            total, old, values = behind
            work.replace(total, Value(key))
            work.builder.replace_node(Value(key), origin=node.origin.merged(graph[total].origin))
        if values is None:
            values = np.zeros(count)
        param = None if old is None else graph[old.node].value
        if param is None or param.shape != (count,):
            value = work.param(np.broadcast_to(values, (count,)), old, f"{graph[key].label}.bias")
            work.builder.connect(key, 2, value)
        elif behind is not None and old is not None:
            work.builder.connect(key, 2, old)
    return work.finish()


def _shift(graph: Graph, key: str, count: int) -> tuple[str, Value, Array] | None:
    """The sum that alone reads a layer and adds a number per channel to it, with what it adds, shape (channels,)."""
    if not is_read_once(graph, Value(key)):
        return None
    ((user, slot, _),) = graph.users(key)
    type_ = graph.type_of(Value(key))
    if graph[user].op != "Add" or not isinstance(type_, TensorType) or type_.shape is None:
        return None
    other, rank = graph.inputs_of(user)[1 - slot], len(type_.shape)
    param = constant(graph, other)
    if other is None or param is None or len(param.shape) > rank:
        return None
    shape = (1,) * (rank - len(param.shape)) + param.shape
    axis = 1 if graph[key].op == "Conv" else rank - 1
    if any(n != 1 for i, n in enumerate(shape) if i != axis) or shape[axis] not in (1, count):
        return None
    return user, other, np.broadcast_to(param.numpy().reshape(-1), (count,))


def densified(graph: Graph) -> Graph:
    """Write Kronecker-sparse layers as dense ones, and 1×1 convolutions as products with a matrix."""
    work = Respelling(graph)
    for key in graph.order:
        if graph[key].op == "KSLinear":
            _expand(work, key)
        elif graph[key].op == "Conv":
            _turn(work, key)
    return work.finish()


def _expand(work: Respelling, key: str) -> None:
    x, w, b, residual = work.read(key)
    factor, attrs = work.constant(w), work.graph[key].attrs
    if factor is None:
        return
    major = bool(attrs.get("feature_major", False))
    if major:
        x = work.step(key, "Transpose", x, perm=(1, 0))
    y = work.step(key, "Gemm", x, work.param(dense(factor).T, w, ""), b)
    if major:
        y = work.step(key, "Transpose", y, perm=(1, 0))
    if residual is not None:
        y = work.step(key, "Add", y, residual)
    activation = str(attrs.get("activation", ""))
    if activation:
        op, tanh = ("Gelu", {"tanh": True}) if activation == "GeluTanh" else (activation, {})
        y = work.step(key, op, y, **tanh)
    work.replace(key, y)


def _turn(work: Respelling, key: str) -> None:
    layer, type_ = read_layer(work.graph, key), work.graph.type_of(Value(key))
    rank = len(type_.shape) if isinstance(type_, TensorType) and type_.shape is not None else 0
    if layer is None or layer.groups != 1 or set(layer.kernel + layer.strides) != {1} or any(layer.pads) or not rank:
        return
    x, w, b, _ = work.read(key)
    x = work.step(key, "Transpose", x, perm=(0, *range(2, rank), 1))
    y = work.step(key, "Gemm", x, work.param(layer.weight.reshape(layer.weight.shape[:2]).T, w, ""), b)
    work.replace(key, work.step(key, "Transpose", y, perm=(0, rank - 1, *range(1, rank - 1))))
