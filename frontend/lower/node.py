"""An ONNX node as its lowering sees it: attributes, operands that are lowered already, and ways to build IR nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir
from onnx import FunctionProto

from pathlift.frontend.fold import Constant, check_size, computed
from pathlift.frontend.lower.registry import LOWERINGS, Refusal, Takes
from pathlift.frontend.types import value_type
from pathlift.ir.graph import Value
from pathlift.ir.types import DTYPE_NAMES, Array, Dim, Dims, Ints, TensorType, is_float

if TYPE_CHECKING:
    from pathlift.frontend.lower.model import Lowerer

Operand = Value | Constant
MOVABLE = frozenset(["i64", "i32", "i16", "i8", "u8", "bool"])
"""Element types other than floats that rearranging ops carry; more exotic ones stay with ONNX."""


class OnnxNode:
    """One ONNX node in the making of its IR nodes.

    Parameters
    ----------
    lowerer
        The lowering of the whole model.
    node
        The ONNX node.
    version
        The opset of its domain.

    Attributes
    ----------
    respelled
        Whether the file's spelling is better not kept.
    """

    def __init__(self, lowerer: Lowerer, node: onnx_ir.Node, version: int) -> None:
        self.lowerer, self.node, self.version = lowerer, node, version
        self.op_type = node.op_type
        self.names = tuple(lowerer.name_of(v) for v in node.outputs)
        self._read: set[str] = set()
        self.respelled = False

    # Attributes.

    def has(self, name: str) -> bool:
        """Whether the file spells this attribute out."""
        self._read.add(name)
        return name in self.node.attributes

    def integer(self, name: str, default: int = 0) -> int:
        """Return an integer attribute."""
        self._read.add(name)
        value = self.node.attributes.get_int(name, default)
        assert value is not None
        return value

    def integers(self, name: str, default: Sequence[int] = ()) -> Ints:
        """Return an attribute that is a list of integers."""
        self._read.add(name)
        value = self.node.attributes.get_ints(name, default)
        assert value is not None
        return tuple(value)

    def real(self, name: str, default: float) -> float:
        """Return a floating-point attribute; what ONNX has it be by default is a float32, too."""
        self._read.add(name)
        value = self.node.attributes.get_float(name, float(np.float32(default)))
        assert value is not None
        return float(value)

    def reals(self, name: str) -> tuple[float, ...]:
        """Return an attribute that is a list of numbers."""
        self._read.add(name)
        value = self.node.attributes.get_floats(name)
        return () if value is None else tuple(value)

    def text(self, name: str, default: str) -> str:
        """Return a string attribute."""
        self._read.add(name)
        value = self.node.attributes.get_string(name, default)
        assert value is not None
        return value

    def choice(self, name: str, *values: str) -> str:
        """Return a string attribute that is one of these; the first is the default."""
        value = self.text(name, values[0])
        if value not in values:
            raise ValueError(f"its {name} is {value!r}, and none of {', '.join(values)}")
        return value

    def require_read(self) -> None:
        """Refuse the node if it has an attribute that its lowering neither reads nor ignores."""
        rule = LOWERINGS.get(self.op_type)
        ignored = rule.ignores if rule is not None and not self.node.domain else frozenset()
        for name in sorted(self.node.attributes.keys() - self._read - ignored):
            if not name.startswith("__"):
                raise Refusal(f"no path-lifting semantics for its attribute {name}")

    # Operands.

    @property
    def operands(self) -> tuple[Operand | None, ...]:
        """All operands; ``None`` where one is left out."""
        return tuple(None if v is None else self.lowerer.operands[v] for v in self.node.inputs)

    def optional(self, slot: int) -> Operand | None:
        """Return an operand, ``None`` if it is left out."""
        value = self.node.inputs[slot] if slot < len(self.node.inputs) else None
        return None if value is None else self.lowerer.operands[value]

    def input(self, slot: int) -> Operand:
        """Return an operand that must be there."""
        operand = self.optional(slot)
        if operand is None:
            raise Refusal(f"its input {slot} is left out")
        return operand

    def constant(self, slot: int, reason: str) -> Constant:
        """Return an operand that must be known; `reason` says what is wrong if it isn't."""
        operand = self.input(slot)
        if not isinstance(operand, Constant):
            raise Refusal(reason)
        return operand

    def scalar(self, slot: int, default: float, reason: str) -> float:
        """Return the one value of a constant operand, `default` if it is left out."""
        if self.optional(slot) is None:
            return default
        constant = self.constant(slot, reason)
        if constant.param.size != 1:
            raise Refusal(reason)
        return float(constant.numpy().reshape(-1)[0])

    def extents(self, slot: int) -> list[Dim] | None:
        """Return the elements of an integer operand as far as they are known, else ``None``."""
        operand = self.input(slot)
        if isinstance(operand, Constant):
            return list(operand.ints())
        known = self.lowerer.extents.get(operand)
        return None if known is None else list(known.values)

    def settled(self, slot: int, reason: str) -> Ints:
        """Return the elements of an integer operand that must all be known."""
        extents = self.extents(slot)
        if extents is None or not all(isinstance(d, int) for d in extents):
            raise Refusal(reason)
        return tuple(d for d in extents if isinstance(d, int))

    def axes(self, slot: int | None, name: str = "axes") -> Ints | None:
        """Return axes given as an attribute, or as input `slot`; ``None`` if they are left out."""
        if self.has(name):
            return self.integers(name)
        if slot is None or self.optional(slot) is None:
            return None
        return self.settled(slot, f"its {name} are computed from data")

    @staticmethod
    def axis(index: int, rank: int) -> int:
        """Return an axis counted from the front; a scalar counts as having one."""
        if not -max(rank, 1) <= index < max(rank, 1):
            raise ValueError(f"axis {index} is out of range for {rank} axes")
        return index % max(rank, 1)

    def calls(self, accepts: Callable[[FunctionProto], bool]) -> bool:
        """Whether the function that the node calls is accepted; one that the file does not define is."""
        function = self.lowerer.model.functions.get(self.node.op_identifier())
        return function is None or accepts(onnx_ir.to_proto(function))

    def producer(self, slot: int) -> OnnxNode | None:
        """Return the ONNX node that computes an operand; ``None`` if it is an input or a constant."""
        value = self.node.inputs[slot]
        node = None if value is None or isinstance(self.input(slot), Constant) else value.producer()
        return None if node is None else OnnxNode(self.lowerer, node, self.version)

    # Types.

    def type(self, operand: Operand) -> TensorType:
        """Return what is known of an operand's type."""
        type_ = self.lowerer.type_of(operand)
        if not isinstance(type_, TensorType):
            raise Refusal(f"its input is no tensor but {type_}")
        return type_

    def dims(self, operand: Operand) -> Dims:
        """Return the shape of an operand whose rank must be known."""
        shape = self.type(operand).shape
        if shape is None:
            raise Refusal("the rank of its input is not known")
        return shape

    def used(self, index: int) -> bool:
        """Whether anything reads an output."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()

    def first_output_only(self, reason: str) -> None:
        """Refuse the node if an output other than the first is used."""
        if any(self.used(i) for i in range(1, len(self.node.outputs))):
            raise Refusal(reason)

    def require(self, takes: Takes) -> None:
        """Refuse the node unless its first operand holds what its lowering takes."""
        if takes == "any" or not self.node.inputs:
            return
        dtype = self.type(self.input(0)).dtype
        if dtype is None and isinstance(declared := value_type(self.node.outputs[0]), TensorType):
            dtype = declared.dtype
        if takes == "real" and dtype is None:
            raise Refusal("the element type of its input is not known", "run ONNX shape inference first")
        if dtype is None or is_float(dtype):
            return
        if takes == "real":
            raise Refusal("integer arithmetic")
        if DTYPE_NAMES[dtype] not in MOVABLE:
            raise Refusal(f"elements of type {DTYPE_NAMES[dtype]}")

    # Building.

    def emit(self, op: str, *operands: Operand | None, **attrs: Any) -> Value:
        """Add an IR node on the way to the result."""
        return self.lowerer.emit(self.node, op, operands, (self.fresh(op.lower()),), attrs, last=False)[0]

    def result(self, op: str, *operands: Operand | None, **attrs: Any) -> Value:
        """Add the IR node whose value is the ONNX node's first output."""
        self.require_read()
        return self.lowerer.emit(self.node, op, operands, self.names[:1], attrs, last=True)[0]

    def results(self, op: str, *operands: Operand | None, **attrs: Any) -> tuple[Value, ...]:
        """Add the IR node whose values are all the ONNX node's outputs."""
        self.require_read()
        return self.lowerer.emit(self.node, op, operands, self.names, attrs, last=True)

    def renamed(self, index: int, operand: Operand) -> Operand:
        """Return an operand under the name of an output; a constant goes by its own."""
        if isinstance(operand, Constant) or not self.names[index]:
            return operand
        values = self.lowerer.emit(self.node, "Identity", (operand,), (self.names[index],), {}, last=False)
        self.lowerer.declare(values, self.node.outputs[index : index + 1])
        return values[0]

    def fresh(self, hint: str) -> str:
        """Return a name that no value of the model has."""
        return self.lowerer.fresh(f"{next(filter(None, self.names), self.op_type)}_{hint}")

    def derive(
        self,
        base: Constant,
        what: str,
        f: Callable[[Array], Array],
        shape: Sequence[int],
        *key: Hashable,
        dtype: np.dtype[Any] | None = None,
    ) -> Constant:
        """Return the constant ``f(base)``, of this shape, and of the same dtype unless one is given.

        The same request gives the same constant: two layers that share a weight share what is derived from it.
        """
        dtype = dtype or base.param.dtype
        memo = (base.param, what, tuple(shape), dtype, *key)
        if memo not in self.lowerer.derived:
            type_, where = TensorType(dtype, tuple(shape)), f"tensor {base.name!r}"
            check_size(type_, where, self.lowerer.memory_limit)
            param = computed(type_, lambda: f(base.numpy()).astype(dtype, copy=False), where)
            name = self.lowerer.fresh(f"{base.name}_{what}")
            self.lowerer.derived[memo] = Constant(name, param, base.origin, depth=base.depth + 1)
        return self.lowerer.derived[memo]

    def reshaped(self, base: Constant, shape: Sequence[int]) -> Constant:
        """Return a constant in another shape; itself if it has it already."""
        if base.param.shape == tuple(shape):
            return base
        return self.derive(base, "reshaped", lambda a: a.reshape(tuple(shape)), shape)
