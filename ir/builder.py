"""The builder: the only way to make or change a graph. Types follow from the Shape algebra; `finish` verifies."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import networkx as nx

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.errors import GraphError
from pathlift.ir.graph import Graph, ModelInfo, Node, Origin, Value, freeze_attrs
from pathlift.ir.ops import OPS
from pathlift.ir.types import DTYPES, UNKNOWN, Array, Dim, Param, TensorType, ValueType, unnamed
from pathlift.ir.verify import merge_types, verify

Ref = Value | str


class Builder:
    """A mutable graph in the making.

    Wherever a value is asked for, its name does too.

    Examples
    --------
    >>> b = Builder()
    >>> x = b.input("x", ("N", 3))
    >>> y = b.op("Relu", b.op("Gemm", x, b.param([[1.0], [2.0], [3.0]], "w")), name="y")
    >>> print(b.finish(y))  # doctest: +SKIP
    """

    def __init__(self, info: ModelInfo | None = None) -> None:
        self.nx, self.info = nx.MultiDiGraph(), info or ModelInfo()
        self.outputs: list[Value] = []
        self._names: dict[str, Value] = {}
        self._order = itertools.count()
        self._fresh = itertools.count()
        self._shape = Shape()

    @classmethod
    def of(cls, graph: Graph) -> Builder:
        """Return a builder that starts from a copy of `graph`; nodes and weights are shared."""
        builder = cls(graph.info)
        builder.nx, builder.outputs = nx.MultiDiGraph(graph.nx), list(graph.outputs)
        builder._names = {
            name: Value(key, i)
            for key, node in graph.nx.nodes(data="node")
            for i, name in enumerate(node.names)
            if name
        }
        builder._order = itertools.count(1 + max((o for _, o in graph.nx.nodes(data="order")), default=-1))
        return builder

    def __getitem__(self, ref: Ref) -> Node:
        """Return the node that a value belongs to."""
        node: Node = self.nx.nodes[self.value(ref).node]["node"]
        return node

    def value(self, ref: Ref) -> Value:
        """Return the value of this name.

        Raises
        ------
        GraphError
            If there is none.
        """
        if isinstance(ref, Value):
            if ref.node not in self.nx or not 0 <= ref.port < len(self.nx.nodes[ref.node]["node"].names):
                raise GraphError("0503", f"there is no value {ref.node!r}.{ref.port}")
            return ref
        if ref not in self._names:
            raise GraphError("0503", f"there is no value {ref!r}")
        return self._names[ref]

    def type_of(self, ref: Ref) -> ValueType:
        """Return the type of a value."""
        return self[ref].types[self.value(ref).port]

    def fresh(self, hint: str) -> str:
        """Return a value name that is not taken: `hint` itself, if it is free."""
        name = hint
        while not name or name in self._names:
            name = f"{hint or 'v'}_{next(self._fresh)}"
        return name

    def input(self, name: str, shape: Sequence[Dim] | None, dtype: str = "f32", origin: Origin = Origin()) -> Value:
        """Add a graph input; `shape` may hold symbols, and ``None`` for an extent unlike any other."""
        return self.input_of(name, TensorType(DTYPES[dtype], None if shape is None else tuple(shape)), origin)

    def input_of(self, name: str, type_: ValueType, origin: Origin = Origin()) -> Value:
        """Add a graph input of any type."""
        if isinstance(type_, TensorType) and type_.shape is not None:
            shape = tuple(unnamed(name, i) if d is None else d for i, d in enumerate(type_.shape))
            type_ = TensorType(type_.dtype, shape)
        return self._insert(Node("Input", freeze_attrs({}), (name,), (type_,), origin=origin))

    def param(self, value: Param | Array | Sequence[Any] | float, name: str = "", origin: Origin = Origin()) -> Value:
        """Add a parameter; lists of floats become f32. Reuse the returned value to tie."""
        param = value if isinstance(value, Param) else Param.of(value)
        name = name or self.fresh("p")
        return self._insert(Node("Param", freeze_attrs({}), (name,), (param.type,), param, origin))

    def op(self, op: str, *inputs: Ref | None, name: str = "", **options: Any) -> Value:
        """Add an op with one output, called `name`; `options` are its attributes, or `origin` or `types`."""
        return self.node(op, *inputs, names=(name or self.fresh(op.lower()),), **options)[0]

    def node(
        self,
        op: str,
        *inputs: Ref | None,
        names: Sequence[str],
        types: Sequence[ValueType] | None = None,
        origin: Origin = Origin(),
        **attrs: Any,
    ) -> tuple[Value, ...]:
        """Add an op with any number of outputs.

        Parameters
        ----------
        op
            Its name.
        inputs
            Values or their names; ``None`` leaves an optional input out.
        names
            One name per output.
        types
            What is known of the outputs' types beyond what Shape infers.
        origin
            The ONNX nodes it stands for.
        **attrs
            Attributes; those that equal the op's default are dropped.

        Raises
        ------
        GraphError
            If op, arity, attributes or shapes are wrong; names the node.
        """
        sources = [None if ref is None else self.value(ref) for ref in inputs]
        while sources and sources[-1] is None:
            sources.pop()
        if not names:
            raise GraphError("0505", f"a node {op} needs at least one output")
        definition = OPS.get(op)
        if definition is None:
            raise GraphError("0504", f"node {names[0]!r}: there is no op {op!r}")
        frozen = definition.canonical(freeze_attrs(attrs))
        problem = definition.check_inputs(sources) or definition.check_attrs(frozen)
        if problem:
            raise GraphError("0504", f"node {names[0]!r}: {problem}")
        declared = tuple(types) if types is not None else (UNKNOWN,) * len(names)
        node = Node(op, frozen, tuple(names), declared, origin=origin)
        inferred = evaluate(self._shape, node, tuple(None if v is None else self.type_of(v) for v in sources))
        if len(inferred) != len(names):
            raise GraphError("0505", f"node {names[0]!r}: {op} has {len(inferred)} outputs, got {len(names)} names")
        merged = tuple(merge_types(node, i, a, b) for i, (a, b) in enumerate(zip(inferred, declared, strict=True)))
        added = self._insert(node if merged == declared else Node(op, frozen, node.names, merged, origin=origin))
        for slot, source in enumerate(sources):
            if source is not None:
                self.nx.add_edge(source.node, added.node, key=slot, port=source.port)
        return tuple(Value(added.node, i) for i in range(len(names)))

    def _insert(self, node: Node) -> Value:
        key = node.names[0] or "unnamed"
        while key in self.nx:  # unnamed, or an earlier node had this name and was renamed
            key = f"{node.names[0] or 'unnamed'}_{next(self._fresh)}"
        named = [name for name in node.names if name]
        for i, name in enumerate(named):
            if name in self._names or name in named[:i]:
                raise GraphError("0506", f"two values are called {name!r}")
        self._names.update({name: Value(key, i) for i, name in enumerate(node.names) if name})
        self.nx.add_node(key, node=node, order=next(self._order))
        return Value(key)

    def output(self, *refs: Ref) -> None:
        """Append graph outputs."""
        self.outputs.extend(self.value(r) for r in refs)

    def replace_node(self, ref: Ref, **changes: Any) -> None:
        """Change fields of a node (``attrs``, ``value``, ``types``, ``origin``), keeping its edges and names."""
        key = self.value(ref).node
        node: Node = dataclasses.replace(self.nx.nodes[key]["node"], **changes)
        if "attrs" in changes and node.op in OPS:
            node = dataclasses.replace(node, attrs=OPS[node.op].canonical(freeze_attrs(node.attrs)))
        self.nx.nodes[key]["node"] = node

    def replace_value(self, old: Ref, new: Ref) -> None:
        """Let every use of `old`, also as a graph output, read `new` instead."""
        a, b = self.value(old), self.value(new)
        for _, consumer, slot, port in list(self.nx.out_edges(a.node, keys=True, data="port")):
            if port == a.port:
                self.connect(consumer, slot, b)
        self.outputs = [b if v == a else v for v in self.outputs]

    def connect(self, consumer: str, slot: int, source: Ref) -> None:
        """Let one input slot read `source`."""
        if consumer not in self.nx:
            raise GraphError("0503", f"there is no node {consumer!r}")
        for producer, _, key in list(self.nx.in_edges(consumer, keys=True)):
            if key == slot:
                self.nx.remove_edge(producer, consumer, key)
        value = self.value(source)
        self.nx.add_edge(value.node, consumer, key=slot, port=value.port)

    def rename(self, ref: Ref, name: str) -> None:
        """Give a value another name; node keys do not change.

        Raises
        ------
        GraphError
            If the name is taken.
        """
        value = self.value(ref)
        if name in self._names:
            raise GraphError("0506", f"two values are called {name!r}")
        names = list(self[value].names)
        self._names.pop(names[value.port], None)
        names[value.port] = name
        self._names[name] = value
        self.replace_node(value, names=tuple(names))

    def remove(self, key: str) -> None:
        """Remove a node that nothing reads.

        Raises
        ------
        GraphError
            If something reads it.
        """
        if self.nx.out_degree(key) or any(v.node == key for v in self.outputs):
            raise GraphError("0507", f"node {key!r} is still in use")
        for name in self[Value(key)].names:
            self._names.pop(name, None)
        self.nx.remove_node(key)

    def finish(self, *outputs: Ref) -> Graph:
        """Return the verified graph; `outputs` are appended to those already declared.

        Types are inferred anew, so that what became known upstream is known downstream.

        Raises
        ------
        GraphError
            If an invariant does not hold; names the node.
        """
        self.output(*outputs)
        graph = Graph(nx.MultiDiGraph(self.nx), tuple(self.outputs), self.info)
        refined = verify(graph)
        if not refined:
            return graph
        for key, types in refined.items():
            self.replace_node(Value(key), types=types)
        return Graph(nx.MultiDiGraph(self.nx), graph.outputs, self.info)
