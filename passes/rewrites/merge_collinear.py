"""Merge collinear neurons: where one's weights and bias are c > 0 times another's, so is what it computes.

Behind positively homogeneous activations and pools the other one stands for both, with outgoing weights v₁ + c·v₂. For
q ≤ 1, |v₁ + c·v₂|^q·‖w‖ ≤ |v₁|^q·‖w‖ + |v₂|^q·‖c·w‖ with ‖w‖ = Σ |w|^q, so that no path-norm rises; for q > 1 it may.
A neuron without incoming weights and bias, or without outgoing weights, is on no path.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPE_NAMES, Array
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.layer_pairs import LayerPair, layer_pairs
from pathlift.passes.layers.layers import Layer, read_layer, write_layer
from pathlift.passes.layers.weights import epsilon, rounded
from pathlift.passes.rewrites.multiples import positive_multiples
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site, may_rewrite


@dataclass(frozen=True)
class MergeCollinear(Transform):
    """Merge neurons whose weights are positive multiples of another's, and drop those on no path."""

    name: ClassVar[str] = "merge-collinear"
    effect: ClassVar[Effect] = Effect.LOWERS_TO_ONE

    def run(self, graph: Graph) -> Rewritten:
        """Narrow layers until none can be narrowed; a layer keeps one neuron at least.

        Parameters
        ----------
        graph
            Any graph; layers whose parameters a caller may replace stay. Multiples are exact up to two roundings of
            either neuron's weights.
        """
        run = _Narrowing(graph)
        run.until_stable()
        witness = RewriteWitness("runs of layers narrowed", run.sites(), tuple(filter(None, run.skipped.values())))
        if not run.layers:
            return Rewritten(graph, witness)
        builder = graph.edit()
        for key, layer in run.layers.items():
            x = graph.inputs_of(key)[0]
            assert x is not None
            write_layer(builder, graph, key, layer, x, (key,))
        for pair in run.narrowed:
            pair.narrow(builder, len(run.layers[pair.first].weight))
        return Rewritten(builder.finish(), witness)


class _Narrowing:
    """The layers of a graph that became narrower, those whose neurons went and those that read these."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.pairs = graph, list(layer_pairs(graph))
        self.layers: dict[str, Layer] = {}
        self.narrowed: set[LayerPair] = set()
        self.skipped: dict[LayerPair, str] = {}

    def until_stable(self) -> None:
        """Narrow layers; where one is, those before and behind are looked at again."""
        reads, read_by = {p.second: p for p in self.pairs}, {p.first: p for p in self.pairs}
        waiting = deque(self.pairs)
        while waiting:
            pair = waiting.popleft()
            if self._narrow(pair):
                self.narrowed.add(pair)
                waiting.extend(p for p in (reads.get(pair.first), read_by.get(pair.second)) if p is not None)

    def _narrow(self, pair: LayerPair) -> bool:
        first, second = (self.layers.get(k) or read_layer(self.graph, k) for k in (pair.first, pair.second))
        if first is None or second is None or first.groups > 1 or second.groups > 1:
            return False
        bias = np.zeros(len(first.weight)) if first.bias is None else first.bias
        incoming = np.column_stack([first.weight.reshape(len(bias), -1), bias])
        outgoing = second.weight.reshape(len(second.weight), len(bias), -1).copy()
        if not np.isfinite(incoming).all() or not np.isfinite(outgoing).all():
            return False
        multiples = positive_multiples(incoming, 2 * epsilon(first.dtype))
        gone, left = _merge(incoming, outgoing, multiples, second.dtype)
        label, dtype = self.graph[pair.first].label, DTYPE_NAMES[second.dtype]
        reason = f"{left} collinear neurons of {label!r} stay: their outgoing weights cancel, or do not fit {dtype}"
        self.skipped[pair] = reason if left else ""
        gone |= ~incoming.any(1) | ~outgoing.any((0, 2))
        kept = np.flatnonzero(~gone) if not gone.all() else np.array([0])
        if len(kept) == len(bias) or not may_rewrite(self.graph[pair.second].names[0]):
            return False
        weight = outgoing[:, kept].reshape(len(second.weight), -1, *second.kernel)
        self.layers[pair.second] = dataclasses.replace(second, weight=weight)
        self.layers[pair.first] = dataclasses.replace(
            first, weight=first.weight[kept], bias=None if first.bias is None else bias[kept]
        )
        return True

    def sites(self) -> tuple[Site, ...]:
        """Return one site for layers in a row: values on the way have other shapes than they had."""
        begins: dict[str, tuple[str, ...]] = {}
        for pair in self.pairs:
            if pair in self.narrowed:
                begins[pair.second] = (*begins.pop(pair.first, (pair.first,)), pair.second)
        return tuple(self._site(keys) for keys in begins.values())

    def _site(self, keys: Sequence[str]) -> Site:
        x = self.graph.inputs_of(keys[0])[0]
        assert x is not None
        what = ", ".join(self.graph[key].label for key in keys)
        return Site(self.graph[keys[-1]].names[0], (self.graph.name_of(x),), what)


def _merge(
    incoming: Array, outgoing: Array, multiples: Mapping[int, tuple[int, float]], dtype: np.dtype[Any]
) -> tuple[Array, int]:
    """Let neurons stand for their multiples, in `outgoing`; return which are gone, and how many had to stay."""
    groups: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for j, (i, factor) in multiples.items():
        groups[i].append((j, factor))
    gone, left = np.zeros(len(incoming), dtype=bool), 0
    for i, members in groups.items():
        others = [j for j, _ in members]
        factors = np.array([factor for _, factor in members])
        moved = factors[:, None] * outgoing[:, others]
        total = outgoing[:, i] + moved.sum(1)
        stored = rounded(total, dtype)
        exact = np.array_equal(incoming[others], factors[:, None] * incoming[i])
        # What multiples that are not exact leave, when it cancels, is not what their sum leaves.
        if stored is None or (not exact and np.abs(total).max() < np.abs(moved).max() / 2):
            left += len(others)
            continue
        outgoing[:, i], gone[others] = stored.astype(np.float64), True
    return gone, left
