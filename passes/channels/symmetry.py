"""The rescaling symmetries of a graph: its classes of neurons, and what their factors do to parameters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pathlift.ir.algebras.interpret import evaluate, walk
from pathlift.ir.errors import GraphError, UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType
from pathlift.passes.channels.cells import PINNED
from pathlift.passes.channels.constraints import Scale, Use
from pathlift.passes.channels.observer import MagnitudeObserver
from pathlift.passes.channels.ties import Operand, Pin, Ties, uniform


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The group of neuron-wise rescalings of a graph: one positive factor per class, chosen freely.

    Parameters
    ----------
    count
        Number of classes: the dimension of the group. Classes are numbered from 1; 0 stands for the factor 1.
    uses
        Every use of a parameter by a live node, with classes for cells. Uses of one parameter agree.
    pins
        Where classes were fixed at 1.
    tied
        Names of the parameters whose uses at several depths tied or fixed classes, and how many.
    class_of
        Class of every cell; a cell whose class no parameter has is in class −1.
    read
        The cells that weights read.
    """

    count: int
    uses: tuple[Use, ...]
    pins: tuple[Pin, ...]
    tied: Mapping[str, int] = field(default_factory=dict)
    class_of: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    read: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def scales(self) -> dict[int, Use]:
        """One use per parameter, by the parameter's id."""
        return {id(u.param): u for u in reversed(self.uses)}

    def writers(self) -> dict[int, tuple[str, ...]]:
        """Labels of the nodes that write into each class."""
        nodes: dict[int, dict[str, None]] = defaultdict(dict)
        read = {(use.node, c) for use in self.uses for c in np.unique(use.scale.over).tolist()}
        for use in self.uses:
            for c in np.unique(use.scale.times).tolist():
                if c > PINNED and (use.node, c) not in read:  # a batch norm's mean is in the scale of its input
                    nodes[c][use.node] = None
        return {c: tuple(nodes[c]) for c in sorted(nodes)}

    def groups(self) -> list[tuple[tuple[str, ...], int]]:
        """Labels of the nodes that write into the same classes, and the number of these classes."""
        return list(Counter(self.writers().values()).items())

    def to_json(self) -> dict[str, Any]:
        """Return what is free, by the nodes that compute it, and what is fixed by what, in plain JSON types."""
        return {
            "free": self.count,
            "classes": [{"nodes": list(nodes), "count": count} for nodes, count in self.groups()],
            "pinned": [{"node": p.node, "op": p.op, "reason": p.reason, "count": p.count} for p in self.pins],
            "tied": [{"parameter": name, "count": count} for name, count in self.tied.items()],
        }


def symmetry(graph: Graph, magnitudes: MagnitudeObserver | None = None) -> Symmetry:
    """Find the rescaling symmetries of a graph.

    Parameters
    ----------
    graph
        Any graph; a node without a rule fixes the factors of all it reads and computes.
    magnitudes
        Told of every step.
    """
    replaceable = frozenset() if graph.info.ir_version == 3 else frozenset(graph.info.overridable)
    ties = Ties(magnitudes, replaceable)
    outputs = walk(graph, lambda key, inputs: _outputs(graph, key, ties, inputs))
    for value in graph.outputs:
        ties.enter(graph[value.node])
        ties.keep(outputs[graph.name_of(value)], "a graph output")
    return _numbered(ties, _tie_parameters(ties))


def _outputs(graph: Graph, key: str, ties: Ties, inputs: tuple[Operand | None, ...]) -> Sequence[Operand]:
    node = graph[key]
    types = [*node.types, *(graph.type_of(v) for v in graph.inputs_of(key) if v is not None)]
    reason = ""
    if node.op != "Input":
        try:
            if all(isinstance(t, TensorType) and t.shape is not None for t in types):
                return evaluate(ties, node, inputs)
            reason = "a shape is not known"
        except UnsupportedError as refusal:
            reason = refusal.reason
        except GraphError as error:
            reason = error.message
    ties.enter(node)
    for operand in inputs:
        if operand is not None:
            ties.keep(operand, reason)
    return [uniform(t) for t in node.types]


def _tie_parameters(ties: Ties) -> dict[str, int]:
    """Make the uses of each parameter agree; returns by name how many classes that cost."""
    by_param: dict[int, list[Use]] = defaultdict(list)
    for use in ties.constraints.uses:
        by_param[id(use.param)].append(use)
    cost: dict[str, int] = {}
    for first, *rest in by_param.values():
        for use in rest:
            lost = _agree(ties, first.scale, use.scale)
            if lost:
                cost[first.name] = cost.get(first.name, 0) + lost
    return cost


def _agree(ties: Ties, a: Scale, b: Scale) -> int:
    """Tie the cells of two scales; returns how many classes less there are where they read different ones."""
    cells = np.unique(np.concatenate([x.reshape(-1) for x in (a.times, a.over, b.times, b.over)]))
    siamese = a.over.shape == b.over.shape and (ties.cells.roots(a.over) == ties.cells.roots(b.over)).all()
    before = np.unique(ties.cells.roots(cells))
    ties.cells.tie(a.times, b.times)
    ties.cells.tie(a.over, b.over)
    return 0 if siamese else len(before) - len(np.unique(ties.cells.roots(cells)))


def _numbered(ties: Ties, tied: Mapping[str, int]) -> Symmetry:
    """Number the classes in the order in which parameters meet them."""
    roots = ties.cells.all_roots()
    numbers = np.full(len(roots), -1, np.int32)
    numbers[PINNED] = 0
    count = 0
    for root in _met(ties.constraints.uses, roots):
        if numbers[root] < 0:
            count += 1
            numbers[root] = count
    class_of = numbers[roots]

    def classes(s: Scale) -> Scale:
        return Scale(class_of[s.times], class_of[s.over], s.divides)

    uses = tuple(Use(u.param, u.name, u.node, classes(u.scale)) for u in ties.constraints.uses)
    read = np.unique(np.concatenate([u.scale.over.reshape(-1) for u in ties.constraints.uses] or [class_of[:0]]))
    return Symmetry(count, uses, tuple(ties.pins), tied, class_of, read)


def _met(uses: Sequence[Use], roots: Array) -> Iterator[int]:
    for use in uses:
        for cells in (use.scale.over, use.scale.times):
            yield from dict.fromkeys(roots[cells].reshape(-1).tolist())
