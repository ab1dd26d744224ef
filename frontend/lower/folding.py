"""Folding of nodes that read constants alone: the results are constants, each of which remembers its node."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir

from pathlift.frontend.evaluation import UNREAD
from pathlift.frontend.fold import Constant, fold
from pathlift.frontend.lower.source import node_origin, param_of
from pathlift.frontend.lower.spelling import MOST_STEPS, word
from pathlift.ir.graph import Value
from pathlift.ir.types import Param, TensorType

if TYPE_CHECKING:
    from pathlift.frontend.lower.node import OnnxNode, Operand


class Folding:
    """What is folded in one model.

    Parameters
    ----------
    memory_limit
        Bytes that no result may take.

    Attributes
    ----------
    computed
        The constants that nodes of the file compute.
    """

    def __init__(self, memory_limit: int) -> None:
        self.memory_limit = memory_limit
        self.computed: list[Constant] = []
        self._known: dict[Hashable, list[Constant] | None] = {}

    def fold(self, view: OnnxNode) -> list[Constant] | None:
        """Return what a node makes of constants, ``None`` if that is not known; the same for equal nodes."""
        if view.node.domain:
            return None
        operands = [_settled(view, slot, x) for slot, x in enumerate(view.operands)]
        constants = [x for x in operands if not isinstance(x, Value)]
        if len(constants) < len(operands):
            return None
        proto = onnx_ir.serde.serialize_node(view.node)
        proto.output[:] = view.names[: len(proto.output)]  # without those left out at the end
        attributes = tuple(a.SerializeToString(deterministic=True) for a in proto.attribute)
        key = (view.op_type, attributes, tuple(c and c.param for c in constants), tuple(map(bool, view.names)))
        if key not in self._known:
            folded = fold(proto, constants, view.version, node_origin(view.node), self.memory_limit)
            if folded is not None and len(folded) == 1:
                folded = [self.worded(view, folded[0])]
            self._known[key] = folded
        return self._known[key]

    def worded(self, view: OnnxNode, constant: Constant) -> Constant:
        """Return the result of a node that reads constants alone, which remembers the node."""
        computed = any(isinstance(x, Value) for x in view.operands)  # of which it reads the type alone
        wording = None if computed else word(view.node, view.version, view.operands)
        if wording is None or wording.depth > MOST_STEPS:
            return constant
        name = view.names[0] or constant.name
        self.computed.append(dataclasses.replace(constant, name=name, wording=wording))
        return self.computed[-1]


def stored(node: onnx_ir.Node, name: str) -> Constant:
    """Return the value of a Constant node, in whatever way it is given."""
    (attribute,) = node.attributes.values()
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
    else:
        kinds = {"f": onnx_ir.DataType.FLOAT, "i": onnx_ir.DataType.INT64, "s": onnx_ir.DataType.STRING}
        tensor = onnx_ir.tensor(attribute.value, kinds[attribute.name.removeprefix("value_")[0]])
    return Constant(name, param_of(tensor, name), node_origin(node))


def _settled(view: OnnxNode, slot: int, operand: Operand | None) -> Operand | None:
    """Return a constant of the same type for an operand of which nothing else is read, else the operand."""
    what = UNREAD.get((view.op_type, slot))
    type_ = view.lowerer.type_of(operand) if isinstance(operand, Value) and what is not None else None
    if not isinstance(type_, TensorType) or type_.dtype is None:
        return operand
    shape = () if what == "type" else type_.shape
    if shape is None or not all(isinstance(d, int) for d in shape):
        return operand
    extents = tuple(d for d in shape if isinstance(d, int))
    values = np.broadcast_to(np.zeros((), type_.dtype), extents)
    return Constant("", Param(type_.dtype, extents, lambda: values))
