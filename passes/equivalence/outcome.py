"""Outcomes of a comparison: what is found out about two graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.equivalence.factors import Rescaling
from pathlift.passes.equivalence.network import Network

Verdict = Literal["equivalent", "different", "inconclusive"]
Element = float | int | bool | str


@dataclass(frozen=True)
class Difference:
    """Where two graphs differ.

    Parameters
    ----------
    kind
        ``interface`` (inputs or outputs), ``structure`` (ops, attributes, shapes) or ``parameter`` (values).
    message
        One sentence.
    node, parameter
        Label and name, in the first graph.
    index
        Of an element of the parameter, or of a channel of the node, in the first graph.
    values
        The elements as the files hold them; of a batch norm, its scale or its shift.
    """

    kind: Literal["interface", "structure", "parameter"]
    message: str
    node: str | None = None
    parameter: str | None = None
    index: tuple[int, ...] | None = None
    values: tuple[Element, Element] | None = None


@dataclass(frozen=True, eq=False)
class Permutation:
    """Which neuron of the first graph is which of the second.

    Parameters
    ----------
    network
        The neurons, of both.
    image
        By neuron of the first, the one of the second.
    """

    network: Network
    image: Array

    def channels(self) -> dict[str, Array]:
        """Return, by label of a linear node, where its channels are in the second graph; where some moved."""
        found = {}
        for w in self.network.weights:
            neurons = np.unique(w.times)  # numbered in the order of channels
            if w.over is not None and (self.image[neurons] != neurons).any():
                found[self.network.label(neurons[0])] = np.searchsorted(neurons, self.image[neurons])
        return found


@dataclass(frozen=True, eq=False)
class Equivalence:
    """The answer, and its witness or the first difference.

    Parameters
    ----------
    verdict
        The answer.
    difference
        The first one, if they are different.
    reason
        Why there is no answer, if there is none.
    largest
        The largest relative difference of two weights under the symmetry that fits best.
    rescaling, permutation
        What turns the first graph into the second, where it was sought.
    """

    verdict: Verdict
    difference: Difference | None = None
    reason: str = ""
    largest: float | None = None
    rescaling: Rescaling | None = None
    permutation: Permutation | None = None

    @property
    def is_structural(self) -> bool:
        """Whether the graphs differ in more than weights."""
        return self.difference is not None and self.difference.kind != "parameter"
