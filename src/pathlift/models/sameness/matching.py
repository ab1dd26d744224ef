"""Values of two models that should be the same: matched node by node, or, where graphs differ, by their names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from pathlift.ir.graph import Graph, Value
from pathlift.models.sameness.ports import Ports
from pathlift.passes.equivalence.matching import reached, structural_difference
from pathlift.passes.equivalence.value_numbering import value_numbering
from pathlift.passes.pairing.closest import closest_orders
from pathlift.passes.pairing.pair import LIKENESSES

Pairs = tuple[tuple[Value, Value], ...]


@dataclass(frozen=True)
class Matching:
    """Which value of one graph is which of another.

    Parameters
    ----------
    by
        ``structure`` or ``names``.
    pairs
        In topological order of the first graph; no inputs and no parameters. Outputs are always among them.
    """

    by: Literal["structure", "names"]
    pairs: Pairs


def matching(ports: Ports, visible: tuple[Collection[str], Collection[str]]) -> Matching:
    """Match the values of two graphs.

    Parameters
    ----------
    ports
        The graphs, and their outputs.
    visible
        Names of the values of either graph that can be compared.
    """
    a, b = ports.first, ports.second
    structure = _by_structure(a, b)
    found = {
        x: y for x, y in (structure or _by_names(a, b)) if a.name_of(x) in visible[0] and b.name_of(y) in visible[1]
    }
    found |= {x: y for x, y in ports.outputs if computed(a, x) and computed(b, y)}
    place = {key: i for i, key in enumerate(a.order)}
    pairs = sorted(found.items(), key=lambda pair: (place[pair[0].node], pair[0].port))
    return Matching("names" if structure is None else "structure", tuple(pairs))


def computed(graph: Graph, value: Value) -> bool:
    """Whether a value is neither an input nor a parameter."""
    return graph[value.node].op not in ("Input", "Param")


def _by_structure(a: Graph, b: Graph) -> list[tuple[Value, Value]] | None:
    """All values that outputs depend on, if the same ops compute them: as where a distance is bounded."""
    for likeness in LIKENESSES:
        known: dict[tuple[object, ...], int] = {}
        ours, theirs = (value_numbering(graph, known, likeness) for graph in (a, b))
        if structural_difference(ours, theirs) is None:
            pairs = reached(ours, theirs, closest_orders(ours, theirs))
            return [pair for x, y in pairs for pair in zip(_values(a, x), _values(b, y), strict=False)]
    return None


def _values(graph: Graph, key: str) -> Iterator[Value]:
    return (Value(key, port) for port in range(len(graph[key].types)) if computed(graph, Value(key)))


def _by_names(a: Graph, b: Graph) -> list[tuple[Value, Value]]:
    named = {b.name_of(y): y for key in b.order for y in _values(b, key)}
    return [(x, named[a.name_of(x)]) for key in a.order for x in _values(a, key) if a.name_of(x) in named]
