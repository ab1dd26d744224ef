"""Weights that have no effect: those that multiply a neuron that is always zero, or lead to one that nothing reads.

Their values are arbitrary, so that they are set to zero before networks are compared: no output changes.
"""

from __future__ import annotations

import numpy as np

from pathlift.ir.rows import blocks, rows_of
from pathlift.ir.types import Array, Param
from pathlift.passes.equivalence.factors import scales_of
from pathlift.passes.equivalence.matched_graph import Change, MatchedGraph, elementwise
from pathlift.passes.equivalence.network import Flow, Network, Weights
from pathlift.passes.rescaling.dead import dead_classes


def without_irrelevant(side: MatchedGraph, network: Network) -> MatchedGraph:
    """Return the same function, with weights that have no effect set to zero.

    Parameters
    ----------
    side
        A graph.
    network
        Its neurons.
    """
    filled = {w.key: _filled(side.param(w.key)) | (w.key in network.replaceable) for w in network.weights}
    nonzero = _nonzero(network, filled)
    read = _read(network, filled, nonzero)
    changes = {}
    for w in network.weights:
        relevant = read[w.times] if w.over is None else read[w.times] & nonzero[w.over]
        if w.key not in network.replaceable and not relevant.all():
            changes[w.key] = keeping(relevant, w.neutral)
    return side.changed(changes) if changes else side


def _filled(param: Param) -> Array:
    """Which elements are not zero."""
    filled = np.empty(param.shape, bool)
    for rows in blocks(param.shape):
        filled[rows] = param.rows(rows) != 0
    return filled


def without_dead(side: MatchedGraph) -> MatchedGraph:
    """Return the same function, with weights set to zero that are zero in the canonical forms.

    Neurons of a graph know less of their places than classes of cells.
    """
    found, dead = dead_classes(side.graph)
    if not dead.any():
        return side
    scales = {key: s for key, s in scales_of(side, found).items() if not s.divides}
    return side.changed({key: keeping(~(dead[s.times] | dead[s.over]), 0.0) for key, s in scales.items()})


def keeping(kept: Array, neutral: float) -> Change:
    """Return a change that keeps some elements of a parameter and makes the others do nothing."""
    return elementwise(lambda values, rows: np.where(rows_of(kept, rows, values.ndim), values, neutral))


def _nonzero(network: Network, filled: dict[str, Array]) -> Array:
    """Which neurons are not zero for every input of the network, whatever the biases' and weights' values are."""
    nonzero = np.zeros(len(network.origin), bool)
    nonzero[network.nonzero] = True
    for step in network.steps:
        if isinstance(step, Weights):
            mask = filled[step.key] if step.over is None else filled[step.key] & nonzero[step.over]
            nonzero[step.times[_any(mask, step.times)]] = True
        elif step.zero == "all":
            nonzero[step.target[nonzero[step.source]]] = True
        elif step.zero == "any":
            nonzero[step.target] = True
            nonzero[step.target[~nonzero[step.source]]] = False
    return nonzero


def _read(network: Network, filled: dict[str, Array], nonzero: Array) -> Array:
    """Which neurons have an effect on an output."""
    read = np.zeros(len(network.origin), bool)
    read[network.outputs] = True
    for step in reversed(network.steps):
        if isinstance(step, Flow):
            effective = read[step.target] & ~_cancelled(step, nonzero)
            read[step.source[effective]] = True
        elif step.over is not None:
            read[step.over[_any(filled[step.key] & read[step.times], step.over)]] = True
    return read


def _cancelled(flow: Flow, nonzero: Array) -> Array:
    """Where a source is multiplied by another one that is zero."""
    if flow.zero != "any":
        return np.zeros(len(flow.target), bool)
    zero, target = ~nonzero[flow.source], flow.target - flow.target.min(initial=len(nonzero))
    cancelled: Array = np.bincount(target, zero)[target] - zero > 0
    return cancelled


def _any(mask: Array, cells: Array) -> Array:
    """Whether anything is set, for each element of an array that broadcasts to the mask."""
    axes = tuple(i for i, n in enumerate(cells.shape) if n == 1)
    whole = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, cells.shape))
    return np.asarray(whole.any(axes, keepdims=True))
