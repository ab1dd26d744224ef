"""Merge linears: layers with nothing in between are one layer, whose weights are the product of theirs.

For q ≤ 1, |Σ w₂·w₁|^q ≤ Σ |w₂|^q·|w₁|^q entry by entry, so that no path-norm rises; for q > 1 it may.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPE_NAMES, Array
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.layers import LAYER_OPS, Layer, read_layer, write_layer
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site, may_rewrite


@dataclass(frozen=True, eq=False)
class _Chain:
    """Nodes in a row, and the layer they are; ``None`` for one node that is no layer with constant weights."""

    parts: tuple[str, ...]
    layer: Layer | None


@dataclass(frozen=True)
class MergeLinears(Transform):
    """Merge Gemm with Gemm and Conv with 1×1 Conv, where the product is no larger than both together.

    Parameters
    ----------
    growth
        How many times the weights of two layers the merged one may have.
    """

    name: ClassVar[str] = "merge-linears"
    effect: ClassVar[Effect] = Effect.LOWERS_TO_ONE

    growth: float = 1.0

    def run(self, graph: Graph) -> Rewritten:
        """Merge layers, each into the one that alone reads it; a chain is rounded once, at its end.

        Parameters
        ----------
        graph
            Any graph; layers whose parameters a caller may replace stay.
        """
        chains: dict[str, _Chain] = {}
        skipped: dict[str, str] = {}
        for key in graph.order:
            while (previous := _previous(graph, chains[key].parts[0] if key in chains else key)) is not None:
                first, second = (chains.get(k) or _Chain((k,), read_layer(graph, k)) for k in (previous, key))
                layer = _product(first.layer, second.layer, self.growth)
                if not may_rewrite(graph[key].names[0]):
                    break
                if isinstance(layer, str):
                    skipped[key] = layer and f"{graph[previous].label!r} and {graph[key].label!r} stay two: {layer}"
                    break
                chains.pop(previous, None)
                skipped.pop(previous, None)  # it is tried again, as a part of what it is in now
                chains[key] = _Chain(first.parts + second.parts, layer)
        witness = RewriteWitness(
            "chains of linear layers merged",
            tuple(_site(graph, chain.parts) for chain in chains.values()),
            tuple(filter(None, skipped.values())),
        )
        if not chains:
            return Rewritten(graph, witness)
        builder = graph.edit()
        for key, chain in chains.items():
            x = graph.inputs_of(chain.parts[0])[0]
            assert x is not None
            assert chain.layer is not None
            write_layer(builder, graph, key, chain.layer, x, (key, *chain.parts[:-1]))
        return Rewritten(builder.finish(), witness)


def _previous(graph: Graph, key: str) -> str | None:
    """The layer that a layer reads, and alone reads."""
    x = graph.inputs_of(key)[0] if graph[key].op in LAYER_OPS else None
    return x.node if x is not None and graph[x.node].op in LAYER_OPS and is_read_once(graph, x) else None


def _site(graph: Graph, parts: tuple[str, ...]) -> Site:
    x = graph.inputs_of(parts[0])[0]
    assert x is not None
    return Site(graph[parts[-1]].names[0], (graph.name_of(x),), " + ".join(graph[part].label for part in parts))


def _product(a: Layer | None, b: Layer | None, growth: float) -> Layer | str:
    """Return `b` after `a` as one layer, or why not; no reason where they do not look alike."""
    if a is None or b is None or len(a.strides) != len(b.strides):
        return ""
    if _is_pointwise(b):
        kernel, strides = a.kernel, tuple(s * t for s, t in zip(a.strides, b.strides, strict=True))
        pads, dilations = a.pads, a.dilations
    elif _is_pointwise(a) and set(a.strides) == {1}:
        kernel, strides, pads, dilations = b.kernel, b.strides, b.pads, b.dilations
        if any(pads) and a.bias is not None and a.bias.any():
            return "the bias of the first is not in the padding of the second"
    else:
        return "neither kernel is 1×1 without stride and padding"
    groups, (inside, _), (_, out) = gcd(a.groups, b.groups), a.channels, b.channels
    size, sizes = inside // groups * out * int(np.prod(kernel)), a.weight.size + b.weight.size
    if not size <= growth * sizes:
        return f"{size} weights instead of {sizes}"
    left, right = _blocks(b, groups), _blocks(a, groups)
    with np.errstate(all="ignore"):  # what is not finite is not stored
        weight = np.moveaxis(left @ right, 1, -1).reshape(out, inside // groups, *kernel)
        bias = b.bias
        if a.bias is not None:
            bias = (left.sum(1) @ a.bias.reshape(groups, -1, 1)).reshape(-1) + (0.0 if b.bias is None else b.bias)
    layer = dataclasses.replace(
        b, weight=weight, bias=bias, strides=strides, pads=pads, dilations=dilations, groups=groups
    )
    return layer if layer.stored() else f"the product does not fit {DTYPE_NAMES[b.dtype]}"


def _is_pointwise(layer: Layer) -> bool:
    return set(layer.kernel) <= {1} and not any(layer.pads)


def _blocks(layer: Layer, groups: int) -> Array:
    """The weights as matrices, ``(groups, positions, out/groups, in/groups)``."""
    weight = layer.grouped(groups).weight
    blocks = weight.reshape(groups, len(weight) // groups, weight.shape[1], int(np.prod(layer.kernel)))
    return np.moveaxis(blocks, -1, 1)
