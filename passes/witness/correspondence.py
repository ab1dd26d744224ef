"""Correspondence of two graphs, node by node but for the places that a rewrite names: the outputs are the same."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.types import TensorType, ValueType
from pathlift.passes.witness.site import Site

Pair = tuple[Value, Value]


def check_correspondence(
    kind: str, before: Graph, after: Graph, sites: Iterable[Site] = (), copies: Mapping[str, str] | None = None
) -> None:
    """Check that two graphs have the same inputs and outputs, and that these are computed alike.

    An Identity is what it reads. What no output depends on is not looked at.

    Parameters
    ----------
    kind
        What was rewritten, for messages.
    before, after
        The graphs.
    sites
        Where they may differ, as long as both computations make the same of random values.
    copies
        Names of values of `before` that equal another one of `before`.

    Raises
    ------
    WitnessError
        If they differ; names the value.
    """
    check_interface(kind, before, after)
    _Walk(kind, before, after, {s.output: s for s in sites}, copies or {}).run()


def check_interface(kind: str, before: Graph, after: Graph) -> None:
    """Check that two graphs have the same inputs and outputs; parameters and errors as above."""
    _check_interface(kind, "inputs", _typed(before, map(Value, before.inputs)), _typed(after, map(Value, after.inputs)))
    _check_interface(kind, "outputs", _typed(before, before.outputs), _typed(after, after.outputs))


def _typed(graph: Graph, values: Iterable[Value]) -> dict[str, ValueType]:
    return {graph.name_of(v): graph.type_of(v) for v in values}


def _check_interface(kind: str, what: str, were: Mapping[str, ValueType], are: Mapping[str, ValueType]) -> None:
    agree = _is_refined if what == "outputs" else operator.eq
    if list(were) != list(are) or not all(map(agree, were.values(), are.values())):
        a, b = (", ".join(f"{name}: {type_}" for name, type_ in values.items()) for values in (were, are))
        raise WitnessError("0803", f"{kind}: the {what} were {a} and are {b}")


def _is_refined(a: ValueType, b: ValueType) -> bool:
    """Whether the second of two types says all that the first does."""
    if not isinstance(a, TensorType) or not isinstance(b, TensorType):
        return a == b
    if a.dtype not in (None, b.dtype):
        return False
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return a.shape is None
    pairs = zip(a.shape, b.shape, strict=True)
    return all(m == n or m is None or (isinstance(m, str) and isinstance(n, int)) for m, n in pairs)


class _Walk:
    """From the outputs back, through both graphs at once."""

    def __init__(
        self, kind: str, before: Graph, after: Graph, sites: Mapping[str, Site], copies: Mapping[str, str]
    ) -> None:
        self.kind, self.before, self.after, self.sites, self.copies = kind, before, after, sites, copies
        self.named = _named(before), _named(after)
        self.free = overridable(before) | overridable(after)
        self.opaque: dict[str, str] = {}

    def run(self) -> None:
        frontier = list(zip(self.before.outputs, self.after.outputs, strict=True))
        seen: set[Pair] = set()
        while frontier:
            pair = frontier.pop()
            if pair not in seen:
                seen.add(pair)
                frontier.extend(self.step(*pair))

    def step(self, a: Value, b: Value) -> Sequence[Pair]:
        """Check that two values are computed alike from others, and return those."""
        name = self.before.name_of(a)
        if name in self.sites:
            return self._site(self.sites[name], a, b)
        if name in self.copies:
            return [(self._copied(name, a), b)]
        if self.before[a.node].op == "Identity":
            return [(_operand(self.before, a), b)]
        if self.after[b.node].op == "Identity":
            return [(a, _operand(self.after, b))]
        return self._same(name, a, b)

    def _site(self, site: Site, a: Value, b: Value) -> Sequence[Pair]:
        from pathlift.passes.witness.trial import Formula, compare_formulas

        what = f"{self.kind}: {site.what}"
        missing = [n for n in site.inputs if any(n not in named for named in self.named)]
        if missing:
            raise WitnessError("0803", f"{what}: only one graph has the value {missing[0]!r}")
        inputs = [[named[n] for n in site.inputs] for named in self.named]
        free = [n for n in sorted(self.free) if all(n in named for named in self.named)]
        compare_formulas(what, *(
            Formula(graph, value, (*known, *(named[n] for n in free)))
            for graph, value, known, named in zip((self.before, self.after), (a, b), inputs, self.named, strict=True)
        ))  # fmt: skip
        return list(zip(*inputs, strict=True))

    def _copied(self, name: str, a: Value) -> Value:
        """The value that one equals, once both were computed from it."""
        from pathlift.passes.witness.trial import Formula, compare_formulas

        source = self.named[0][self.copies[name]]
        free = [v for n, v in self.named[0].items() if n in self.free]
        compare_formulas(f"{self.kind}: {name}", *(Formula(self.before, v, (source, *free)) for v in (a, source)))
        return source

    def _same(self, name: str, a: Value, b: Value) -> Sequence[Pair]:
        one, other = self.before[a.node], self.after[b.node]
        reads = self.before.inputs_of(a.node), self.after.inputs_of(b.node)
        alike = one.op == other.op and a.port == b.port and one.attrs == other.attrs
        alike = alike and [v is None for v in reads[0]] == [v is None for v in reads[1]]
        if one.op == "Input" or {one.names[0], other.names[0]} & self.free:
            alike = alike and one.names == other.names
        if one.op == "Opaque":  # may be random: two of them are not one
            alike = alike and self.opaque.setdefault(b.node, a.node) == a.node
        if not alike or not _same_values(one, other):
            raise WitnessError(
                "0803", f"{self.kind}: {name!r} is computed otherwise, which no rewritten place explains"
            )
        return [(u, v) for u, v in zip(*reads, strict=True) if u is not None and v is not None]


def overridable(graph: Graph) -> frozenset[str]:
    """Return the names of the parameters that a caller may replace."""
    # Before version 4 every parameter had to be an input, so that being one says nothing.
    return frozenset() if graph.info.ir_version == 3 else frozenset(graph.info.overridable)


def _named(graph: Graph) -> dict[str, Value]:
    return {name: Value(key, i) for key in graph for i, name in enumerate(graph[key].names) if name}


def _operand(graph: Graph, identity: Value) -> Value:
    (value,) = graph.inputs_of(identity.node)
    assert value is not None
    return value


def _same_values(a: Node, b: Node) -> bool:
    """Whether two nodes are the same parameter, or none."""
    if a.value is None or b.value is None or a.value is b.value:
        return a.value is b.value
    return a.value.type == b.value.type and a.value.numpy().tobytes() == b.value.numpy().tobytes()
