"""The writer of ONNX nodes: names, constants, provenance, and the registry of emissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from pathlift.frontend.doubles import is_single, rounding
from pathlift.frontend.emit.spelling import believed, ordered
from pathlift.frontend.emit.versions import NEWEST, OLDEST, UNSET, NewerOpsetError, carried
from pathlift.frontend.protos import subgraphs
from pathlift.frontend.provenance import annotate, separate
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Node, Origin, Value
from pathlift.ir.ops import OPS
from pathlift.ir.spelling import Spelling, Stored, Wording
from pathlift.ir.types import Array, Param, TensorType

Emission = Callable[..., None]
EMISSIONS: dict[str, Emission] = {}


def emits(*ops: str) -> Callable[[Emission], Emission]:
    """Register ``emission(site, *inputs, **attrs)``, whose signature is that of the op's program."""

    def register(emission: Emission) -> Emission:
        EMISSIONS.update(dict.fromkeys(ops, emission))
        return emission

    return register


@dataclass
class Emitted:
    """What the ops of a graph turn into.

    Parameters
    ----------
    opset
        Version of the default opset that the nodes are written for.
    nodes
        In topological order.
    params
        Keys of the parameters that are initializers.
    constants
        Further initializers, by name: attributes that ONNX wants as inputs, and what only a spelling asks for.
    origins
        Provenance of further initializers, where there is any.
    names
        The ONNX name of every value.
    overridable
        Names of the parameters that are graph inputs too.
    functions
        Names of our own functions that are called.
    rounded
        Which attributes lose digits, one sentence each.
    """

    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    params: list[str] = field(default_factory=list)
    constants: dict[str, Param] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    names: dict[Value, str] = field(default_factory=dict)
    overridable: frozenset[str] = frozenset()
    functions: set[str] = field(default_factory=set)
    rounded: list[str] = field(default_factory=list)


def emit(graph: Graph) -> Emitted:
    """Write the ops of a graph as ONNX nodes, at the lowest opset that the module docstring allows.

    Raises
    ------
    UnsupportedError
        If a node cannot be written; names it.
    """
    opset = max(graph.info.opsets.get("", UNSET), *(_version(node) for _, node in graph.nx.nodes(data="node")), 1)
    while True:
        try:
            return Writer(graph, opset).run()
        except NewerOpsetError as needed:
            opset = needed.opset


def _version(node: Node) -> int:
    return int(node.attrs.get("version", 0)) if node.op == "Opaque" and not node.attrs.get("domain") else 0  # type: ignore[arg-type]  # an attribute has the type that its op gives it


class Writer:
    """One attempt to write a graph, at one opset."""

    def __init__(self, graph: Graph, opset: int) -> None:
        # IR version 3 made every initializer an input, meant or not; today that keeps runtimes from optimizing them.
        overridable = frozenset() if graph.info.ir_version == 3 else frozenset(graph.info.overridable)
        self.graph, self.emitted = graph, Emitted(opset, overridable=overridable)
        self.values = {name for _, node in graph.nx.nodes(data="node") for name in node.names}
        self.values.discard("")  # marks an input that is left out
        self._taken = {"", *self.values, *_nested_names(graph)}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._transposed: dict[str, str] = {}
        self._holders: dict[int, str] = {}
        self._own: dict[tuple[int, str], str] = {}
        self._name_values()
        self._spelled = believed(graph, opset)
        self._stored: dict[int, str] = {}
        self._asked: set[str] = set()

    def run(self) -> Emitted:
        """Write every node, and the parameters that any of them reads."""
        wanted = {value.node for value in self.graph.outputs}
        for key in ordered(self.graph, self._spelled):
            node = self.graph[key]
            if node.op == "Param":
                if key in wanted or not self.graph.users(key) or node.names[0] in self.emitted.overridable:
                    self._name(Value(key))
            elif key in self._spelled:
                self._spell(self._spelled[key])
            elif node.op != "Input":
                self._write(key, node)
        self.emitted.params = [key for key in self.graph.params if key in self._asked and key not in self._spelled]
        separate(self.emitted.nodes)
        return self.emitted

    def _name_values(self) -> None:
        for key in self.graph.order:
            node = self.graph[key]
            for port, name in enumerate(node.names):
                # Nothing reads an unnamed value, but only a node that is ONNX's own is known not to need the name.
                self.emitted.names[Value(key, port)] = name or ("" if node.op == "Opaque" else self.fresh("unused"))
        # Two nodes that hold one Param are tied: they become one initializer, so that they are tied when read again.
        for key in self.graph.params:
            name = self.emitted.names[Value(key)]
            self._own[id(self.graph[key].value), name] = key
            if name not in self.emitted.overridable and Value(key) not in self.graph.outputs:
                holder = self._holders.setdefault(id(self.graph[key].value), key)
                self.emitted.names[Value(key)] = self.emitted.names[Value(holder)]

    def _name(self, source: Value | Stored | None) -> str:
        """Return the name of what is read, and see to it that there is such a value."""
        if source is None:
            return ""
        if isinstance(source, Stored):
            # One that a caller may replace, or that is an output, stands for no other name than its own.
            known = id(source.param())
            holder = self._own.get((known, source.name), self._holders.get(known))
            return self._store(source) if holder is None else self._name(Value(holder))
        if self.graph[source.node].op == "Param":
            key = self._holders.get(id(self.graph[source.node].value), source.node)
            key = key if self.emitted.names[Value(key)] == self.emitted.names[source] else source.node
            if key not in self._asked:
                self._asked.add(key)
                if key in self._spelled:
                    self._spell(self._spelled[key])
        return self.emitted.names[source]

    def _store(self, constant: Stored) -> str:
        """Return the name of a constant that is none of the graph's parameters; one initializer for one constant."""
        key = id(constant.source)
        if key not in self._stored:
            name = self._stored[key] = self.fresh(constant.name)
            if isinstance(constant.source, Wording):
                self._word(constant.source, [name], constant.origin)
            else:
                self.emitted.constants[name] = constant.source
                if constant.origin != Origin():
                    self.emitted.origins[name] = constant.origin
        return self._stored[key]

    def _spell(self, spelling: Spelling) -> None:
        """Write some nodes as the one that they were."""
        first, *others = (self.graph[key].origin for key in spelling.keys)
        known = zip(NodeProto.FromString(spelling.wording.proto).output, spelling.outputs, strict=True)
        outputs = [name and self.fresh(name) if value is None else self.emitted.names[value] for name, value in known]
        for key in spelling.keys:
            for port in range(len(self.graph[key].names)):
                if Value(key, port) not in spelling.outputs:
                    self.emitted.names[Value(key, port)] = ""
        self._word(spelling.wording, outputs, first.merged(*others))

    def _word(self, wording: Wording, outputs: Sequence[str], origin: Origin) -> None:
        node = NodeProto.FromString(wording.proto)
        node.input[:] = [self._name(source) for source in wording.inputs]
        node.output[:] = outputs
        written = carried(node, wording.version, self.emitted.opset, self.fresh)
        annotate(written, origin)
        self.emitted.nodes += written

    def _write(self, key: str, node: Node) -> None:
        inputs = tuple(map(self._name, self.graph.inputs_of(key)))
        outputs = tuple(self.emitted.names[Value(key, port)] for port in range(len(node.names)))
        start = len(self.emitted.nodes)
        attributes = {
            name: float(value) if attribute.type is float else value
            for name, attribute in OPS[node.op].attributes.items()
            for value in (node.attrs.get(name, attribute.default),)
        }
        site = EmissionSite(self, key, node, outputs)
        if node.op != "Opaque":
            site.require(OLDEST)
        try:
            EMISSIONS[node.op](site, *inputs, **attributes)
        except UnsupportedError as refusal:
            raise refusal.at(node.label, str(node.attrs.get("op_type", node.op))) from None
        annotate(self.emitted.nodes[start:], node.origin)

    def fresh(self, hint: str) -> str:
        """Return a name that no value has, neither here nor in a subgraph: `hint` itself, if it is free."""
        name, suffix = hint, 0
        while name in self._taken:
            suffix += 1
            name = f"{hint}_{suffix}"
        self._taken.add(name)
        return name

    def constant(self, array: Array, hint: str) -> str:
        """Return the name of an initializer with these values; equal ones are shared."""
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.fresh(hint)
            self.emitted.constants[self._constants[key]] = Param.of(array)
        return self._constants[key]

    def transposed(self, weight: str) -> str:
        """Return the transpose of a matrix, written once; the weights stay as the user has them."""
        if weight not in self._transposed:
            self._transposed[weight] = self.fresh(f"{weight}_transposed")
            node = helper.make_node("Transpose", [weight], [self._transposed[weight]], perm=[1, 0])
            self.emitted.nodes.append(node)
        return self._transposed[weight]


@dataclass(frozen=True)
class EmissionSite:
    """Where one IR node is written: its outputs, types, and the means to add ONNX nodes and constants."""

    writer: Writer
    key: str
    node: Node
    outputs: tuple[str, ...]

    @property
    def opset(self) -> int:
        """Version of the default opset that is written."""
        return self.writer.emitted.opset

    def require(self, opset: int) -> None:
        """Start over at `opset`, if the current one is older."""
        if self.opset < opset:
            if opset > NEWEST:
                raise UnsupportedError("0371", f"needs opset {opset}, newer than the installed onnx knows")
            raise NewerOpsetError(opset)

    def emit(self, op_type: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> None:
        """Add an ONNX node that computes this IR node's outputs, or `outputs`; ``None`` leaves an attribute out."""
        given = {k: _plain(v) for k, v in attributes.items() if v is not None and v != ()}
        node = helper.make_node(op_type, without_trailing(inputs), list(outputs or self.outputs), **given)
        for name, value in given.items():
            if isinstance(value, float) and not is_single(value):
                self.writer.emitted.rounded.append(rounding(f"node {self.node.label!r} ({op_type})", name, value))
        self.writer.emitted.nodes.append(node)

    def step(self, op_type: str, *inputs: str, hint: str, **attributes: Any) -> str:
        """Add an ONNX node that computes an intermediate value, and return its name."""
        name = self.writer.fresh(f"{self.outputs[0]}_{hint}")
        self.emit(op_type, *inputs, outputs=[name], **attributes)
        return name

    def ints(self, values: Sequence[int], hint: str) -> str:
        """Return the name of an int64 vector."""
        return self.writer.constant(np.array(values, dtype=np.int64), f"{self.outputs[0]}_{hint}")

    def scalar(self, value: float, hint: str, dtype: np.dtype[Any] | None = None) -> str:
        """Return the name of a scalar, of the element type of this node's first output unless `dtype` is given."""
        return self.writer.constant(np.array(value).astype(dtype or self.dtype), f"{self.outputs[0]}_{hint}")

    def type(self, slot: int) -> TensorType:
        """Return the type of an input; all unknown where it is left out or no tensor."""
        sources = self.writer.graph.inputs_of(self.key)
        source = sources[slot] if slot < len(sources) else None
        found = None if source is None else self.writer.graph.type_of(source)
        return found if isinstance(found, TensorType) else TensorType(None, None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the first output. f32 where nobody knows it: ONNX Runtime then refuses what does not fit."""
        first = self.node.types[0]
        return first.dtype if isinstance(first, TensorType) and first.dtype is not None else np.dtype(np.float32)


def without_trailing(names: Sequence[str]) -> list[str]:
    """Return `names` without the inputs that are left out at the end."""
    present = list(names)
    while present and not present[-1]:
        present.pop()
    return present


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def _nested_names(graph: Graph) -> Iterator[str]:
    """Yield the names that the subgraphs of opaque nodes mention."""
    for _, node in graph.nx.nodes(data="node"):
        if node.op == "Opaque":
            yield from mentioned(NodeProto.FromString(node.attrs["proto"]))


def mentioned(node: NodeProto) -> Iterator[str]:
    """Yield the value names in the subgraphs of a node, at any depth."""
    for body in subgraphs(node.attribute):
        for named in (*body.input, *body.output, *body.initializer):
            yield named.name
        for inner in body.node:
            yield from (*inner.input, *inner.output)
            yield from mentioned(inner)
