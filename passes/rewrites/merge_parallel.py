"""Merge parallel layers: layers over one value whose results are added are one layer, of the sum of their weights.

For q ≤ 1, |Σ w|^q ≤ Σ |w|^q entry by entry, so that no path-norm rises; for q > 1 it may. Re-parameterized blocks
(RepVGG: Ding et al., arXiv 2101.03697) collapse: a small kernel is a large one with zeros around it, and the value
itself, or its channels times constants, is a 1×1 convolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import gcd, prod
from typing import ClassVar

import numpy as np

from pathlift.ir.algebras.traits import traits
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import DTYPE_NAMES, Array, Ints, TensorType
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.layers.diagonals import DIAGONAL_OPS as DIAGONALS
from pathlift.passes.layers.diagonals import read_diagonal
from pathlift.passes.layers.edits import is_read_once
from pathlift.passes.layers.layers import LAYER_OPS, Layer, read_layer, write_layer
from pathlift.passes.witness.rewritings import RewriteWitness
from pathlift.passes.witness.site import Site, may_rewrite


@dataclass(frozen=True)
class _Sum:
    """A sum of branches over one value.

    Parameters
    ----------
    x
        The value.
    branches
        Nodes that read it, or ``None`` for the value itself, each with its sign.
    adding
        The nodes that add and subtract.
    """

    x: Value
    branches: tuple[tuple[str | None, float], ...]
    adding: tuple[str, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """The branches but for the value itself."""
        return tuple(key for key, _ in self.branches if key is not None)


@dataclass(frozen=True)
class MergeParallel(Transform):
    """Merge layers over one value whose results are added, where their sum is no larger than all of them."""

    name: ClassVar[str] = "merge-parallel"
    effect: ClassVar[Effect] = Effect.LOWERS_TO_ONE

    def run(self, graph: Graph) -> Rewritten:
        """Merge all branches of a sum of sums; where that cannot be, those of the sums in it.

        Parameters
        ----------
        graph
            Any graph; layers whose parameters a caller may replace stay.
        """
        found: dict[str, tuple[_Sum, Layer]] = {}
        skipped: list[str] = []
        done: set[str] = set()
        for key in reversed(graph.order):
            addition = _sum(graph, key) if key not in done and traits(graph, key).coefficients else None
            layers = None if addition is None else _layers(graph, addition)
            if addition is None or layers is None:
                continue
            total = _total(layers)
            if not may_rewrite(graph[key].names[0]):
                continue
            if isinstance(total, str):
                skipped.append(f"the branches of {graph[key].label!r} stay apart: {total}")
            else:
                found[key] = addition, total
                done.update(addition.adding)
        sites = tuple(_site(graph, key, addition) for key, (addition, _) in reversed(found.items()))
        witness = RewriteWitness("sums of parallel layers merged", sites, tuple(reversed(skipped)))
        if not found:
            return Rewritten(graph, witness)
        builder = graph.edit()
        for key, (addition, total) in found.items():
            largest = max((k for k in addition.nodes if graph[k].op in LAYER_OPS), key=lambda k: _kernel_size(graph, k))
            parts = dict.fromkeys((largest, *addition.nodes, *addition.adding))
            write_layer(builder, graph, key, total, addition.x, tuple(parts))
        return Rewritten(builder.finish(), witness)


def _site(graph: Graph, key: str, addition: _Sum) -> Site:
    x = graph.name_of(addition.x)
    what = " + ".join(x if branch is None else graph[branch].label for branch, _ in addition.branches)
    return Site(graph[key].names[0], (x,), what)


def _kernel_size(graph: Graph, key: str) -> int:
    weight = graph.inputs_of(key)[1]
    param = None if weight is None else graph[weight.node].value
    return 0 if param is None else prod(param.shape[2:])


def _sum(graph: Graph, key: str) -> _Sum | None:
    """Return what a node adds, if it is layers over one value, read by it alone; sums in it are taken apart."""
    x: Value | None = None
    branches: list[tuple[str | None, float]] = []
    adding: list[str] = []
    frontier = [(Value(key), 1.0)]
    while frontier:
        value, sign = frontier.pop()
        node, once = graph[value.node], value.node == key or is_read_once(graph, value)
        coefficients = traits(graph, value.node).coefficients if once else ()
        if coefficients:
            adding.append(value.node)
            operands = zip(graph.inputs_of(value.node), coefficients, strict=True)
            frontier.extend((v, sign * c) for v, c in operands if v is not None)
            continue
        is_layer = once and node.op in LAYER_OPS | DIAGONALS
        source = graph.inputs_of(value.node)[0] if is_layer else value
        if source is None or x not in (None, source):
            return None
        x = source
        branches.append((value.node if is_layer else None, sign))
    return None if x is None else _Sum(x, tuple(reversed(branches)), tuple(adding))


def _layers(graph: Graph, addition: _Sum) -> tuple[Layer, ...] | None:
    """Return the branches as layers, signs included; ``None`` if there are fewer than two, or if one is none."""
    read = {key: read_layer(graph, key) for key in addition.nodes if graph[key].op in LAYER_OPS}
    like = next(iter(read.values()), None)
    if like is None or len(addition.branches) < 2:
        return None
    layers = []
    for key, sign in addition.branches:
        layer = _unit(like) if key is None else read[key] if key in read else _scaling(graph, key, like)
        if layer is None or len(layer.strides) != len(like.strides):
            return None
        bias = None if layer.bias is None else sign * layer.bias
        layers.append(dataclasses.replace(layer, weight=sign * layer.weight, bias=bias))
    return tuple(layers)


def _unit(like: Layer) -> Layer:
    """The layer that hands on what `like` reads: a 1×1 kernel for every channel."""
    channels, n = like.channels[0], len(like.strides)
    weight = np.ones((channels, 1, *[1] * n))
    return Layer(weight, None, like.dtype, (1,) * n, (0,) * 2 * n, (1,) * n, channels, like.trans_w)


def _scaling(graph: Graph, key: str, like: Layer) -> Layer | None:
    """A node that scales the channels of what `like` reads, as a layer."""
    unit, diagonal, x = _unit(like), read_diagonal(graph, key), graph.inputs_of(key)[0]
    type_ = None if x is None else graph.type_of(x)
    if diagonal is None or diagonal.slot or not isinstance(type_, TensorType) or type_.shape is None:
        return None
    if diagonal.axis not in (None, 1 if like.strides else len(type_.shape) - 1):
        return None
    scale, shift = (np.broadcast_to(v, (len(unit.weight),)) for v in (diagonal.scale, diagonal.shift))
    return dataclasses.replace(unit, weight=scale.reshape(unit.weight.shape), bias=shift if shift.any() else None)


def _total(layers: Sequence[Layer]) -> Layer | str:
    """Return the sum of layers, or why it is not taken."""
    if len({layer.channels for layer in layers}) > 1 or len({layer.strides for layer in layers}) > 1:
        return "they differ in channels or strides"
    axes = [_window(layers, axis) for axis in range(len(layers[0].strides))]
    windows = [w for w in axes if w is not None]
    if len(windows) < len(axes):
        return "their windows do not lie on one grid"
    kernel, begins, ends, dilations = (tuple(w[i] for w in windows) for i in range(4))
    groups, (inside, out) = reduce(gcd, (layer.groups for layer in layers)), layers[0].channels
    size, sizes = inside // groups * out * prod(kernel), sum(layer.weight.size for layer in layers)
    if size > sizes:
        return f"{size} weights instead of {sizes}"
    weight = np.zeros((out, inside // groups, *kernel))
    with np.errstate(all="ignore"):  # what is not finite is not stored
        for layer in layers:
            weight += _enlarged(layer.grouped(groups), kernel, begins, dilations)
        biases = [layer.bias for layer in layers if layer.bias is not None]
        bias = np.sum(biases, axis=0) if biases else None
    like = max(layers, key=lambda layer: prod(layer.kernel))
    total = dataclasses.replace(like, weight=weight, bias=bias, pads=begins + ends, dilations=dilations, groups=groups)
    return total if total.stored() else f"the sum does not fit {DTYPE_NAMES[like.dtype]}"


def _window(layers: Sequence[Layer], axis: int) -> tuple[int, int, int, int] | None:
    """Return kernel, pads at both ends and dilation of the smallest window that covers those of all layers.

    ``None`` if there is none that is aligned with them at both ends of the axis.
    """
    sizes = [layer.kernel[axis] for layer in layers]
    begins, ends = ([layer.pads[axis + i * len(layer.strides)] for layer in layers] for i in (0, 1))
    dilations = {layer.dilations[axis] for layer in layers if layer.kernel[axis] > 1} or {1}
    dilation, begin = max(dilations), max(begins)
    spare = {b + e - dilation * (k - 1) for b, e, k in zip(begins, ends, sizes, strict=True)}
    if len(dilations) > 1 or len(spare) > 1 or any((begin - b) % dilation for b in begins):
        return None
    reach = begin + max(dilation * (k - 1) - b for b, k in zip(begins, sizes, strict=True))
    return reach // dilation + 1, begin, spare.pop() + reach - begin, dilation


def _enlarged(layer: Layer, kernel: Ints, begins: Ints, dilations: Ints) -> Array:
    """The weights in a larger kernel, zero elsewhere."""
    before = [(b - p) // d for b, p, d in zip(begins, layer.pads[: len(kernel)], dilations, strict=True)]
    after = [n - k - b for n, k, b in zip(kernel, layer.kernel, before, strict=True)]
    return np.pad(layer.weight, [(0, 0), (0, 0), *zip(before, after, strict=True)])
