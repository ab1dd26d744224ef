"""A graph as a network of neurons: what each is computed from, apart from the values of weights.

A *neuron* here is a symbol for all that a value holds at one place along some of its axes: one per channel, say, for
all positions of it. Along axes where all places are treated alike a value is not told apart. One-to-one maps φ of the
neurons onto themselves under which flows, weights and origins stay the same are what permutations of channels are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pathlift.ir.types import Array


@dataclass(frozen=True, eq=False)
class Flow:
    """Neurons computed from neurons, pair by pair.

    Parameters
    ----------
    target, source, role
        Integers, of one length: ``target[i]`` reads ``source[i]`` in the role ``role[i]``; sources of equal role are
        interchangeable.
    zero
        When a target is zero: if ``all`` sources are, if ``any`` is, or whatever they are (``free``).
    """

    target: Array
    source: Array
    role: Array
    zero: Literal["all", "any", "free"] = "all"


@dataclass(frozen=True, eq=False)
class Weights:
    """A parameter: what each of its elements leads to, and what it multiplies.

    Parameters
    ----------
    key
        Of the parameter's node.
    times
        The neurons that elements lead to, an array that broadcasts to the parameter.
    over
        The neurons that elements multiply; ``None`` if they are added: the neuron is the element.
    neutral
        The value of an element that does nothing.
    """

    key: str
    times: Array
    over: Array | None
    neutral: float = 0.0


Dependency = Flow | Weights


@dataclass(frozen=True, eq=False)
class Network:
    """The neurons of a graph.

    Parameters
    ----------
    steps
        In the order of computation; a neuron is a target before it is a source.
    origin
        By neuron: the step of the computation that introduced it.
    labels
        By origin: label of the node.
    nonzero
        Neurons that are not zero, whatever they are computed from.
    outputs
        Neurons that the graph returns.
    replaceable
        Keys of parameters whose values are not known: a caller may replace them.
    """

    steps: tuple[Dependency, ...]
    origin: Array
    labels: tuple[str, ...]
    nonzero: Array
    outputs: Array
    replaceable: frozenset[str]

    @property
    def weights(self) -> list[Weights]:
        """The parameters."""
        return [step for step in self.steps if isinstance(step, Weights)]

    def label(self, neuron: int) -> str:
        """Return the label of the node that a neuron belongs to."""
        return self.labels[int(self.origin[neuron])]
