"""Gates and pools."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Array, Ints
from pathlift.testing.unroll.linear import reduced
from pathlift.testing.unroll.net import Net, Signal
from pathlift.testing.unroll.windows import window_counts, windows_of


def _gate(net: Net, x: Signal, left: Array | float, right: float = 1.0) -> Signal:
    """Activations that are linear on both sides of 0, with these slopes."""
    y, slopes = net.total(x, kind="gate"), np.broadcast_to(np.asarray(left, dtype=object), x.shape)
    return net.annotate(y, "slopes", lambda i: (slopes[i], right))


def _clip(net: Net, x: Signal, *, low: float = -inf, high: float = inf) -> Signal:
    if low not in (0.0, -inf) or high not in (0.0, inf):
        raise UnsupportedError("0302", "the oracle knows gates that are linear on both sides of 0 only")
    return _gate(net, x, 0.0 if low == 0 else 1.0, 0.0 if high == 0 else 1.0)


def _max_pool(net: Net, x: Signal, *, kernel: Ints, **window: Any) -> Signal:
    spatial = x.shape[2:]
    y = net.create((*x.shape[:2], *window_counts(spatial, kernel, **({"ceil_mode": False} | window))), "pool")
    for place, inside, _ in windows_of(spatial, kernel, **window):
        for lead in np.ndindex(*x.shape[:2]):
            for at in inside:
                net.edge(x, (*lead, *at), y, (*lead, *place))
    return net.annotate(y, "rank", lambda i: 0)


def _extremum(net: Net, x: Signal, axes: Ints, keepdims: bool, largest: bool) -> Signal:
    return net.annotate(reduced(net, x, axes, keepdims, "pool"), "rank", lambda i: 0 if largest else -1)


def _elementwise_extremum(net: Net, *xs: Signal, largest: bool) -> Signal:
    return net.annotate(net.total(*xs, kind="pool"), "rank", lambda i: 0 if largest else -1)


def _top_k(net: Net, x: Signal, *, axis: int = -1, k: int, largest: bool = True) -> Signal:
    axis %= len(x.shape)
    y = net.create((*x.shape[:axis], k, *x.shape[axis + 1 :]), "pool")
    for j in np.ndindex(*y.shape):
        for p in range(x.shape[axis]):
            net.edge(x, (*j[:axis], p, *j[axis + 1 :]), y, j)
    return net.annotate(y, "rank", lambda j: j[axis] if largest else -1 - j[axis])


RULES: dict[str, Callable[..., Any]] = {
    "Relu": lambda net, x: _gate(net, x, 0.0),
    "LeakyRelu": lambda net, x, *, alpha=0.01: _gate(net, x, alpha),
    "PRelu": lambda net, x, slope: _gate(net, x, net.weights(slope)),
    "Abs": lambda net, x: _gate(net, x, -1.0),
    "Clip": _clip,
    "MaxPool": _max_pool,
    "ReduceMax": lambda net, x, *, axes=(), keepdims=True: _extremum(net, x, axes, keepdims, largest=True),
    "ReduceMin": lambda net, x, *, axes=(), keepdims=True: _extremum(net, x, axes, keepdims, largest=False),
    "Max": lambda net, *xs: _elementwise_extremum(net, *xs, largest=True),
    "Min": lambda net, *xs: _elementwise_extremum(net, *xs, largest=False),
    "TopK": _top_k,
}
