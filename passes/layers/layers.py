"""Layers in one form: a Gemm, an Einsum that is one, or a Conv, with weights in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Attrs, Graph, Node, Origin, Value, freeze_attrs
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Array, Ints, Param
from pathlift.passes.layers.edits import disconnect, drop_constants, is_unread
from pathlift.passes.layers.weights import constant, rounded

LAYER_OPS = frozenset({"Gemm", "Einsum", "Conv"})
"""A choice of syntax: the ops that `read_layer` reads, and that `write_layer` writes."""

LINEAR_OPS = LAYER_OPS | {"ConvTranspose", "KSLinear"}
"""Ops with weights in slot 1, and, but for Einsum, perhaps a bias in slot 2."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer with constant weights.

    Parameters
    ----------
    weight
        ``(out, in/groups, *kernel)``, float64; a Gemm has no kernel axes.
    bias
        ``(out,)``, float64.
    dtype
        As stored in the file.
    strides, pads, dilations, groups
        A Conv's.
    trans_w
        Whether a Gemm's weights are stored as ``(out, in)``.
    """

    weight: Array
    bias: Array | None
    dtype: np.dtype[Any]
    strides: Ints = ()
    pads: Ints = ()
    dilations: Ints = ()
    groups: int = 1
    trans_w: bool = True

    @property
    def channels(self) -> tuple[int, int]:
        """How many channels go in and come out."""
        return self.weight.shape[1] * self.groups, self.weight.shape[0]

    @property
    def kernel(self) -> Ints:
        """Extents of the kernel; none, for a Gemm."""
        return self.weight.shape[2:]

    def grouped(self, groups: int) -> Layer:
        """Return the same map in fewer groups, a divisor of the present number: weights between the old ones are 0."""
        if groups == self.groups:
            return self
        inside, out = self.channels
        n = self.groups // groups
        blocks = self.weight.reshape(groups, n, out // self.groups, 1, inside // self.groups, *self.kernel)
        diagonal = np.eye(n).reshape(1, n, 1, n, *[1] * (1 + len(self.kernel)))
        weight = (blocks * diagonal).reshape(out, inside // groups, *self.kernel)
        return dataclasses.replace(self, weight=weight, groups=groups)

    def stored(self) -> tuple[Param, Param | None] | None:
        """Return weights and bias as parameters; ``None`` if they do not fit the element type."""
        weight = rounded(self.weight if self.strides or self.trans_w else self.weight.T, self.dtype)
        bias = None if self.bias is None else rounded(self.bias, self.dtype)
        if weight is None or (bias is None) != (self.bias is None):
            return None
        return Param.of(weight), None if bias is None else Param.of(bias)

    @property
    def attrs(self) -> Attrs:
        """The node's attributes."""
        if not self.strides:
            return freeze_attrs({"trans_w": self.trans_w})
        return freeze_attrs({n: getattr(self, n) for n in ("strides", "pads", "dilations", "groups")})


def read_layer(graph: Graph, key: str) -> Layer | None:
    """Return the layer that a node is; ``None`` if it is none, or its parameters are no constants."""
    node, operands = graph[key], graph.inputs_of(key)[1:]
    params = [p for p in (constant(graph, value) for value in operands) if p is not None]
    if node.op not in LAYER_OPS or not params or len(params) < len(operands):
        return None
    weight, *rest = (p.numpy().astype(np.float64) for p in params)
    geometry: dict[str, Any] = dict(node.attrs)
    if node.op != "Conv":
        trans_w = _transposed(node)
        if trans_w is None:
            return None
        weight, geometry = weight if trans_w else weight.T, {"trans_w": trans_w}
    bias = rest[0] if rest else None
    if bias is not None:
        if bias.ndim > 1 or bias.size not in (1, len(weight)):
            return None
        bias = np.broadcast_to(bias, (len(weight),))
    return Layer(weight, bias, params[0].dtype, **geometry)


def _transposed(node: Node) -> bool | None:
    """Whether a matrix product's weights are ``(out, in)``; ``None`` if the node is none."""
    if node.op == "Gemm":
        return bool(node.attrs.get("trans_w", False))
    if node.op == "Einsum":
        x, w, out = Contract(str(node.attrs["equation"])).terms
        for transposed, letters in ((True, w[::-1]), (False, w)):
            inside, outside = letters[:1], letters[1:]
            if len(w) == 2 and x.endswith(inside) and outside not in x and out == x[:-1] + outside:
                return transposed
    return None


def write_layer(builder: Builder, graph: Graph, key: str, layer: Layer, x: Value, parts: Sequence[str]) -> None:
    """Let one node be this layer, and remove what it stands for.

    Parameters
    ----------
    builder
        Holds `graph`, changed elsewhere only.
    graph
        As it was.
    key
        The node.
    layer
        One that can be stored.
    x
        What it reads.
    parts
        The nodes whose computation this is, `key` among them; the first is a layer, whose parameters keep their
        names. The others go, and so do parameters that nothing else reads.
    """
    stored = layer.stored()
    assert stored is not None
    operands = {part: graph.inputs_of(part) for part in parts}
    layers = [part for part in parts if graph[part].op in LAYER_OPS]
    for part in parts:
        disconnect(builder, part)
    origin = Origin().merged(*(graph[part].origin for part in parts))
    builder.replace_node(Value(key), op="Conv" if layer.strides else "Gemm", attrs=layer.attrs, origin=origin)
    builder.connect(key, 0, x)
    for slot, (param, name) in enumerate(zip(stored, ("weight", "bias"), strict=True), start=1):
        if param is not None:
            old = {part: v for part in layers if (v := (*operands[part], None, None)[slot]) is not None}
            origin = Origin().merged(*(graph[v.node].origin for v in old.values()))
            named = old.get(parts[0]) or f"{graph[parts[0]].label}.{name}"
            builder.connect(key, slot, _place(builder, param, named, origin))
    for part in parts:
        if part != key:
            builder.remove(part)
    drop_constants(builder, graph, parts)


def _place(builder: Builder, param: Param, old: Value | str, origin: Origin) -> Value:
    """Put a parameter where an unused one was, or next to it; or make a new one of a name."""
    if isinstance(old, str) or not is_unread(builder, old.node):
        return builder.param(param, builder.fresh(old if isinstance(old, str) else builder[old].names[0]), origin)
    builder.replace_node(old, value=param, types=(param.type,), origin=origin)
    return old
