"""Backward substitution: exact where it can be, rounded down where it cannot, and sound on random networks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import pair_intervals
from pathlift.passes.relaxations.backward import Backward
from pathlift.passes.relaxations.tighten import tighten
from pathlift.passes.relaxations.tournament import unfolded
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.tape import Tape
from pathlift.testing.carried import TABLE, carried, pair_of
from pathlift.testing.perturbations import CHANGES, perturbed
from pathlift.testing.strategies import graphs

Tensor = torch.Tensor


def chain(weights: list[np.ndarray], biases: list[np.ndarray], *, gate: str | None = None) -> Tape:
    b = Builder()
    x = b.input("x", (1, weights[0].shape[0]), "f64")
    for k, (w, c) in enumerate(zip(weights, biases, strict=True)):
        x = b.op("Gemm", x, b.param(w), b.param(c))
        if gate and k < len(weights) - 1:
            x = b.op(gate, x)
    return record(b.finish(x), {"x": (1, weights[0].shape[0])})


def exact(weights: list[np.ndarray], biases: list[np.ndarray], x: np.ndarray) -> list[Fraction]:
    v = [Fraction(float(e)) for e in x]
    for w, c in zip(weights, biases, strict=True):
        v = [
            sum((v[i] * Fraction(float(w[i, o])) for i in range(len(v))), Fraction(float(c[o])))
            for o in range(w.shape[1])
        ]
    return v


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_bounds_are_rounded_down_where_sums_cancel(seed: int, biased: bool) -> None:
    # Products of 1e9 leave sums of about 1: the last digits of whatever is computed are wrong.
    rng = np.random.default_rng(seed)
    w = [rng.normal(size=(6, 8)), rng.normal(size=(8, 3))]
    w[0][:, 4:] = -w[0][:, :4] * (1 + 1e-12 * rng.normal(size=(6, 4)))
    w[1][4:] = w[1][:4] * (1 + 1e-12 * rng.normal(size=(4, 3)))
    w[0] *= 1e9
    c = [1e9 * rng.normal(size=8), rng.normal(size=3)]
    c[0][4:] = -c[0][:4]
    if not biased:  # their own roundings would cover the others
        c = [0 * x for x in c]
    v = [w[0] * (1 + 1e-3 * np.tile(rng.normal(size=(6, 4)), 2)), w[1]]
    x = rng.normal(size=6)
    first, second = chain(w, c), chain(v, c)
    domain = [Box.point(torch.from_numpy(x)[None])]
    triples = pair_intervals(first, second, domain)
    rows = torch.tensor([[[1.0, 0, 0]], [[-1.0, 0, 0]], [[0.3, -0.7, 1.1]], [[-0.3, 0.7, -1.1]]], dtype=torch.float64)
    out = first.outputs[next(iter(first.outputs))]
    a, b = exact(w, c, x), exact(v, c, x)
    alone = Backward(first, None, triples).lower({out: (rows, None)})
    both = Backward(first, second, triples).lower({out: (torch.zeros_like(rows), rows)})
    for r, one, two in zip(rows, alone, both, strict=True):
        row = [Fraction(float(e)) for e in r[0]]
        value = sum((p * q for p, q in zip(row, a, strict=True)), Fraction(0))
        gain = sum((p * (q - s) for p, q, s in zip(row, b, a, strict=True)), Fraction(0))
        assert Fraction(float(one)) <= value <= Fraction(float(one)) + Fraction(1, 10**3)
        assert Fraction(float(two)) <= gain <= Fraction(float(two)) + Fraction(1, 10**3)


def test_errors_of_coefficients_and_of_shifts_count() -> None:
    # A BatchNormalization's factors are computed, and known up to their roundings; 1/3 is none of float64's numbers.
    b = Builder()
    x = b.input("x", (1, 2), "f64")
    y = b.op("Div", x, b.param(np.array([3.0, 7.0])))
    tape = record(b.finish(y), {"x": (1, 2)})
    point = torch.tensor([[1e6, 3e6]], dtype=torch.float64)
    triples = pair_intervals(tape, tape, [Box.point(point)])
    for sign in (1.0, -1.0):
        row = sign * torch.ones(1, 1, 2).double()
        found = Backward(tape, None, triples).lower({tape.outputs[next(iter(tape.outputs))]: (row, None)})
        value = int(sign) * (Fraction(10**6, 3) + Fraction(3 * 10**6, 7))
        assert Fraction(float(found)) <= value <= Fraction(float(found)) + Fraction(1, 10**7)


@pytest.mark.parametrize("seed", range(4))
def test_linear_networks_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w, c = [rng.normal(size=s) for s in ((3, 5), (5, 5), (5, 2))], [rng.normal(size=n) for n in (5, 5, 2)]
    v = [x + 0.1 * rng.normal(size=x.shape) for x in w]
    first, second = chain(w, c), chain(v, c)
    low = rng.normal(size=3)
    domain = [Box(torch.from_numpy(low)[None], torch.from_numpy(low + 1)[None])]
    triples = pair_intervals(first, second, domain)
    out = first.outputs[next(iter(first.outputs))]
    rows = torch.eye(2).double()[:, None]
    found = Backward(first, second, triples).lower({out: (torch.zeros_like(rows), rows)})
    corners = [low + np.array([i & 1, i >> 1 & 1, i >> 2 & 1]) for i in range(8)]
    difference = [[float(p - q) for p, q in zip(exact(v, c, x), exact(w, c, x), strict=True)] for x in corners]
    torch.testing.assert_close(found, torch.tensor(difference, dtype=torch.float64).amin(0), rtol=0, atol=1e-9)


def test_one_neuron_is_exact() -> None:
    # On [−1, 1]: −relu(x) ≥ −(x + 1)/2, whose least value is attained at 1; and relu(2x) − relu(x) ≤ 1 is, too.
    one = [np.ones((1, 1))] * 2
    zero = [np.zeros(1)] * 2
    first, second = (chain([k * one[0], one[1]], zero, gate="Relu") for k in (1, 2))
    box = Box(-torch.ones(1, 1).double(), torch.ones(1, 1).double())
    triples = pair_intervals(first, second, [box])
    row, out = -torch.ones(1, 1, 1).double(), first.outputs[next(iter(first.outputs))]
    alone = Backward(first, None, triples).lower({out: (row, None)})
    both = Backward(first, second, triples).lower({out: (0 * row, row)})
    for found in (alone, both):
        assert -1 - 1e-12 < float(found) <= -1


def values(tape: Tape, x: Tensor, domain: list[Box]) -> list[Tensor]:
    """All values at points of the domain, each input at the same place of its box."""
    feeds = [box.low + (box.high - box.low) * x for box in domain]
    return tape.run(feeds)


@pytest.mark.slow
@given(graphs(max_nodes=7, capacity=24), st.sampled_from(CHANGES), st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_random_networks_stay_within(graph: Graph, change: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    try:
        shapes = input_shapes(graph)
        tapes = [record(g, shapes) for g in (graph, perturbed(graph, change, rng))]
        domain = []
        for shape in tapes[0].inputs.values():
            low = torch.from_numpy(rng.normal(size=shape))
            domain.append(Box(low, low + 10.0 ** rng.uniform(-2, 0.5)))
        pair_intervals(tapes[0], tapes[1], domain)
    except PathliftError:
        assume(False)
    check_within(tapes[0], tapes[1], domain, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_programs_stay_within(name: str) -> None:
    _, low, high = carried(name)
    for seed, reach in enumerate([0.3]):
        rng = np.random.default_rng(seed)
        tapes = [record(g, input_shapes(g)) for g in pair_of(name, rng, apart=0.1)]
        domain = []
        for shape in tapes[0].inputs.values():
            start = low + (high - low) * (1 - reach) * torch.from_numpy(rng.random(shape))
            domain.append(Box(start, start + (high - low) * reach))
        check_within(tapes[0], tapes[1], domain, rng)


def check_within(one: Tape, other: Tape, domain: list[Box], rng: np.random.Generator) -> None:
    first, second = (unfolded(t)[0] for t in (one, other))
    triples = pair_intervals(first, second, domain)
    tighten(first, second, triples, lambda value, rows: True)
    points = [torch.tensor(0.0), torch.tensor(1.0), *torch.from_numpy(rng.random(12))]
    runs = [(values(first, x, domain), values(second, x, domain)) for x in points]
    for value, t in enumerate(triples):
        for a, b in runs:
            for y, box in ((a[value], t.a), (b[value], t.b), (b[value] - a[value], t.d)):
                slack = 1e-9 * (1 + a[value].abs() + b[value].abs())
                assert bool((y >= box.low - slack).all()), first.steps[value - len(domain)]
                assert bool((y <= box.high + slack).all()), first.steps[value - len(domain)]
    # Rows of every output at once, of z and of δ.
    outputs = list(dict.fromkeys(first.outputs.values()))
    rows = {v: tuple(torch.from_numpy(rng.normal(size=(5, *first.shapes[v]))) for _ in range(2)) for v in outputs}
    found = Backward(first, second, triples).lower({v: (p, q) for v, (p, q) in rows.items()})
    for a, b in runs:
        total = sum((p * a[v] + q * (b[v] - a[v]))[..., None].flatten(1).sum(1) for v, (p, q) in rows.items())
        size = sum(float(a[v].abs().sum() + b[v].abs().sum()) for v in outputs)
        assert bool((total >= found - 1e-9 * (1 + size)).all())
