"""Signatures of dense layers: those of one signature take equally long, and are measured together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph, Node, Value
from pathlift.passes.layers.dense import DenseLayer
from pathlift.passes.layers.edits import is_read_once

if TYPE_CHECKING:
    import torch

    from pathlift.ir.types import Array

_FUSED = frozenset({"Relu", "Gelu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Clip", "Add"})
"""A choice of speed: what runtimes compute together with a product, or not with what stands for it."""


class Signature(NamedTuple):
    """What the time of a dense layer depends on.

    Parameters
    ----------
    op
        Gemm or Conv.
    rows, cols
        Of its matrix.
    bias
        Whether it has one.
    dtype
        Of its weights.
    fused
        The op that alone reads it, if runtimes fuse such; else empty.
    places
        Batch times positions: how many vectors it is applied to.
    """

    op: str
    rows: int
    cols: int
    bias: bool
    dtype: str
    fused: str
    places: int


def signatures(graph: Graph, layers: Sequence[DenseLayer], feeds: Mapping[str, Array]) -> list[Signature]:
    """Return the signature of each layer, as it runs on inputs.

    Parameters
    ----------
    graph
        That the layers are of.
    layers
        Dense ones.
    feeds
        Of the sizes that are timed.

    Raises
    ------
    ExecutionError
        If the graph fails on them.
    """
    places = _places(graph, layers, feeds)
    found = []
    for layer in layers:
        read, fused = layer.read(), _reader(graph, layer.key)
        rows, cols = read.weight.shape[:2]
        found.append(
            Signature(
                graph[layer.key].op, rows, cols, read.bias is not None, str(read.dtype),
                fused if fused in _FUSED else "", places[layer.key],
            )
        )  # fmt: skip
    return found


def _places(graph: Graph, layers: Sequence[DenseLayer], feeds: Mapping[str, Array]) -> dict[str, int]:
    import numpy as np
    import torch

    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric

    wanted = {layer.key: layer.axis for layer in layers}
    found = dict[str, int]()

    def observe(key: str, _: Node, inputs: tuple[torch.Tensor | None, ...], __: tuple[torch.Tensor, ...]) -> None:
        x: Any = inputs[0] if key in wanted else None
        if x is not None:
            found[key] = prod(x.shape) // x.shape[wanted[key]]

    algebra = Numeric(torch.float32)
    with running(), torch.inference_mode():
        run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in feeds.items()}, observe=observe)
    return found


def _reader(graph: Graph, key: str) -> str:
    """The op that alone reads a layer; empty if there are several, or the caller does."""
    if not is_read_once(graph, Value(key)):
        return ""
    (reader,) = {graph[user].op for user, _, _ in graph.users(key)}
    return reader
