"""Groups of channels that can only be removed together: what goes with each, and what stays and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array
from pathlift.passes.channels.maps import independent_axes
from pathlift.passes.channels.slots import Reading, SlotAlgebra, Work, dims_of, marked
from pathlift.passes.channels.ties import Pin


@dataclass(frozen=True)
class Slot:
    """Part of a parameter that goes with a group.

    Parameters
    ----------
    param
        Name of the parameter.
    axis
        Along which axis.
    indices
        Which indices.
    """

    param: str
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a graph, numbered from 1 in the order in which parameters meet them; 0 is what stays.

    Parameters
    ----------
    graph
        The graph.
    count
        How many there are.
    marks
        Per value, and axis by axis, the group of each index; ``None`` where all stay. Along an axis of unknown extent,
        those of a period.
    readings
        The linear maps that read channels and do not hand them on: at these a channel ends.
    linear
        Keys of the parameters that are weights of linear maps.
    work
        The multiplications of nodes, with the groups along the axes that say how many.
    pins
        What was free until some node let it stay, and why.
    """

    graph: Graph
    count: int
    marks: Mapping[Value, tuple[Array | None, ...]]
    readings: tuple[Reading, ...]
    linear: frozenset[str]
    work: tuple[Work, ...]
    pins: tuple[Pin, ...]

    def slots(self, group: int) -> list[Slot]:
        """Return the parts of parameters that go with a group, parameters in order."""
        return [
            Slot(self.graph[key].names[0], axis, tuple(np.flatnonzero(marks == group).tolist()))
            for key in self.graph.params
            for axis, marks in enumerate(self.marks[Value(key)])
            if marks is not None and (marks == group).any()
        ]

    def writers(self) -> dict[int, tuple[str, ...]]:
        """Names of the weights that each group has rows of: what a reader would call it."""
        columns = {(r.param, r.axis) for r in self.readings}
        found: dict[int, list[str]] = {}
        for key in self.graph.params:
            for axis, marks in enumerate(self.marks[Value(key)]):
                if marks is not None and key in self.linear and (key, axis) not in columns:
                    for group in np.unique(marks).tolist():
                        found.setdefault(group, []).append(self.graph[key].names[0])
        return {group: tuple(found[group]) for group in sorted(found) if group}

    def masks(self, gone: Array) -> dict[str, Array]:
        """Return which weights of linear maps stay if groups go.

        With the other weights set to zero, the network computes what it does without the groups' channels.

        Parameters
        ----------
        gone
            A boolean per group, at index 0 that of what stays: ``(count + 1,)``.

        Returns
        -------
        dict
            By the name of the parameter, a boolean array of its shape; only where some weight goes.
        """
        found = {}
        for key in self.graph.params:
            lost = [(i, gone[m]) for i, m in enumerate(self.marks[Value(key)]) if m is not None and gone[m].any()]
            if key in self.linear and lost:
                param = self.graph[key].value
                assert param is not None
                mask = np.ones(param.shape, bool)
                for axis, indices in lost:
                    np.moveaxis(mask, axis, 0)[indices] = False
                found[self.graph[key].names[0]] = mask
        return found

    def to_json(self) -> dict[str, Any]:
        """Return how many groups there are by the weights that write them, and what stays, in plain JSON types."""
        by_writer: dict[tuple[str, ...], int] = {}
        for names in self.writers().values():
            by_writer[names] = by_writer.get(names, 0) + 1
        return {
            "groups": self.count,
            "written_by": [{"weights": list(names), "count": count} for names, count in by_writer.items()],
            "kept": [{"node": p.node, "op": p.op, "reason": p.reason, "count": p.count} for p in self.pins],
        }


def channel_groups(graph: Graph) -> Groups:
    """Find which channels of a graph can be removed, and which of them only together.

    Parameters
    ----------
    graph
        Any graph; what a node without a rule reads or computes stays.
    """
    algebra = SlotAlgebra(_shuffles(graph))
    values = marked(graph, algebra)
    roots = algebra.cells.all_roots()
    numbers = np.zeros(len(roots), np.int64)
    count = 0
    for key in graph.params:
        for marks in values[Value(key)].axes:
            for root in dict.fromkeys(roots[marks].tolist()) if marks is not None else ():
                if root and not numbers[root]:
                    count += 1
                    numbers[root] = count
    group_of = numbers[roots]
    return Groups(
        graph,
        count,
        {value: tuple(_numbered(marks, group_of) for marks in y.axes) for value, y in values.items()},
        tuple(algebra.readings),
        frozenset(algebra.weights),
        tuple(Work(w.node, tuple((d, _numbered(m, group_of)) for d, m in w.factors)) for w in algebra.work),
        tuple(algebra.pins),
    )


def _numbered(marks: Array | None, group_of: Array) -> Array | None:
    groups = None if marks is None else group_of[marks]
    return groups if groups is not None and groups.any() else None


def _shuffles(graph: Graph) -> frozenset[str]:
    """The reshapes that cut an axis in two, which change places and are merged again."""
    return frozenset(key for key in graph if graph[key].op == "Reshape" and _is_shuffle(graph, key))


def _is_shuffle(graph: Graph, key: str) -> bool:
    turn = _only_user(graph, key)
    merge = _only_user(graph, turn) if turn is not None and graph[turn].op == "Transpose" else None
    if turn is None or merge is None or graph[merge].op not in ("Reshape", "Flatten"):
        return False
    shapes = [dims_of(graph.type_of(v)) for v in (graph.inputs_of(key)[0], Value(key), Value(turn), Value(merge)) if v]
    cut, cut_to, merged, merged_to = shapes
    if cut is None or cut_to is None or merged is None or merged_to is None:
        return False
    perm = tuple(graph[turn].attrs["perm"])  # type: ignore[arg-type]  # a tuple of ints
    halves = [tuple(new) for old, new in independent_axes(cut, cut_to) if len(old) == 1 and len(new) == 2]
    joined = [tuple(perm[i] for i in old) for old, _ in independent_axes(merged, merged_to) if len(old) > 1]
    return any(tuple(reversed(pair)) in joined for pair in halves)


def _only_user(graph: Graph, key: str) -> str | None:
    users = graph.users(key)
    return users[0][0] if len(users) == 1 else None
