"""Relaxed folds: never less than what there is, never more than boxes say, and exact on what is one choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pathlift.ir.text import parse_graph
from pathlift.passes.intervals.adjoints import Adjoints, chord
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.jacobian import jacobian
from pathlift.passes.intervals.lipschitz import box_constant
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.steps import Bilinear
from pathlift.passes.tape.tape import Tape

INF = float("inf")


def everywhere(text: str) -> tuple[Tape, list[Box]]:
    graph = parse_graph(text)
    tape = record(graph, input_shapes(graph))
    ends = [Box(torch.full(s, -INF).double(), torch.full(s, INF).double()) for s in tape.inputs.values()]
    return tape, intervals(tape, ends)


def net(*ws: np.ndarray) -> str:
    lines, last = [f"%x = Input : f64[1, {ws[0].shape[0]}]"], "x"
    for i, w in enumerate(ws):
        lines += [f"%w{i} = Param {{value={w.tolist()}}} : f64{list(w.shape)}", f"%z{i} = Gemm(%{last}, %w{i})"]
        last = f"z{i}"
        if i < len(ws) - 1:
            lines.append(f"%y{i} = Relu(%z{i})")
            last = f"y{i}"
    return "\n".join([*lines, f"return %{last}"])


@pytest.mark.parametrize("seed", range(4))
def test_no_activation_pattern_is_above_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ws = [rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 2))]
    tape, known = everywhere(net(*ws))
    adjoints = Adjoints(tape, known, torch.eye(2).double(), lambda _: True)
    sums = adjoints.sums([torch.ones(1, 3, dtype=torch.bool)])
    plain = jacobian(tape, known)[0]
    (box,) = adjoints.inputs
    assert bool((plain.low <= box.low + 1e-12).all() and (box.high <= plain.high + 1e-12).all())
    assert float((plain.high - box.high).max()) > 1e-3
    for p, q in itertools.product(itertools.product((0.0, 1.0), repeat=4), repeat=2):
        matrix = torch.from_numpy((((ws[0] * np.array(p)) @ ws[1]) * np.array(q)) @ ws[2]).T
        assert bool((matrix.abs().sum(1) <= sums).all())
        assert bool(((box.low[:, 0] <= matrix) & (matrix <= box.high[:, 0])).all())


def test_one_hidden_layer_is_no_looser_than_a_sum_over_inputs_allows() -> None:
    """|p| of the inputs' adjoints is where the chord pays: boxes take each input's worst pattern by itself."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((6, 5)), rng.standard_normal((5, 1))
    tape, known = everywhere(net(a, b))
    exact = max(np.abs((a * np.array(p)) @ b).sum() for p in itertools.product((0.0, 1.0), repeat=5))
    boxes, relaxed = (box_constant(tape, known, "linf", w) for w in (None, lambda _: True))
    assert exact <= relaxed < boxes * 0.99


def test_a_pool_is_one_choice() -> None:
    tape, known = everywhere("%x = Input : f64[1, 4]\n%y = ReduceMax(%x) {axes=[1]}\nreturn %y")
    assert box_constant(tape, known, "linf") == pytest.approx(4)
    found = box_constant(tape, known, "linf", lambda _: True)
    assert found >= 1
    assert found == pytest.approx(1)


def test_products_are_relaxed_over_both_operands() -> None:
    """y = relu(x)·x, whose slopes are from 0 to 4 where x is in [-1, 2], and those of chords no more."""
    relu = record(parse_graph("%x = Input : f64[1, 2]\n%r = Relu(%x)\nreturn %r"), {"x": (1, 2)}).steps
    product = Bilinear("y", (1, 0), ((1, 2), (1, 2)), (1, 2), torch.mul, 1)
    tape = Tape({"x": (1, 2)}, (*relu, product), {"y": 2})
    known = intervals(tape, [Box(torch.full((1, 2), -1.0).double(), torch.full((1, 2), 2.0).double())])
    found = box_constant(tape, known, "linf", lambda _: True)
    assert 4 <= found <= box_constant(tape, known, "linf") * (1 + 1e-12)


def test_what_is_not_wanted_is_left_to_boxes() -> None:
    rng = np.random.default_rng(0)
    ws = [rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 2))]
    tape, known = everywhere(net(*ws))
    asked: list[int] = []

    def never(numbers: int) -> bool:
        asked.append(numbers)
        return False

    found = Adjoints(tape, known, torch.eye(2).double(), never)
    assert torch.equal(found.inputs[0].low, jacobian(tape, known)[0].low)
    assert len(asked) == 2  # before the first gate, and at the input; the last gate's adjoints are weights
    assert all(n > 0 for n in asked)


def test_lines_are_above_whatever_the_factor_is() -> None:
    generator = torch.Generator().manual_seed(0)
    a, p = (torch.randn(2, 50, generator=generator).double().sort(0).values for _ in range(2))
    p[1, :5] = p[0, :5]
    slope, offset = chord(Box(a[0], a[1]), Box(p[0], p[1]))
    for s, t in itertools.product((0.0, 0.5, 1.0), (0.0, 0.3, 1.0)):
        factor, x = torch.lerp(a[0], a[1], s), torch.lerp(p[0], p[1], t)
        assert bool((factor * x <= slope * x + offset + 1e-15).all())
    ends = [torch.maximum(a[0] * x, a[1] * x) for x in p]
    assert (slope * p[0] + offset).tolist() == pytest.approx(ends[0].tolist())
    assert (slope * p[1] + offset).tolist() == pytest.approx(ends[1].tolist())


def test_lines_are_rounded_up() -> None:
    from fractions import Fraction

    generator = torch.Generator().manual_seed(1)
    a, p = (torch.randn(2, 200, generator=generator).double().sort(0).values for _ in range(2))
    p[0, 100:] *= 1e-12  # an end whose own rounding is nothing beside the other's
    p = p.sort(0).values
    slope, offset = chord(Box(a[0], a[1]), Box(p[0], p[1]))
    for i in range(200):
        for x in p[:, i].tolist():
            most = max(Fraction(float(a[0, i])) * Fraction(x), Fraction(float(a[1, i])) * Fraction(x))
            assert most <= Fraction(float(slope[i])) * Fraction(x) + Fraction(float(offset[i]))


def test_sums_are_over_what_moves() -> None:
    tape, known = everywhere(net(np.array([[1.0], [2.0]]), np.array([[3.0]])))
    adjoints = Adjoints(tape, known, torch.eye(1).double(), lambda _: True)
    for moving, exact in (([[True, True]], 9.0), ([[False, True]], 6.0), ([[False, False]], 0.0)):
        assert float(adjoints.sums([torch.tensor(moving)])) == pytest.approx(exact)


def test_rounding_of_pushed_numbers_counts() -> None:
    """At a linear network nothing is relaxed: what is above the exact sum covers rounding alone."""
    from fractions import Fraction

    rng = np.random.default_rng(0)
    for _ in range(20):
        a = rng.standard_normal((400, 1))
        tape, known = everywhere(net(a))
        adjoints = Adjoints(tape, known, torch.ones(1, 1).double(), lambda _: True)
        start = torch.from_numpy(rng.standard_normal((1, 1, 1, 400)))
        exact = sum(Fraction(float(x)) * Fraction(float(w)) for x, w in zip(start.flatten(), a[:, 0], strict=True))
        found = float(adjoints.above({0: start}, torch.zeros(1, 1).double()))
        assert exact <= Fraction(found) <= exact + Fraction(1e-9)
