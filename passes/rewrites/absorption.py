"""Absorption into a linear op: scalings and shifts of its channels, right behind it or right before it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from pathlift.ir.algebras.traits import traits
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import DTYPE_NAMES, Array
from pathlift.passes.layers.channels import channels_at, indices_of
from pathlift.passes.layers.diagonals import Diagonal, read_diagonal
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.linears import Linear, NewWeights

Reasons = dict[str, list[str]]
"""By node: why a linear op does not take it in."""


@dataclass(frozen=True, eq=False)
class Absorption:
    """A linear op, and what it takes in.

    Parameters
    ----------
    key
        The op's node.
    linear
        The op.
    nodes
        What it takes in, and the views in between, in order.
    weights
        The op's new parameters.
    operand, result
        What all of them together read and compute.
    """

    key: str
    linear: Linear
    nodes: tuple[str, ...]
    weights: NewWeights
    operand: Value
    result: Value

    @property
    def is_settled(self) -> bool:
        """Whether this is a mere shift behind an op without a bias, which has no better place."""
        shift = self.weights.weight is None and self.weights.bias is not None and len(self.nodes) == 1
        return shift and not self.linear.takes_bias


class AbsorptionSearch(ABC):
    """From a linear op in one direction, as far as nothing else reads the values in between.

    Parameters
    ----------
    graph, key, linear
        The op.
    reasons
        What is found to stay is noted here.
    """

    def __init__(self, graph: Graph, key: str, linear: Linear, reasons: Reasons) -> None:
        self.graph, self.key, self.linear, self.reasons = graph, key, linear, reasons
        self.nodes: tuple[str, ...] = ()
        self.scale, self.shift = np.ones(1), np.zeros(1)

    def run(self) -> Absorption | None:
        """Return what can be taken in; ``None`` if nothing can."""
        found = None
        while (node := self.next()) is not None:
            if not traits(self.graph, node).permutes:
                weights = self.take(node)
                if isinstance(weights, str):
                    self.reasons.setdefault(node, []).append(weights)
                    break
                ends = self.ends(node)
                found = Absorption(self.key, self.linear, self.joined(node), weights, *ends)
            self.nodes = self.joined(node)
        return found

    def take(self, node: str) -> NewWeights | str:
        """Return the op's parameters with one more node taken in, or why it cannot be."""
        diagonal = read_diagonal(self.graph, node)
        if diagonal is None:
            return "its parameters are no constants"
        channels = self.channels(node, diagonal)
        if channels is None:
            return f"its channels are not those of {self.graph[self.key].label!r}"
        with np.errstate(all="ignore"):  # what is not finite is not stored
            self.compose(diagonal.scale[channels], diagonal.shift[channels])
            return self.weights() or self.misfit()

    @property
    def views(self) -> list[str]:
        """The views passed so far, in order."""
        return [node for node in self.nodes if traits(self.graph, node).permutes]

    def misfit(self) -> str:
        """What is wrong with parameters that the element type cannot hold."""
        return f"the new weights of {self.graph[self.key].label!r} do not fit {DTYPE_NAMES[self.linear.weight.dtype]}"

    @abstractmethod
    def next(self) -> str | None:
        """The next node in this direction, if nothing else reads the value in between."""

    @abstractmethod
    def joined(self, node: str) -> tuple[str, ...]:
        """The nodes passed so far, and one more."""

    @abstractmethod
    def ends(self, node: str) -> tuple[Value, Value]:
        """What the op reads and computes with this node, the farthest, taken in."""

    @abstractmethod
    def channels(self, node: str, diagonal: Diagonal) -> Array | None:
        """Which channel of the node is which of the op's; ``None`` if that is not one to one."""

    @abstractmethod
    def compose(self, scale: Array, shift: Array) -> None:
        """Add one more map to those taken in so far."""

    @abstractmethod
    def weights(self) -> NewWeights | None:
        """The op's parameters with all that was taken in."""


class ForwardSearch(AbsorptionSearch):
    """What follows the op."""

    def next(self) -> str | None:
        value = Value(self.nodes[-1] if self.nodes else self.key)
        readers = [user for user, _, _ in self.graph.users(value.node)]
        if is_read_once(self.graph, value):
            return readers[0]
        for reader in readers:
            self.reasons.setdefault(reader, []).append(f"{self.graph[value.node].label!r} is read elsewhere too")
        return None

    def joined(self, node: str) -> tuple[str, ...]:
        return (*self.nodes, node)

    def ends(self, node: str) -> tuple[Value, Value]:
        return _operand(self.graph, self.key), Value(node)

    def channels(self, node: str, diagonal: Diagonal) -> Array | None:
        if diagonal.axis is None:
            return np.zeros(self.linear.channels[1], np.int64)
        return indices_of(self.graph, Value(self.key), self.linear.axes[1], self.views, diagonal.axis)

    def compose(self, scale: Array, shift: Array) -> None:
        self.scale, self.shift = scale * self.scale, scale * self.shift + shift

    def weights(self) -> NewWeights | None:
        return self.linear.followed_by(self.scale, self.shift)


class BackwardSearch(AbsorptionSearch):
    """What leads to the op."""

    def next(self) -> str | None:
        value = _operand(self.graph, self.nodes[0] if self.nodes else self.key)
        if is_read_once(self.graph, value):
            return value.node
        self.reasons.setdefault(value.node, []).append("its output is read elsewhere too")
        return None

    def joined(self, node: str) -> tuple[str, ...]:
        return (node, *self.nodes)

    def ends(self, node: str) -> tuple[Value, Value]:
        return _operand(self.graph, node), Value(self.key)

    def channels(self, node: str, diagonal: Diagonal) -> Array | None:
        if diagonal.axis is None:
            return np.zeros(self.linear.channels[0], np.int64)
        return channels_at(self.graph, Value(node), diagonal.axis, self.views, self.linear.axes[0])

    def compose(self, scale: Array, shift: Array) -> None:
        self.scale, self.shift = self.scale * scale, self.scale * shift + self.shift

    def weights(self) -> NewWeights | None:
        return self.linear.preceded_by(self.scale, self.shift)

    def take(self, node: str) -> NewWeights | str:
        weights = super().take(node)
        if self.shift.any() and not self.linear.uniform:
            return f"{self.graph[self.key].label!r} behind it does not meet its shift everywhere"
        return weights


def _operand(graph: Graph, key: str) -> Value:
    """What a linear op, a view or a diagonal acts on."""
    diagonal = read_diagonal(graph, key)
    value = graph.inputs_of(key)[0 if diagonal is None else diagonal.slot]
    assert value is not None
    return value
