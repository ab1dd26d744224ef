"""Kronecker-sparse maps, edge by edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Ints
from pathlift.testing.unroll.net import Net, Signal
from pathlift.testing.unroll.selections import RULES as ACTIVATIONS


def _ks_linear(
    net: Net,
    x: Signal,
    w: Signal,
    b: Signal | None = None,
    residual: Signal | None = None,
    *,
    pattern: Ints,
    feature_major: bool = False,
    activation: str = "",
) -> Signal:
    if activation and activation not in ACTIVATIONS:
        raise UnsupportedError("0302", f"{activation} has no neurons")
    weights, (blocks, rows, cols, stride) = net.weights(w), pattern
    if feature_major:
        x = x.view(np.transpose)
        residual = None if residual is None else residual.view(np.transpose)
    y = net.create((*x.shape[:-1], blocks * rows * stride))
    for *lead, i, m, p, k in np.ndindex(*x.shape[:-1], blocks, stride, rows, cols):
        source, target = (i * cols + k) * stride + m, (i * rows + p) * stride + m
        net.edge(x, (*lead, source), y, (*lead, target), weights[i, m, p, k])
    if b is not None:
        for at in np.ndindex(*y.shape):
            net.graph.add_edge(net.ONE, int(y.ids[at]), weight=net.weights(b)[at[-1]])
    if residual is not None:
        for at in np.ndindex(*y.shape):
            net.edge(residual, at, y, at)
    if activation:
        y = ACTIVATIONS[activation](net, y)
    return y.view(np.transpose) if feature_major else y


RULES: dict[str, Callable[..., Any]] = {"KSLinear": _ks_linear}
