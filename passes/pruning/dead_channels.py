"""Dead channels go: those that zero weights make 0, and those that zero weights alone read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.channels.groups import Groups, channel_groups
from pathlift.passes.channels.slots import Reading
from pathlift.passes.channels.zeros import zero_slices
from pathlift.passes.pruning.shrinking import Marks, shrunk


@dataclass(frozen=True)
class DeadChannels(Transform):
    """Remove channels that carry nothing, and shrink the tensors that hold them."""

    name: ClassVar[str] = "dead-channels"
    effect: ClassVar[Effect] = Effect.KEEPS

    def run(self, graph: Graph) -> Rewritten:
        """Remove all groups of channels that are 0 by zero weights, or that nothing else reads; an axis keeps one.

        A channel that is a constant other than 0 stays, since the biases that would stand for it are rounded, and
        padding would have to hold it too. Values are taken to be finite: 0 times infinity goes with a channel.

        Parameters
        ----------
        graph
            Any graph; what a node without a rule reads or computes stays.
        """
        groups = channel_groups(graph)
        gone, left = _sparing(groups, dead_groups(groups, zero_slices(graph)))
        skipped = (f"{left} dead channels stay: they are the last ones of a layer",) if left else ()
        return shrunk(groups, gone, "places without dead channels", skipped)


def dead_groups(groups: Groups, zero: dict[Value, Marks]) -> Array:
    """Return which groups carry nothing, ``(count + 1,)`` booleans.

    Parameters
    ----------
    groups
        Those of the graph.
    zero
        Which slices of its values hold nothing but 0.
    """
    readings = [_Weights(groups, zero, r) for r in groups.readings]
    gone = np.zeros(groups.count + 1, bool)
    while True:  # what only dead channels read is dead
        dead = np.zeros(groups.count + 1, bool)
        for r in readings:
            dead[r.marks] = True
        for r in readings:
            dead[r.marks[r.matters(gone)]] = False
        dead[0] = False
        if np.array_equal(dead, gone):
            return gone
        gone = dead


class _Weights:
    """The weights of one linear map, and which channels it reads."""

    def __init__(self, groups: Groups, zero: dict[Value, Marks], reading: Reading) -> None:
        graph = groups.graph
        x, w = graph.inputs_of(reading.node)[:2]
        assert x is not None
        assert w is not None
        param = graph[w.node].value if reading.param else None
        axes = groups.marks[w]
        marks, read = axes[reading.axis], groups.marks[x][reading.read]
        self.filled = None if param is None else np.moveaxis(param.numpy() != 0, reading.axis, 0)
        self.others = [m for i, m in enumerate(axes) if i != reading.axis]
        if marks is None:
            marks = np.zeros(0, np.int64) if read is None else read
            self.filled = None
        self.marks: Array = marks
        known = zero[x][reading.read] if len(marks) else None
        # Of weights that all groups share, what they read in each.
        self.zero: Array = np.zeros(len(marks), bool)
        if known is not None:
            self.zero = np.logical_and.reduce(known.reshape(-1, len(marks)))

    def matters(self, gone: Array) -> Array:
        """Which of the channels have a say in what stays if some groups go."""
        if self.filled is None:
            return ~self.zero
        filled = self.filled
        for axis, marks in enumerate(self.others, 1):
            if marks is not None and gone[marks].any():
                filled = filled.compress(~gone[marks], axis)
        matters: Array = np.logical_and(filled.any(tuple(range(1, filled.ndim))), ~self.zero)
        return matters


def _sparing(groups: Groups, gone: Array) -> tuple[Array, int]:
    """Let one channel stay along every axis; returns what goes, and how many had to stay."""
    spared = gone.copy()
    while True:
        lost = [marks for axes in groups.marks.values() for marks in axes if marks is not None and spared[marks].all()]
        if not lost:
            return spared, int(gone.sum() - spared.sum())
        for marks in lost:
            if spared[marks].all():
                spared[marks[0]] = False
