"""Recurrent networks, one step after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.views import Concat, Slice, Squeeze, Take, Unsqueeze
from pathlift.ir.programs.gates import SIGMOID, TANH
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import constant, times


@program("LSTM")
def lstm(
    alg: Algebra[T],
    x: T,
    w: T,
    r: T,
    b: T | None = None,
    lengths: T | None = None,
    hidden: T | None = None,
    cell: T | None = None,
    peepholes: T | None = None,
    *,
    hidden_size: int,
    direction: str = "forward",
    activations: Sequence[bytes] = (),
    layout: int = 0,
) -> tuple[T, T, T]:
    """Long short-term memory with the usual activations, in one direction or both."""
    if lengths is not None or peepholes is not None or layout:
        raise UnsupportedError("0304", "a recurrent network with lengths, peepholes or a layout of its own")
    if any(a.decode() != usual for a, usual in zip(activations, ("Sigmoid", "Tanh", "Tanh") * 2, strict=False)):
        raise UnsupportedError("0304", "a recurrent network with activations of its own")
    steps, batch = alg.extents(x)[:2]
    ways = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[direction]
    inputs = [_one(alg, x, 0, t) for t in range(steps)]
    results = []
    for d, way in enumerate(ways):
        sides = [None if p is None else _one(alg, p, 0, d) for p in (w, r, b, hidden, cell)]
        results.append(_direction(alg, inputs[::way], sides, hidden_size, batch))
    outputs = [h[::way] for (h, _), way in zip(results, ways, strict=True)]
    rows = [_stacked(alg, [side[t] for side in outputs], 0) for t in range(steps)]
    hidden_last = _stacked(alg, [states[-1] for states, _ in results], 0)
    return _stacked(alg, rows, 0), hidden_last, _stacked(alg, [c for _, c in results], 0)


def _direction(
    alg: Algebra[T], inputs: Sequence[T], sides: Sequence[T | None], size: int, batch: int
) -> tuple[list[T], T]:
    """Hidden states in order, and the last cell."""
    w, r, b, h, c = sides
    assert w is not None
    assert r is not None
    states: list[T] = []
    for x in inputs:
        gates = alg.linear(Contract("...i,oi->...o"), x, w)
        if h is not None or states:
            gates = alg.add(gates, alg.linear(Contract("...i,oi->...o"), h, r))  # type: ignore[arg-type]  # a state, from the first step on
        if b is not None:
            for start in (0, 4 * size):
                gates = alg.add(gates, alg.move((b,), Slice((0,), (start,), (start + 4 * size,), (1,))))
        i, o, f, g = (alg.move((gates,), Slice((-1,), (k * size,), ((k + 1) * size,), (1,))) for k in range(4))
        new = times(alg, alg.gate(i, SIGMOID), alg.gate(g, TANH))
        c = new if c is None else alg.add(times(alg, alg.gate(f, SIGMOID), c), new)
        h = times(alg, alg.gate(o, SIGMOID), alg.gate(c, TANH))
        states.append(h)
    return states, constant(alg, np.zeros((batch, size))) if c is None else c


def _one(alg: Algebra[T], x: T, axis: int, index: int) -> T:
    return alg.move((alg.move((x,), Take(axis, (index,))),), Squeeze((axis,)))


def _stacked(alg: Algebra[T], xs: Sequence[T], axis: int) -> T:
    return alg.move([alg.move((x,), Unsqueeze((axis,))) for x in xs], Concat(axis))
