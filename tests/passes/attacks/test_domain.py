"""Boxes of inputs: what is none, balls in exact arithmetic, corners, halves."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.passes.attacks.domain import Domain

WIDE = torch.float64


def box(low: list[float], high: list[float]) -> Domain:
    return Domain({"x": torch.tensor([low], dtype=WIDE)}, {"x": torch.tensor([high], dtype=WIDE)})


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({"x": torch.zeros(1, 2, dtype=WIDE)}, {"y": torch.zeros(1, 2, dtype=WIDE)}),
        ({"x": torch.zeros(1, 2, dtype=WIDE)}, {"x": torch.zeros(1, 3, dtype=WIDE)}),
        ({"x": torch.zeros(2, 2, dtype=WIDE)}, {"x": torch.zeros(2, 2, dtype=WIDE)}),
        ({"x": torch.zeros((), dtype=WIDE)}, {"x": torch.zeros((), dtype=WIDE)}),
        ({"x": torch.zeros(1, 2)}, {"x": torch.zeros(1, 2)}),
        ({"x": torch.ones(1, 2, dtype=WIDE)}, {"x": torch.zeros(1, 2, dtype=WIDE)}),
        ({"x": torch.full((1, 2), torch.nan, dtype=WIDE)}, {"x": torch.zeros(1, 2, dtype=WIDE)}),
        ({"x": torch.full((1, 2), -1e308, dtype=WIDE)}, {"x": torch.full((1, 2), 1e308, dtype=WIDE)}),
    ],
    ids=["names", "shapes", "batch", "scalar", "float32", "order", "nan", "width"],
)
def test_what_is_no_box(low: dict[str, torch.Tensor], high: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UsageError, match="PL1485"):
        Domain(low, high)


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_balls_are_exact(x: float, radius: float) -> None:
    at = {"x": torch.tensor([[x]], dtype=WIDE)}
    inner, outer = Domain.ball(at, radius), Domain.ball(at, radius, outward=True)
    for sign, inside, outside in ((-1, inner.low, outer.low), (1, inner.high, outer.high)):
        exact = Fraction(x) + sign * Fraction(radius)
        a, b = (float(side["x"]) for side in (inside, outside))
        assert sign * Fraction(a) <= sign * exact <= sign * Fraction(b)
        assert a == b == exact or torch.nextafter(torch.tensor(a, dtype=WIDE), torch.tensor(b, dtype=WIDE)) == b


def test_a_ball_is_cut_to_limits() -> None:
    limits = Domain.from_interval({"x": (1, 3)}, 0.0, 1.0)
    cut = Domain.ball({"x": torch.tensor([[0.0, 0.5, 1.0]])}, 0.25, limits)
    assert cut.low["x"].tolist() == [[0.0, 0.25, 0.75]]
    assert cut.high["x"].tolist() == [[0.25, 0.75, 1.0]]
    with pytest.raises(UsageError, match="PL1485"):
        Domain.ball({"x": torch.tensor([[2.0, 0.0, 0.0]])}, 0.25, limits)
    with pytest.raises(UsageError, match="PL1485"):
        Domain.ball({"y": torch.tensor([[0.0, 0.0, 0.0]])}, 0.25, limits)


def test_points() -> None:
    domain = Domain({n: torch.zeros(1, k, dtype=WIDE) for n, k in (("a", 1), ("b", 2))},
                    {"a": torch.ones(1, 1, dtype=WIDE), "b": torch.tensor([[0.0, 4.0]], dtype=WIDE)})  # fmt: skip
    assert domain.elements == 3
    assert domain.shapes == {"a": (1,), "b": (2,)}
    assert domain.open == (0, 2)
    assert sorted(tuple(domain.flat(c)[0].tolist()) for c in domain.corners()) == [
        (0, 0, 0), (0, 0, 4), (1, 0, 0), (1, 0, 4)
    ]  # fmt: skip
    assert domain.flat(domain.centre).tolist() == [[0.5, 0.0, 2.0]]
    outside = {"a": torch.tensor([[2.0]], dtype=WIDE), "b": torch.tensor([[-1.0, 3.0]], dtype=WIDE)}
    assert not domain.contains(outside)
    assert domain.flat(domain.clip(outside)).tolist() == [[1.0, 0.0, 3.0]]
    assert domain.contains(domain.clip(outside))
    assert not domain.contains({**domain.centre, "a": torch.tensor([[torch.nan]], dtype=WIDE)})
    assert not domain.contains({"a": domain.centre["a"]})
    flat = torch.arange(6, dtype=WIDE).reshape(2, 3)
    assert torch.equal(domain.flat(domain.unflat(flat)), flat)


def test_halves() -> None:
    below, above = box([0.0, 0.0], [1.0, 4.0]).split()
    assert (below.high["x"].tolist(), above.low["x"].tolist()) == ([[1.0, 2.0]], [[0.0, 2.0]])
    below, above = box([0.0, 0.0], [1.0, 4.0]).split(0)
    assert (below.high["x"].tolist(), above.low["x"].tolist()) == ([[0.5, 4.0]], [[0.5, 0.0]])
