"""Matching two graphs: which node of one is which of the other, from the outputs backwards, slot by slot."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pathlift.ir import dims as D
from pathlift.ir.algebras.traits import traits
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import TensorType, ValueType
from pathlift.passes.equivalence.outcome import Difference
from pathlift.passes.equivalence.value_numbering import ValueNumbering, attributes, kind_of

Pair = tuple[Value, Value]
ARRANGEMENTS = 24
"""The most ways of matching operands that are alike, per node."""
Orders = Mapping[tuple[str, str], tuple[int, ...]]
"""By pair of nodes that add or maximize: which operand of the second each of the first meets."""


def interface_difference(a: Graph, b: Graph) -> Difference | None:
    """Compare inputs and outputs, by position; names, formats of real numbers and unknown extents may differ."""
    sides = [
        ("input", [Value(k) for k in a.inputs], [Value(k) for k in b.inputs]),
        ("output", list(a.outputs), list(b.outputs)),
    ]
    for what, ours, theirs in sides:
        if len(ours) != len(theirs):
            return Difference("interface", f"one graph has {_count(ours, what)}, the other {_count(theirs, what)}")
        for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            s, t = a.type_of(x), b.type_of(y)
            if unified(s, t) is None:
                message = f"{what} {i} is {a.name_of(x)!r} ({s}) in one graph, {b.name_of(y)!r} ({t}) in the other"
                return Difference("interface", message, node=a.name_of(x))
    return None


def _count(values: Sequence[Value], what: str) -> str:
    return f"{len(values)} {what}{'s' * (len(values) != 1)}"


def unified(s: ValueType, t: ValueType) -> ValueType | None:
    """Return the more precise of two types; ``None`` if they contradict each other."""
    if kind_of(s) != kind_of(t):
        return None
    if not isinstance(s, TensorType) or not isinstance(t, TensorType) or s.shape is None:
        return t
    if t.shape is None:
        return s
    pairs = [D.unify(y, x) for x, y in zip(s.shape, t.shape, strict=False)]
    if len(s.shape) != len(t.shape) or not all(agree for agree, _ in pairs):
        return None
    return TensorType(s.dtype, tuple(d for _, d in pairs))


def structural_difference(a: ValueNumbering, b: ValueNumbering) -> Difference | None:
    """Find where two graphs compute different expressions: the node next to the inputs, on one way back to them."""
    ends = zip(a.outputs, b.outputs, strict=True)
    pair = next(((x, y) for x, y in ends if a.number(x) != b.number(y)), None)
    while pair is not None:
        x, y = pair
        if a.likeness.content(a.graph, x.node) != b.likeness.content(b.graph, y.node) or x.port != y.port:
            return _told(a.graph, b.graph, x, y)
        ours, theirs = a.operands(x.node), b.operands(y.node)
        pair = _differing(a, b, x.node, ours, theirs)
        if pair is None:
            one, other = a.graph[x.node].label, b.graph[y.node].label
            message = f"node {one!r} reads {len(ours)} values, {other!r} {len(theirs)}"
            return Difference("structure", message, node=one)
    return None


def _differing(
    a: ValueNumbering, b: ValueNumbering, key: str, ours: Sequence[Value | None], theirs: Sequence[Value | None]
) -> Pair | None:
    """The first operands of two nodes that are different expressions."""
    if len(ours) != len(theirs):
        return None
    if traits(a.graph, key).commutative:
        common = Counter(map(a.number, ours)) & Counter(map(b.number, theirs))
        ours, theirs = _without(a, ours, Counter(common)), _without(b, theirs, Counter(common))
    pairs = [p for p in zip(ours, theirs, strict=True) if a.number(p[0]) != b.number(p[1])]
    return next(((x, y) for x, y in pairs if x is not None and y is not None), None)


def _without(e: ValueNumbering, values: Sequence[Value | None], common: Counter[int]) -> list[Value | None]:
    rest = []
    for value in values:
        if common[e.number(value)]:
            common[e.number(value)] -= 1
        else:
            rest.append(value)
    return rest


def _told(a: Graph, b: Graph, x: Value, y: Value) -> Difference:
    left, right = a[x.node], b[y.node]
    ops = [str(n.attrs.get("op_type", n.op)) for n in (left, right)]
    one, other = (f"{node.label!r} ({op})" for node, op in zip((left, right), ops, strict=True))
    ours, theirs = dict(attributes(a, x.node)), dict(attributes(b, y.node))
    name = next((n for n in [*ours, *theirs] if ours.get(n) != theirs.get(n)), None)
    if left.op != right.op or ops[0] != ops[1]:
        detail = "are different ops"
    elif left.op in ("Input", "Param"):
        detail = f"are {left.types[0]} and {right.types[0]}" if left.types != right.types else "are different inputs"
    elif x.port != y.port:
        detail = f"are read at outputs {x.port} and {y.port}"
    elif left.op == "Opaque" or name is None:
        detail = "have different attributes"
    else:
        detail = f"have {name} {ours.get(name)} and {theirs.get(name)}"
    return Difference("structure", f"{one} and {other} {detail}", node=left.label)


def orders(a: ValueNumbering, b: ValueNumbering) -> Iterator[Orders]:
    """Yield the ways in which the operands of sums and maxima can be matched; first in the order of the files."""
    choices: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for x, y in reached(a, b, {}):
        if traits(a.graph, x).commutative:
            choices[x, y] = list(itertools.islice(alignments(a, b, x, y), ARRANGEMENTS))
    for chosen in itertools.product(*choices.values()):
        yield dict(zip(choices, chosen, strict=True))


def alignments(a: ValueNumbering, b: ValueNumbering, x: str, y: str) -> Iterator[tuple[int, ...]]:
    """Yield the permutations of one node's operands that make them the other's expressions; alike operands once."""
    ours, theirs = a.operands(x), b.operands(y)
    groups: dict[int, list[int]] = {}
    for i, value in enumerate(ours):
        groups.setdefault(a.number(value), []).append(i)
    places = ([j for j, value in enumerate(theirs) if b.number(value) == number] for number in groups)
    arrangements = (list(itertools.islice(itertools.permutations(p), ARRANGEMENTS)) for p in places)
    seen = set()
    for arrangement in itertools.product(*arrangements):
        order = dict(zip(itertools.chain(*groups.values()), itertools.chain(*arrangement), strict=True))
        met = frozenset(Counter((ours[i], theirs[j]) for i, j in order.items()).items())
        if met not in seen:
            seen.add(met)
            yield tuple(order[i] for i in range(len(ours)))


def operand_pairs(a: ValueNumbering, b: ValueNumbering, x: str, y: str, orders: Orders) -> list[Pair | None]:
    """Return which operands of two nodes meet, as the nodes read them; ``None`` for one that is left out."""
    ours, theirs = a.graph.inputs_of(x), b.graph.inputs_of(y)
    if traits(a.graph, x).commutative:
        order = orders.get((x, y)) or next(alignments(a, b, x, y))
        theirs = tuple(theirs[j] for j in order)
    return [None if s is None or t is None else (s, t) for s, t in zip(ours, theirs, strict=True)]


def reached(a: ValueNumbering, b: ValueNumbering, orders: Orders) -> list[tuple[str, str]]:
    """Return the pairs of nodes that outputs depend on, producers first."""
    frontier = [(x.node, y.node) for x, y in zip(a.outputs, b.outputs, strict=True)]
    found = set(frontier)
    while frontier:
        for pair in operand_pairs(a, b, *frontier.pop(), orders):
            if pair is not None and (nodes := (a.source[pair[0]].node, b.source[pair[1]].node)) not in found:
                found.add(nodes)
                frontier.append(nodes)
    first, second = ({key: i for i, key in enumerate(e.graph.order)} for e in (a, b))
    return sorted(found, key=lambda pair: (first[pair[0]], second[pair[1]]))
