"""Two networks as one skeleton with two sets of parameters, through which what compares them walks once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Array
from pathlift.passes.equivalence.matching import interface_difference, structural_difference
from pathlift.passes.equivalence.skeleton import MatchedPair, Sources, matched
from pathlift.passes.equivalence.value_numbering import Likeness, value_numbering
from pathlift.passes.pairing.closest import closest_orders
from pathlift.passes.pairing.forms import LEVELS, Form, Forms
from pathlift.passes.pairing.quantizers import with_relus

Errors = tuple[Array | None, Array | None]
LIKENESSES = (Likeness(quantizers=True), Likeness(activations=True, quantizers=True))


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks with the same nodes.

    Real numbers are float64. Nodes of one key are the same op with the same attributes, but for the ε of batch norms
    and for elementwise activations, quantizers among them, each of which may meet any. Where a value is quantized in
    one network only, the other has a `Clip` to (−∞, ∞).

    Parameters
    ----------
    first, second
        The networks. They compute what the two that were paired do, up to `errors` of their parameters; inputs and
        outputs have the same order. Each parameter is used once.
    sources
        By key of a parameter: what it is called in both files; empty where a file has none.
    nodes
        By key of any other node but an input: what it is called in both files; empty where a file has none.
    errors
        By key of a parameter: the largest absolute errors of its elements, in both networks; ``None`` where it is what
        exact arithmetic makes of the file's numbers.
    remarks
        What was done to match them.
    """

    first: Graph
    second: Graph
    sources: Mapping[str, Sources]
    nodes: Mapping[str, Sources]
    errors: Mapping[str, Errors]
    remarks: tuple[str, ...]


def pair(a: Graph, b: Graph) -> Pair:
    """Match two networks node by node.

    Names, number formats, the order of what is added, empty operations, and which activations are quantized do not
    matter. Batch norms, Kronecker-sparse layers and chains of layers may be folded or expanded in one of them.

    Parameters
    ----------
    a, b
        Any two graphs.

    Raises
    ------
    UsageError
        If they cannot be matched; names the first difference.
    InvalidModelError
        If a parameter is NaN somewhere.
    """
    difference = interface_difference(a, b)
    if difference is not None:
        raise UsageError("1470", f"the networks are no pair: {difference.message}")
    told, unbounded = "", ""
    for level, first, second in itertools.product(LEVELS, _variants(a), _variants(b)):
        forms = first.forms.at(level), second.forms.at(level)
        refused = [form for form in forms if isinstance(form, str)]
        ours, theirs = (form for form in forms if isinstance(form, Form)) if not refused else (None, None)
        if ours is None or theirs is None:
            unbounded = unbounded or f"with layers folded they may match, but there are no error bounds: {refused[0]}"
            continue
        found = _matched(ours, theirs)
        if isinstance(found, MatchedPair):
            return _pair(found, ours, theirs, (*level.remarks, *first.remarks, *second.remarks))
        if not (level.dense or first.remarks or second.remarks):
            told = found
    raise UsageError("1471", f"the networks are no pair: {told}", hint=unbounded)


@dataclass(frozen=True, eq=False)
class _Variant:
    """A graph, perhaps with activations that its quantizers had taken in, and what was done."""

    forms: Forms
    remarks: tuple[str, ...]


def _variants(graph: Graph) -> list[_Variant]:
    more, count = with_relus(graph)
    remark = f"{count} ReLU{'s' * (count != 1)} that quantizers of {graph.info.name!r} had taken in are put back"
    return [_Variant(Forms(graph), ()), *([_Variant(Forms(more), (remark,))] if count else [])]


def _matched(a: Form, b: Form) -> MatchedPair | str:
    """The skeleton, or the first difference."""
    message = ""
    for likeness in LIKENESSES:
        known: dict[tuple[object, ...], int] = {}
        ours, theirs = (value_numbering(form.graph, known, likeness) for form in (a, b))
        difference = structural_difference(ours, theirs)
        if difference is None:
            return matched(ours, theirs, closest_orders(ours, theirs))
        message = difference.message
    return message


def _pair(found: MatchedPair, a: Form, b: Form, remarks: tuple[str, ...]) -> Pair:
    sides = a.graph, b.graph
    return Pair(
        found.first,
        found.second,
        {key: _names(sides, sources) for key, sources in found.sources.items()},
        {key: _names(sides, sources) for key, sources in found.nodes.items()},
        {key: (a.errors.get(x), b.errors.get(y)) for key, (x, y) in found.sources.items()},
        (*remarks, *_activations(found)),
    )


def _names(sides: tuple[Graph, Graph], sources: Sources) -> Sources:
    ours, theirs = (_name(graph[key]) if key else "" for graph, key in zip(sides, sources, strict=True))
    return ours, theirs


def _name(node: Node) -> str:
    """All that a node stands for, by the user's names."""
    return " + ".join(filter(None, node.origin.nodes)) or node.names[0]


def _activations(found: MatchedPair) -> Iterator[str]:
    """Which activations differ, in words."""
    quantizers = []
    for key, sources in found.nodes.items():
        ours, theirs = found.first[key], found.second[key]
        if "FakeQuantize" in (ours.op, theirs.op):
            quantizers.append((ours, theirs))
        elif all(sources) and not _alike(ours, theirs):
            yield f"{ours.label!r} is {_spelled(ours)} in the first and {_spelled(theirs)} in the second"
    if not all(_alike(*sides) for sides in quantizers):
        first, second = (sum(node.op == "FakeQuantize" for node in side) for side in zip(*quantizers, strict=True))
        yield f"{first} values are quantized in the first, and {second} in the second"


def _alike(ours: Node, theirs: Node) -> bool:
    return (ours.op, ours.attrs) == (theirs.op, theirs.attrs)


def _spelled(node: Node) -> str:
    attrs = ", ".join(f"{name}={value!r}" for name, value in node.attrs.items())
    return f"{node.op}({attrs})" if attrs else node.op
