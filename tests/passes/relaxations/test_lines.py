"""Lines below and above activations: never crossed, and close."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, image
from pathlift.passes.relaxations.lines import linear_on, lines

Tensor = torch.Tensor


def excess(curve: Curve, box: Box) -> tuple[Tensor, Tensor, Tensor]:
    """f − line below, line above − f, and what rounding may make of it, at points of a box; both ends among them."""
    below, above = lines(curve, box)
    steps = torch.linspace(0, 1, 201, dtype=torch.float64).reshape(-1, *[1] * box.low.ndim)
    x = torch.lerp(box.low, box.high, steps)
    y = curve.f.torch(x, *(s.values for s in curve.slopes))
    slack = 1e-15 * (1 + x.abs() + y.abs())
    return y - (below.slope * x + below.offset), above.slope * x + above.offset - y, slack


@given(st.integers(0, 2**16))
@settings(max_examples=3, deadline=None)
def test_activations_are_between_their_lines(every: list[Curve], seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-6, 6, 120) * rng.choice([0.0, 1e-4, 1.0, 1.0], 120)
    width = rng.uniform(0, 8, 120) * rng.choice([0.0, 1e-9, 1e-3, 1.0], 120)
    bends = rng.choice([-3.0, -1.5, -0.5, 0.0, 1.0, 3.0], 120)
    low = np.where(rng.random(120) < 0.3, bends, low)
    box = Box(torch.from_numpy(low), torch.from_numpy(low + width))
    for curve in every:
        below, above, slack = excess(curve, box)
        assert bool((below >= -slack).all()), curve.f.name
        assert bool((above >= -slack).all()), curve.f.name


@pytest.fixture(scope="module")
def every(curve: Callable[[str], Curve]) -> list[Curve]:
    piecewise = ("relu", "leaky", "abs", "clip", "hard sigmoid", "quantized")
    return [
        curve(n) for n in (*piecewise, "tanh", "sigmoid", "elu", "gelu", "hard swish", "softplus", "erf", "softsign")
    ]


def test_lines_at_a_bend_with_two_slopes(curve: Callable[[str], Curve]) -> None:
    # The derivative at the bend of an Elu is that of one side only.
    for low, high in ((0.0, 1e-9), (-1e-9, 0.0), (0.0, 3.0), (-3.0, 0.0), (0.0, 0.0), (-1e-12, 1e-12)):
        box = Box(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
        below, above, slack = excess(curve("elu"), box)
        assert bool((below >= -slack).all())
        assert bool((above >= -slack).all())
    for t in (-3.0, 3.0):
        for low, high in ((t, t + 1e-8), (t - 1e-8, t)):
            box = Box(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
            below, above, slack = excess(curve("hard swish"), box)
            assert bool((below >= -slack).all())
            assert bool((above >= -slack).all())


def test_lines_of_curves_are_tangents_and_chords(curve: Callable[[str], Curve]) -> None:
    box = Box(torch.tensor([-2.0, 0.5, -3.0], dtype=torch.float64), torch.tensor([-0.5, 2.0, 1.0], dtype=torch.float64))
    for name in ("tanh", "sigmoid"):
        below, above, _ = excess(curve(name), box)
        assert float(below.amin(0).max()) < 2e-3  # each line touches
        assert float(above.amin(0).max()) < 2e-3
        ranges = image(curve(name), box)
        assert bool((below[100] + above[100] < 0.6 * (ranges.high - ranges.low)).all())


def test_a_line_is_the_curve_where_it_does_not_bend(piecewise: Curve) -> None:
    ends = [piecewise.bends[0] - 3.0, *piecewise.bends, piecewise.bends[-1] + 3.0]
    for left, right in pairwise(ends):
        box = Box(torch.tensor([left], dtype=torch.float64), torch.tensor([right], dtype=torch.float64))
        assert bool(linear_on(piecewise, box))
        below, above = lines(piecewise, box)
        torch.testing.assert_close(below.slope, above.slope)
        gap = float(above.offset - below.offset)
        assert gap == pytest.approx(2 * piecewise.f.jump, abs=1e-13)


def test_what_bends_within_is_not_linear(piecewise: Curve, curve: Callable[[str], Curve]) -> None:
    t = torch.tensor([piecewise.bends[0]], dtype=torch.float64)
    assert not bool(linear_on(piecewise, Box(t - 1e-9, t + 1e-9)))
    assert not bool(linear_on(curve("tanh"), Box(t, t)))
