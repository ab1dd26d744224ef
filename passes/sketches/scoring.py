"""Figures per weight, of a sketch: the norm of what it meets, and what outputs lose without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Array
from pathlift.passes.pruning.inputs import spread
from pathlift.passes.pruning.layout import Layout
from pathlift.passes.pruning.prunable import Prunable
from pathlift.passes.sketches.layer import LayerSketch


class Scoring(NamedTuple):
    """Per weight, by a parameter's name, in its shape, float64.

    Parameters
    ----------
    norms
        ‖X_j‖₂ over all samples and positions.
    costs
        √(rows/samples · C_jj·G_ii), of a layer that is used several times the root of the sum of squares; ``None``
        without gradients. With a row per sample, it is √(C_jj·G_ii).
    """

    norms: dict[str, Array]
    costs: dict[str, Array] | None


def scoring(graph: Graph, found: Sequence[Prunable], layers: Mapping[str, LayerSketch], samples: int) -> Scoring:
    """Return what is known of weights; those of layers that the sketch is not of are left out.

    Parameters
    ----------
    graph
        The network.
    found
        Its weights.
    layers
        Of the sketch, by key.
    samples
        How many it is of.
    """
    norms, costs = dict[str, Array](), dict[str, Array]()
    gradients = all(layer.squares is not None for layer in layers.values())
    for p in found:
        if any(key not in layers for key in p.readers):
            continue
        squares, cost = np.zeros(()), np.zeros(())
        for key in p.readers:
            layer, node = layers[key], graph[key]
            layout = Layout.of(node, 2 if p.is_bias else 1, p.param.shape)
            met = np.ones(()) if p.is_bias else spread(layer.mean_squares(), node, layout, p)
            squares = squares + layer.rows * met
            sizes = layer.gradient_squares()
            if sizes is not None:
                if node.op == "ConvTranspose" and not p.is_bias:  # of all it writes, a weight meets one per stride
                    sizes = sizes / prod(map(int, node.attrs["strides"]))  # type: ignore[arg-type]  # ints
                cost = cost + layer.rows / max(samples, 1) * met * _of_outputs(sizes, node, layout, p)
        norms[p.name] = np.broadcast_to(np.sqrt(squares), p.param.shape)
        costs[p.name] = np.broadcast_to(np.sqrt(cost), p.param.shape)
    return Scoring(norms, costs if gradients else None)


def _of_outputs(sizes: Array, node: Node, layout: Layout, p: Prunable) -> Array:
    """Numbers per output as numbers per weight, or per element of a bias."""
    if p.is_bias and node.op == "KSLinear":  # rows of its weights and features are in other orders
        a, b, _, d = map(int, node.attrs["pattern"])  # type: ignore[arg-type]  # four numbers
        sizes = sizes.reshape(a, d, b).transpose(0, 2, 1)
    if p.is_bias:
        return sizes.reshape(p.param.shape)
    rows, taps, inputs = layout.extents
    return layout.weights(np.broadcast_to(sizes[:, None, None], (rows, taps, inputs)), p.param.shape)
