"""Sums of magnitudes: exact for linear differences, above all values otherwise, for few elements and for many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_intervals
from pathlift.passes.relaxations import sums
from pathlift.passes.relaxations.backward import Backward
from pathlift.passes.relaxations.forms import Form
from pathlift.passes.relaxations.sums import sum_bound
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor


def tape(rng: np.random.Generator, m: int, *, gated: bool, noise: float) -> Tape:
    fixed = np.random.default_rng(7)
    b = Builder()
    x = b.input("x", (1, 3), "f64")
    h = b.op("Gemm", x, b.param(fixed.normal(size=(3, 6)) + noise * rng.normal(size=(3, 6))), b.param(np.zeros(6)))
    if gated:
        h = b.op("Relu", h)
    w = fixed.normal(size=(6, m)) + noise * rng.normal(size=(6, m))
    return record(b.finish(b.op("Gemm", h, b.param(w), b.param(noise * rng.normal(size=m)))), {"x": (1, 3)})


class Case:
    """Two networks of m outputs on a box."""

    def __init__(self, m: int, seed: int, *, gated: bool) -> None:
        rng = np.random.default_rng(seed)
        self.m = m
        self.first, self.second = tape(rng, m, gated=gated, noise=0.0), tape(rng, m, gated=gated, noise=0.2)
        self.low, self.high = -torch.ones(1, 3).double(), torch.rand(1, 3).double()
        self.triples: list[Triple] = pair_intervals(self.first, self.second, [Box(self.low, self.high)])
        (self.out,) = self.first.outputs.values()
        self.walk = Backward(self.first, self.second, self.triples)

    def forms(self, weights: Tensor) -> Form:
        rows = weights[:, None]
        return self.walk.form({self.out: (torch.zeros_like(rows), rows)})

    def bound(self) -> sums.Sum:
        each = self.forms(torch.cat([torch.eye(self.m), -torch.eye(self.m)]).double())
        low = each.least(self.triples)
        d = self.triples[self.out].d
        box = Box(d.low.flatten(), d.high.flatten()).meet(Box(low[: self.m], -low[self.m :]))
        self.separate = float(box.magnitude.sum())
        return sum_bound(self.forms, box, self.triples, each, {})

    def largest(self) -> float:
        corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
        points = torch.cat([corners, torch.rand(100, 3, dtype=torch.float64)])
        found = []
        for p in self.low + (self.high - self.low) * points:
            a, b = (t.run([p[None]])[self.out] for t in (self.first, self.second))
            found.append(float((b - a).abs().sum()))
        return max(found)


@pytest.mark.parametrize("m", [2, 5, 7, 10])
def test_the_sum_of_linear_differences_is_attained(m: int) -> None:
    case = Case(m, 1, gated=False)
    assert case.bound().value == pytest.approx(case.largest(), rel=1e-9)


@pytest.mark.parametrize(("m", "gated"), [(1, True), (3, True), (10, True), (13, True), (13, False), (43, False)])
def test_no_sum_is_larger(m: int, gated: bool) -> None:
    for seed in range(3):
        case = Case(m, seed, gated=gated)
        bound, largest = case.bound().value, case.largest()
        assert largest <= bound * (1 + 1e-12)
        assert bound <= case.separate * (1 + 1e-12)
        if not gated and m > 10:  # parts that choose their signs apart
            assert bound < 0.95 * case.separate


def test_ways_without_rows_of_their_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "_AT_ONCE", 1)
    for turns in (0, 1):
        monkeypatch.setattr(sums, "_TURNS", turns)
        for seed in range(4):
            case = Case(6, seed, gated=True)
            assert case.largest() <= case.bound().value * (1 + 1e-12)


def test_rows_of_their_own_make_it_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(10, 0, gated=True)
    found = case.bound()
    monkeypatch.setattr(sums, "_TURNS", 0)
    assert found.value < case.bound().value
    assert found.signs.shape == (1024, 10)


@pytest.mark.parametrize("constant", [False, True])
def test_mixed_forms_are_rounded_down(constant: bool) -> None:
    # 1e16 + 3 does not fit into one float64: whatever the order, no more than 3 is left.
    big, zero = torch.tensor([1e16, 3.0, -1e16], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    box = Box.point(torch.ones(1, 1).double())
    known = [Triple(box, box, Box.zero((1, 1)))]
    for order in itertools.permutations(range(3)):
        row, offset = (zero, big[list(order)]) if constant else (big[list(order)], zero)
        form = Form({0: (row[:, None, None], torch.zeros(3, 1, 1).double())}, offset)
        assert float(form.mixed(torch.ones(1, 3).double(), known).least(known)) <= 3.0


@pytest.mark.parametrize("m", [13, 50])
def test_parts_that_choose_their_signs_apart_have_no_signs_of_all(m: int) -> None:
    assert Case(m, 0, gated=True).bound().signs.shape == (0, m)
