"""The lowering of a whole model: values, constants, names; node by node; then dead code goes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir

from pathlift.frontend.fold import Constant, check_size
from pathlift.frontend.lower.folding import Folding, stored
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.opaque import inputs_of, opaque_attributes, output_types
from pathlift.frontend.lower.registry import LOWERINGS, REASONS, Refusal
from pathlift.frontend.lower.rows import Rows, counted
from pathlift.frontend.lower.shapes import SymbolicInts, propagate
from pathlift.frontend.lower.source import info_of, node_origin, param_of, value_origin
from pathlift.frontend.lower.spelling import Note, spellings, word
from pathlift.frontend.read.functions import KEPT_DOMAIN
from pathlift.frontend.types import typed, value_type
from pathlift.ir.builder import Builder
from pathlift.ir.dims import filled
from pathlift.ir.errors import GraphError, InvalidModelError, UnsupportedError
from pathlift.ir.extents import given, misfit
from pathlift.ir.graph import Graph, Origin, Value
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.types import Dims, Param, TensorType, ValueType, named


def lower(
    model: onnx_ir.Model,
    *,
    memory_limit: int = MEMORY_LIMIT,
    assume_eval: bool = False,
    warnings: list[str] | None = None,
    shapes: Mapping[str, int] | None = None,
) -> Graph:
    """Lower a checked model: names defined once, nodes sorted, functions inlined, types inferred.

    Parameters
    ----------
    model
        What `pathlift.frontend.read.read_model` returns; its tensors are referred to, not copied.
    memory_limit
        Bytes that no single value may take.
    assume_eval
        Read training-mode batch normalization and dropout as in inference.
    warnings
        Is appended to.
    shapes
        Extents of open dimensions of inputs, as `pathlift.ir.extents.given` takes them.

    Raises
    ------
    InvalidModelError
        If shapes contradict each other; names the node.
    UnsafeModelError
        If a value would not fit `memory_limit`.
    UnsupportedError
        If the model holds element types that the IR cannot represent, or calls functions that cannot be inlined.
    UsageError
        If the model has no such dimensions, or cannot run on inputs of these extents.
    """
    for node in model.graph.all_nodes():
        if node.op_identifier() in model.functions and node.domain != KEPT_DOMAIN:
            message = f"node {node.name or node.outputs[0].name!r}: function {node.op_type!r} cannot be inlined"
            raise UnsupportedError("0394", message)
    lowerer = Lowerer(model, memory_limit, assume_eval, [] if warnings is None else warnings)
    inputs = lowerer.inputs(shapes or {})
    try:
        lowerer.nodes(model.graph)
        return lowerer.finish()
    except InvalidModelError as error:
        if not shapes:
            raise
        lower(model, memory_limit=memory_limit, assume_eval=assume_eval)  # raises if the fault is the model's own
        raise misfit(inputs, error.message) from error


class Lowerer:
    """The state of one lowering.

    Attributes
    ----------
    builder
        Holds the IR graph in the making.
    operands
        What each ONNX value became.
    extents
        Integer tensors computed from shapes, elementwise as far as they are known.
    rows
        Integer tensors that count on from sample to sample.
    sequences
        The elements of sequences that are put together at constant positions.
    symbols
        An input, and the axis of it, that has each symbolic extent.
    declared
        Types of values that say more than is proved, by name: for display, nothing is computed with them.
    folding
        What nodes make of constants.
    derived
        Constants that lowerings computed from others, by what was asked for.
    """

    def __init__(self, model: onnx_ir.Model, memory_limit: int, assume_eval: bool, warnings: list[str]) -> None:
        self.model, self.memory_limit, self.assume_eval, self.warnings = model, memory_limit, assume_eval, warnings
        self.builder = Builder(info_of(model))
        self.operands: dict[onnx_ir.Value, Operand] = {}
        self.extents: dict[Value, SymbolicInts] = {}
        self.rows: dict[Value, Rows] = {}
        self.sequences: dict[Value, tuple[Operand, ...]] = {}
        self.derived: dict[Hashable, Constant] = {}
        self.folding = Folding(memory_limit)
        self._params: dict[Param, Value] = {}
        self._inlined: dict[onnx_ir.Value, str] = {}
        self._notes: list[Note] = []
        self._made: list[str] = []
        self.symbols: dict[str, tuple[Value, int]] = {}
        self.declared: dict[str, TensorType] = {}
        self._count = itertools.count()
        graph = model.graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        self._taken = {v.name for v in values if v.name}

    # Names.

    def name_of(self, value: onnx_ir.Value) -> str:
        """Return a value's name in the IR: its own, unless it comes from an inlined branch and that one is taken."""
        return self._inlined.get(value, value.name or "")

    def fresh(self, hint: str) -> str:
        """Return a name that no value of the model has: `hint` itself, if it is free."""
        name = hint
        while name in self._taken:
            name = f"{hint}_{next(self._count)}"
        self._taken.add(name)
        return name

    # The parts of a graph.

    def inputs(self, sizes: Mapping[str, int]) -> Mapping[str, Dims]:
        """Add the inputs, with these extents, and the initializers of the main graph; return the inputs' shapes."""
        graph = self.model.graph
        values = [value for value in graph.inputs if not value.is_initializer()]
        types = {value.name or "": value_type(value) for value in values}
        open_types = {name: t for name, t in types.items() if isinstance(t, TensorType)}
        shapes = given({name: t.shape for name, t in open_types.items() if t.shape is not None}, sizes)
        types |= {name: TensorType(open_types[name].dtype, shape) for name, shape in shapes.items()}
        for value in values:
            added = self.builder.input_of(value.name or "", types[value.name or ""], value_origin(value))
            self.operands[value], type_ = added, self.builder.type_of(added)
            if isinstance(type_, TensorType) and type_.shape is not None:
                self.symbols |= {d: (added, i) for i, d in enumerate(type_.shape) if isinstance(d, str)}
        self.initializers(graph.initializers.values())
        return shapes

    def initializers(self, values: Iterable[onnx_ir.Value]) -> None:
        """Make constants of initializers; weights are read when something asks for them."""
        for value in values:
            tensor = value.const_value
            assert tensor is not None
            self.operands[value] = Constant(
                self.name_of(value), param_of(tensor, self.name_of(value)), value_origin(value)
            )

    def nodes(self, nodes: Iterable[onnx_ir.Node]) -> None:
        """Lower nodes, in topological order."""
        for node in nodes:
            lowered = self.node(node)
            for value, operand in zip(node.outputs, lowered, strict=False):
                self.operands[value] = operand

    def inline(self, graph: onnx_ir.Graph) -> list[Operand]:
        """Lower a branch in place and return what it returns."""
        own = [*graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        self._inlined |= {v: self.fresh(v.name) for v in own if v.name}
        self.initializers(graph.initializers.values())
        self.nodes(graph)
        return [self.operands[v] for v in graph.outputs]

    # One node.

    def node(self, node: onnx_ir.Node) -> Sequence[Operand]:
        """Lower one node."""
        view = OnnxNode(self, node, node.version or self.model.opset_imports.get(node.domain, 1))
        try:
            if node.op_type == "Constant" and not node.domain:
                return [stored(node, self.name_of(node.outputs[0]))]
            return self._lowered(view)
        except GraphError as error:
            raise InvalidModelError("0152", error.message) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Attributes and operands come from the file; what no lowering foresees is one that its operator forbids.
            message = f"node {node.name or view.names[0]!r} ({node.op_type}) is malformed: {error}"
            raise InvalidModelError("0153", message) from error

    def _lowered(self, view: OnnxNode) -> Sequence[Operand]:
        known = propagate(view)
        if known is not None and known.is_complete:
            return [Constant(view.names[0], known.param(), node_origin(view.node))]
        folded = self.folding.fold(view)
        if folded is not None:
            return folded
        try:
            lowered = self._lower(view)
        except Refusal as refusal:
            lowered = self.opaque(view, refusal.reason, refusal.hint)
        if known is not None and isinstance(lowered[0], Value):
            self.extents[lowered[0]] = known
        if (rows := counted(view)) is not None and isinstance(lowered[0], Value):
            self.rows[lowered[0]] = rows
        return lowered

    def _lower(self, view: OnnxNode) -> tuple[Operand, ...]:
        domain, op_type = view.node.domain, view.op_type
        rule = LOWERINGS.get(f"{domain}.{op_type}" if domain else op_type)
        if rule is None and domain:
            raise Refusal(f"no path-lifting semantics for {op_type} of domain {domain}")
        if rule is None:
            raise Refusal(REASONS.get(op_type, f"no path-lifting semantics for {op_type}"))
        view.require(rule.takes)
        around, self._made = self._made, []
        try:
            lowered = rule.lower(view)
            view.require_read()
            results = (self._named(view, lowered),) if isinstance(lowered, Value | Constant) else lowered
            if (
                self._made
                and not view.respelled
                and (wording := word(view.node, view.version, view.operands)) is not None
            ):
                self._notes.append(Note(wording, self._made, results))
        finally:
            self._made = around
        return results

    def _named(self, view: OnnxNode, lowered: Operand) -> Operand:
        # A lowering may find that the node passes a value on; the user's name for the result stays.
        if isinstance(lowered, Constant):
            operands = view.operands
            passed_on = any(isinstance(x, Value) or (x is not None and x.param is lowered.param) for x in operands)
            return lowered if passed_on or lowered.wording is not None else self.folding.worded(view, lowered)
        if self.builder[lowered].names[lowered.port] == view.names[0]:
            return lowered
        return view.result("Identity", lowered)

    def opaque(self, view: OnnxNode, reason: str, hint: str = "") -> tuple[Value, ...]:
        """Carry a node as it is."""
        operands = [None if v is None else self.operands[v] for v in inputs_of(view.node)]
        types = output_types(view)
        attrs = opaque_attributes(view, reason, hint)
        return self.emit(view.node, "Opaque", operands, view.names, attrs, last=True, types=types)

    # Building.

    def value(self, operand: Operand) -> Value:
        """Return an operand as a value of the graph; a constant becomes a parameter the first time."""
        if isinstance(operand, Value):
            return operand
        if operand.param not in self._params:
            self._params[operand.param] = self.builder.param(operand.param, operand.name, operand.origin)
        return self._params[operand.param]

    def type_of(self, operand: Operand) -> ValueType:
        """Return what is known of an operand's type."""
        return operand.param.type if isinstance(operand, Constant) else self.builder.type_of(operand)

    def number(self, value: float, dtype: np.dtype[Any] | None) -> Constant:
        """Return one number as a constant; the same one for the same number."""
        key = ("number", value, dtype)
        if key not in self.derived:
            self.derived[key] = Constant(self.fresh("number"), Param.of(np.asarray(value, dtype or np.float32)))
        return self.derived[key]

    def emit(
        self,
        node: onnx_ir.Node,
        op: str,
        operands: Sequence[Operand | None],
        names: Sequence[str],
        attrs: Mapping[str, Any],
        *,
        last: bool,
        types: Sequence[ValueType] | None = None,
    ) -> tuple[Value, ...]:
        """Add an IR node for `node`; the `last` one stands for its outputs and carries all that the user said of it."""
        refs = [None if x is None else self.value(x) for x in operands]
        origin = node_origin(node) if last else Origin(node_origin(node).nodes)
        values = self.builder.node(op, *refs, names=names, types=types, origin=origin, **attrs)
        self._made.append(values[0].node)
        if last:
            self.declare(values, node.outputs)
        if op == "Identity" and operands[0] in self.sequences:
            self.sequences[values[0]] = self.sequences[operands[0]]
        for value in values:
            type_ = self.builder.type_of(value)
            if isinstance(type_, TensorType):
                check_size(type_, f"node {node.name or names[0]!r} ({node.op_type})", self.memory_limit)
        return values

    def declare(self, values: Sequence[Value], declared: Sequence[onnx_ir.Value]) -> None:
        """Compare what the file says about the outputs of a node with what is proved of them; that is what counts."""
        node = self.builder[values[0]]
        # A node of ONNX may have more outputs than ours, all of them unused.
        claims = [value_type(value) for value in declared[: len(node.types)]]
        types = (*map(typed, node.types, claims), *node.types[len(claims) :])
        if types != node.types:
            self.builder.replace_node(values[0], types=types)
        for name, type_, claim in zip(node.names, types, claims, strict=False):
            if not isinstance(type_, TensorType) or not isinstance(claim, TensorType):
                continue
            if (shown := filled(type_, claim)) is None:
                self.warnings.append(f"value {name!r} is declared as {claim}, but is {type_}")
            elif shown != type_:
                self.declared[name] = TensorType(shown.dtype, tuple(map(named, shown.shape or ())))

    def finish(self) -> Graph:
        """Return the graph without dead nodes; initializers that nothing ever read stay."""
        graph, builder = self.model.graph, self.builder
        named = {v: self._output(v) for v in graph.outputs}  # a value that is listed twice is one value
        outputs = [named[v] for v in graph.outputs]
        kept = [v for v in graph.initializers.values() if not v.uses() and not v.is_graph_output()]
        replaceable = [v for v in graph.inputs if v.is_initializer()]
        if self.model.ir_version >= 4:  # before, every initializer had to be an input as well
            kept += replaceable
            for v in replaceable:
                self.warnings.append(f"input {v.name!r} has a default value, and is read as that constant")
        alive = {self.value(self.operands[v]).node for v in kept} | {value.node for value in outputs}
        pending = list(alive)
        while pending:
            new = builder.nx.pred[pending.pop()].keys() - alive
            alive |= new
            pending += new
        for key in reversed(list(builder.nx)):
            if key not in alive and builder.nx.nodes[key]["node"].op != "Input":
                builder.remove(key)
        nodes = [node for _, node in builder.nx.nodes(data="node")]
        params, names = {n.names[0] for n in nodes if n.op == "Param"}, {name for n in nodes for name in n.names}
        overridable = tuple(str(v.name) for v in replaceable if v.name in params)
        declared = {name: type_ for name, type_ in self.declared.items() if name in names}
        builder.info = dataclasses.replace(builder.info, overridable=overridable, declared=MappingProxyType(declared))
        lowered = builder.finish(*outputs)
        noted = tuple(spellings(lowered, self._notes, self.folding.computed, self._params))
        return Graph(lowered.nx, lowered.outputs, dataclasses.replace(lowered.info, spellings=noted))

    def _output(self, output: onnx_ir.Value) -> Value:
        value = self.value(self.operands[output])
        name = output.name or ""
        if self.builder[value].names[value.port] == name:
            return value
        added = self.builder.op("Identity", value, name=name)
        self.declare((added,), (output,))
        return added
