"""How each op unrolls into scalar neurons: loops and numpy index arrays, for `pathlift.testing.oracle`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, floor, inf, prod
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Array
from pathlift.testing.unroll.linear import (
    average_pool,
    batch_normalization,
    conv,
    conv_transpose,
    einsum,
    gemm,
    reduced,
    resize,
    scaled,
)
from pathlift.testing.unroll.net import Net, Signal
from pathlift.testing.unroll.selections import clip, elementwise_extremum, extremum, gate, max_pool, top_k
from pathlift.testing.unroll.structure import concat, flattened, pad, reshaped, sliced, split, view

__all__ = ["RULES", "Net", "Signal"]

RULES: dict[str, Callable[..., Any]] = {
    "Gemm": gemm,
    "Einsum": einsum,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "BatchNormalization": batch_normalization,
    "Add": Net.total,
    "Sum": Net.total,
    "Sub": lambda net, x, y: net.total(x, scaled(net, y, -1.0)),
    "Neg": lambda net, x: scaled(net, x, -1.0),
    "Mul": lambda net, x, c: scaled(net, x, net.weights(c)),
    "Div": lambda net, x, c: scaled(net, x, 1 / net.weights(c)),
    "AveragePool": average_pool,
    "ReduceMean": lambda net, x, *, axes=(), keepdims=True: reduced(net, x, axes, keepdims, mean=True),
    "ReduceSum": lambda net, x, *, axes=(), keepdims=True: reduced(net, x, axes, keepdims),
    "Resize": resize,
    "Relu": lambda net, x: gate(net, x, 0.0),
    "LeakyRelu": lambda net, x, *, alpha=0.01: gate(net, x, alpha),
    "PRelu": lambda net, x, slope: gate(net, x, net.weights(slope)),
    "Abs": lambda net, x: gate(net, x, -1.0),
    "Clip": clip,
    "MaxPool": max_pool,
    "ReduceMax": lambda net, x, *, axes=(), keepdims=True: extremum(net, x, axes, keepdims, largest=True),
    "ReduceMin": lambda net, x, *, axes=(), keepdims=True: extremum(net, x, axes, keepdims, largest=False),
    "Max": lambda net, *xs: elementwise_extremum(net, *xs, largest=True),
    "Min": lambda net, *xs: elementwise_extremum(net, *xs, largest=False),
    "TopK": top_k,
    "Identity": lambda net, x: x,
    "Cast": lambda net, x, *, to: x,
    "Reshape": view(reshaped),
    "Flatten": view(lambda a, axis=1: flattened(a, axis)),
    "Transpose": view(lambda a, perm: a.transpose(perm)),
    "Squeeze": view(lambda a, axes: np.squeeze(a, axes)),
    "Unsqueeze": view(lambda a, axes: np.expand_dims(a, axes)),
    "Slice": view(sliced),
    "Gather": view(lambda a, axis=0, indices=(): a.take(indices, axis)),
    "Split": split,
    "Concat": concat,
    "Pad": pad,
    "Expand": view(lambda a, shape: np.broadcast_to(a, np.broadcast_shapes(a.shape, shape))),
    "Tile": view(lambda a, repeats: np.tile(a, repeats)),
}
