"""Convex partitions: some nodes of a graph, in connected parts that no path leaves and comes back to."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pathlift.ir.graph import Graph


@dataclass(eq=False)
class Part:
    """A part in the making.

    Parameters
    ----------
    keys
        Its nodes.
    own
        The same, as bits.
    left
        As bits: the nodes at which a path that leads to this part leaves another.
    """

    keys: list[str]
    own: int
    left: int

    def fits(self, other: Part) -> bool:
        """Whether no path leaves one of the parts to come to the other."""
        return not (self.left & other.own or other.left & self.own)


class ConvexPartition:
    """A partition of the nodes `members` of a graph into maximal convex parts, each weakly connected.

    Convex, that is, no path leaves a part and comes back: a node joins the part of a producer, and so two parts become
    one, only if no path leaves one of the two to come to the other, and in topological order all paths to a node are
    known when its turn comes. Maximal: of the edges between any parts, the first in topological order connects two
    that are kept apart by a path around them, which leaves all of those parts (it would be an earlier edge otherwise).

    Where a node could join either of two parts, but not both, the order of its inputs decides.
    """

    def __init__(self, graph: Graph, members: Collection[str]) -> None:
        self._graph = graph
        self._of: dict[str, Part] = {}
        self._left: dict[str, int] = {}
        bits = {key: 1 << i for i, key in enumerate(graph.order)}
        for key in graph.order:
            self._left[key] = functools.reduce(operator.or_, (self._left[p] for p in self._producers(key)), 0)
            if key in members:
                self._of[key] = Part([key], bits[key], self._left[key])
                self._join(key)
            for p in self._producers(key):
                if p in members and self._of[p] is not self._of.get(key):
                    self._left[key] |= bits[p]

    def _producers(self, key: str) -> Iterator[str]:
        """The nodes that `key` reads, in the order of its inputs."""
        return (value.node for value in self._graph.inputs_of(key) if value is not None)

    def _join(self, key: str) -> None:
        """Let `key` join the parts of its producers."""
        for p in self._producers(key):
            part, other = self._of[key], self._of.get(p)
            if other is None or other is part or not part.fits(other):
                continue
            part, other = sorted((part, other), key=lambda part: len(part.keys))
            other.keys += part.keys
            other.own |= part.own
            other.left |= part.left
            self._of.update(dict.fromkeys(part.keys, other))

    @property
    def parts(self) -> list[Part]:
        """The parts, in the order of their first nodes."""
        return list(dict.fromkeys(self._of[key] for key in self._graph.order if key in self._of))

    def __getitem__(self, key: str) -> Part:
        """Return the part that a member is in."""
        return self._of[key]

    def detour(self, a: Part, b: Part) -> str:
        """Return a node outside two adjacent parts on a path from one to the other, no member if there is one."""
        for source, target in ((a, b), (b, a)):
            entries = dict.fromkeys(p for key in target.keys for p in self._producers(key))
            found = [p for p in entries if self._left[p] & source.own and self._of.get(p) is not target]
            if found:
                return min(found, key=lambda p: p in self._of)
        raise AssertionError("adjacent parts without a path around them could be one")
