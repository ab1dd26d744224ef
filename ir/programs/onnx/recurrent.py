"""Recurrent networks, one step after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.primitives.views import Concat, Slice, Squeeze, Take, Unsqueeze
from pathlift.ir.programs.gates import RELU, SIGMOID, TANH
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import minus, times, within

GATES = {"Sigmoid": SIGMOID, "Tanh": TANH, "Relu": RELU}


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
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[T, ...]:
    """Long short-term memory with the usual activations, in one direction or both."""
    if lengths is not None or peepholes is not None or input_forget or layout:
        raise UnsupportedError(
            "0304", "a recurrent network with lengths, peepholes, coupled gates or a layout of its own"
        )
    _check(activations, ("Sigmoid", "Tanh", "Tanh"))

    def step(x: T, state: Sequence[T | None], w: T, r: T, b: T | None) -> list[T]:
        h, c = state
        gates = _sum(alg, [_product(alg, x, w), _product(alg, h, r), *_biases(alg, b, 4 * hidden_size)])
        i, o, f, g = (_part(alg, gates, k, hidden_size) for k in range(4))
        new = times(alg, alg.gate(i, SIGMOID), alg.gate(g, TANH))
        c = new if c is None else alg.add(times(alg, alg.gate(f, SIGMOID), c), new)
        return [times(alg, alg.gate(o, SIGMOID), alg.gate(c, TANH)), c]

    return _unrolled(alg, x, (w, r, b), (hidden, cell), direction, step)


@program("GRU")
def gru(
    alg: Algebra[T],
    x: T,
    w: T,
    r: T,
    b: T | None = None,
    lengths: T | None = None,
    hidden: T | None = None,
    *,
    hidden_size: int,
    direction: str = "forward",
    activations: Sequence[bytes] = (),
    linear_before_reset: int = 0,
    layout: int = 0,
) -> tuple[T, ...]:
    """Gated recurrent units with the usual activations, in one direction or both."""
    if lengths is not None or layout:
        raise UnsupportedError("0304", "a recurrent network with lengths or a layout of its own")
    _check(activations, ("Sigmoid", "Tanh"))
    size = hidden_size

    def step(x: T, state: Sequence[T | None], w: T, r: T, b: T | None) -> list[T]:
        (h,) = state
        ours, theirs = ([_part(alg, p, k, size, axis=0) for k in range(3)] for p in (w, r))
        biases = _biases(alg, b, 3 * size) or [None, None]

        def bias(side: int, k: int) -> T | None:
            vector = biases[side]
            return None if vector is None else _part(alg, vector, k, size)

        def linear(k: int, h: T | None) -> T:
            return _sum(alg, [_product(alg, x, ours[k]), _product(alg, h, theirs[k]), bias(0, k), bias(1, k)])

        update, reset = (alg.gate(linear(k, h), SIGMOID) for k in range(2))
        if linear_before_reset:
            past = [_product(alg, h, theirs[2]), bias(1, 2)]
            kept = None if past == [None, None] else times(alg, reset, _sum(alg, past))
            new = _sum(alg, [_product(alg, x, ours[2]), bias(0, 2), kept])
        else:
            new = linear(2, None if h is None else times(alg, reset, h))
        new = alg.gate(new, TANH)
        if h is None:
            return [minus(alg, new, times(alg, update, new))]
        mixed = alg.add(new, times(alg, update, minus(alg, h, new)))
        return [mixed if hidden is not None else within(alg, mixed, -1.0, 1.0)]  # a mean of tangents and of 0

    return _unrolled(alg, x, (w, r, b), (hidden,), direction, step)


@program("RNN")
def rnn(
    alg: Algebra[T],
    x: T,
    w: T,
    r: T,
    b: T | None = None,
    lengths: T | None = None,
    hidden: T | None = None,
    *,
    hidden_size: int,
    direction: str = "forward",
    activations: Sequence[bytes] = (),
    layout: int = 0,
) -> tuple[T, ...]:
    """Elman's recurrent network, in one direction or both."""
    if lengths is not None or layout:
        raise UnsupportedError("0304", "a recurrent network with lengths or a layout of its own")
    names = {a.decode() for a in activations} or {"Tanh"}
    if len(names) > 1 or not names <= set(GATES):
        raise UnsupportedError("0304", "a recurrent network with activations of its own")
    f = GATES[names.pop()]

    def step(x: T, state: Sequence[T | None], w: T, r: T, b: T | None) -> list[T]:
        terms = [_product(alg, x, w), _product(alg, state[0], r), *_biases(alg, b, hidden_size)]
        return [alg.gate(_sum(alg, terms), f)]

    return _unrolled(alg, x, (w, r, b), (hidden,), direction, step)


def _unrolled(
    alg: Algebra[T],
    x: T,
    parameters: Sequence[T | None],
    start: Sequence[T | None],
    direction: str,
    step: Callable[..., list[T]],
) -> tuple[T, ...]:
    """All hidden states, and each part of the last state, of ``step(x, state, *parameters)`` along the sequence."""
    steps = alg.extents(x)[0]
    if not steps:
        raise UnsupportedError("0304", "a recurrent network of no steps")
    ways = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[direction]
    inputs = [_one(alg, x, 0, t) for t in range(steps)]
    outputs, last = [], []
    for d, way in enumerate(ways):
        sides, state = ([None if p is None else _one(alg, p, 0, d) for p in ps] for ps in (parameters, start))
        states: list[T] = []
        for x_t in inputs[::way]:
            state = list(step(x_t, state, *sides))
            states.append(state[0])  # type: ignore[arg-type]
        outputs.append(states[::way])
        last.append(state)
    rows = [_stacked(alg, [side[t] for side in outputs], 0) for t in range(steps)]
    ends = [_stacked(alg, [state[i] for state in last], 0) for i in range(len(start))]  # type: ignore[misc]
    return _stacked(alg, rows, 0), *ends


def _check(activations: Sequence[bytes], usual: tuple[str, ...]) -> None:
    if any(a.decode() != name for a, name in zip(activations, usual * 2, strict=False)):
        raise UnsupportedError("0304", "a recurrent network with activations of its own")


def _product(alg: Algebra[T], x: T | None, w: T) -> T | None:
    return None if x is None else alg.linear(Contract("...i,oi->...o"), x, w)


def _sum(alg: Algebra[T], terms: Sequence[T | None]) -> T:
    first, *rest = [t for t in terms if t is not None]
    for term in rest:
        first = alg.add(first, term)
    return first


def _biases(alg: Algebra[T], b: T | None, size: int) -> list[T | None]:
    """Of inputs, and of hidden states."""
    return [] if b is None else [_part(alg, b, k, size) for k in range(2)]


def _part(alg: Algebra[T], x: T, k: int, size: int, axis: int = -1) -> T:
    return alg.move((x,), Slice((axis,), (k * size,), ((k + 1) * size,), (1,)))


def _one(alg: Algebra[T], x: T, axis: int, index: int) -> T:
    return alg.move((alg.move((x,), Take(axis, (index,))),), Squeeze((axis,)))


def _stacked(alg: Algebra[T], xs: Sequence[T], axis: int) -> T:
    return alg.move([alg.move((x,), Unsqueeze((axis,))) for x in xs], Concat(axis))
