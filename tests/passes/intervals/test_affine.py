"""Affine steps over boxes, against fractions where float64 would round the other way."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import inf

import numpy as np
import pytest
import torch

from pathlift.ir.primitives.maps import AveragePool, Contract
from pathlift.ir.primitives.resample import Resample
from pathlift.ir.primitives.selections import WindowMax
from pathlift.ir.primitives.views import Concat, Pad
from pathlift.passes.intervals.affine import affine_box, around, carried, products
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.tape.affine import Combined, Constant, Moved, Scaled, Shifted, Sum, Weighted
from pathlift.passes.tape.coefficients import Coefficients
from pathlift.passes.tape.steps import Select, Step

MakeStep = Callable[..., Weighted]
MakeBox = Callable[..., Box]
CPU = torch.device("cpu")


def numbers(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def dot(xs: list[float], ws: list[float]) -> Fraction:
    return sum((Fraction(x) * Fraction(w) for x, w in zip(xs, ws, strict=True)), Fraction(0))


@pytest.mark.parametrize(
    ("x", "w"),
    [
        ([1e16, 1.0, -1e16], [1.0, 1.0, 1.0]),
        ([2.0**-600] * 8, [2.0**-600] * 8),
        ([5e-324] * 9, [0.5] * 9),
        ([0.1] * 1000, [0.1] * 1000),
        ([1.0, *[2.0**-54] * 1000], [1.0] * 1001),
        ([1e300, -1e300, 1.0], [1.0, 1.0, 1.0]),
    ],
)
def test_sums_in_which_float64_loses_something(x: list[float], w: list[float], dense: MakeStep, box: MakeBox) -> None:
    exact = dot(x, w)
    found = affine_box(dense([[v] for v in w]), [box(x)])
    assert found.low.item() <= exact <= found.high.item()
    mirrored = affine_box(dense([[v] for v in w]), [box([-abs(v) for v in x], [abs(v) for v in x])])
    reach = dot([abs(v) for v in x], [abs(v) for v in w])
    assert mirrored.high.item() >= reach
    assert mirrored.low.item() <= -reach


def test_a_long_sum(dense: MakeStep, box: MakeBox) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(10**5), rng.standard_normal(10**5)
    exact = dot(x.tolist(), w.tolist())
    found = affine_box(dense(w[:, None]), [box(x)])
    assert found.low.item() <= exact <= found.high.item()
    assert found.high.item() - found.low.item() <= 2.5 * gamma(10**5) * float(np.abs(x) @ np.abs(w))


def test_every_centre_gets_its_rounding(dense: MakeStep, box: MakeBox) -> None:
    """The radius of a point is γ times the magnitudes: this much, and no less, is proved."""
    ((centre, radius),) = products(dense([[1.0], [-1.0]]), [box([3.0, 4.0])])
    assert centre.item() == -1.0
    assert radius.item() >= 7 * 3 * 2.0**-53
    assert radius.item() <= 7 * 1.01 * gamma(2)


def test_corners_are_attained(dense: MakeStep, box: MakeBox) -> None:
    w = [[1.0, -2.0], [3.0, 0.5]]
    low, high = [-1.0, 2.0], [0.5, 2.25]
    found = affine_box(dense(w), [box(low, high)])
    assert found.low.tolist() == pytest.approx([5.0, 0.0], abs=1e-13)
    assert found.high.tolist() == pytest.approx([7.25, 3.125], abs=1e-13)


def test_errors_of_coefficients_count_at_the_largest_magnitude(dense: MakeStep, box: MakeBox) -> None:
    found = affine_box(dense([[1.0]], [[0.25]]), [box([-4.0], [2.0])])
    assert found.low.item() == pytest.approx(-5.75, abs=1e-13)  # −1 ± 3 times 1.25, and 4 times 0.25
    assert found.high.item() == pytest.approx(3.75, abs=1e-13)
    point = affine_box(dense([[1.0]], [[0.25]]), [box([4.0])])
    assert point.low.item() <= 3.0
    assert point.high.item() >= 5.0
    assert point.high.item() == pytest.approx(5.0, abs=1e-13)


def test_boxes_that_meet_the_same_weights_do_not_mix(dense: MakeStep, box: MakeBox) -> None:
    step = dense([[1.0, -2.0], [3.0, 0.5]], [[0.0, 0.1], [0.2, 0.0]])
    boxes = [box([0.0, 0.0], [1.0, 1.0]), box([-1.0, 2.0]), box([-inf, 0.0], [0.0, 1.0])]
    for (centre, radius), alone in zip(products(step, boxes), boxes, strict=True):
        together, single = Box.around(centre, radius), affine_box(step, [alone])
        assert torch.allclose(together.low, single.low, rtol=1e-14)
        assert torch.allclose(together.high, single.high, rtol=1e-14)


def test_sums_of_products_round_what_they_cancel() -> None:
    parts = [(numbers(1e16), numbers(0.0)), (numbers(-1.0), numbers(0.25)), (numbers(-1e16), numbers(0.5))]
    found = around(*parts)
    assert found.low.item() <= -1.75
    assert found.high.item() >= -0.25
    wide = around((numbers(0.0), numbers(1.0)), (numbers(0.0), numbers(2.0**-54)))
    assert wide.high.item() > 1.0


def test_an_infinite_end_leaves_nothing_known(dense: MakeStep, box: MakeBox) -> None:
    for low, high in ((-inf, 1.0), (0.0, inf), (-inf, inf), (-1.7e308, 1.7e308)):
        found = affine_box(dense([[1.0]]), [box([low], [high])])
        assert found.low.item() <= low
        assert found.high.item() >= high


def test_a_sum_that_overflows_on_its_way_is_not_believed(dense: MakeStep, box: MakeBox) -> None:
    found = affine_box(dense([[1.0]] * 3), [box([1.7e308, 1.7e308, -1.7e308])])
    assert found.low.item() <= 1.7e308 <= found.high.item()


def test_shifts_factors_and_constants_have_errors_too(box: MakeBox) -> None:
    off = Coefficients(numbers([1.0, -2.0]), numbers([0.25, 0.5]))
    x = box([[1.0, 1.0]], [[2.0, 2.0]])
    shapes = ((1, 2),)
    shifted = affine_box(Shifted("s", (0,), shapes, (1, 2), off), [x])
    assert shifted.low.tolist()[0] == pytest.approx([1.75, -1.5])
    assert shifted.high.tolist()[0] == pytest.approx([3.25, 0.5])
    scaled = affine_box(Scaled("s", (0,), shapes, (1, 2), off), [x])
    assert scaled.low.tolist()[0] == pytest.approx([0.75, -5.0])
    assert scaled.high.tolist()[0] == pytest.approx([2.5, -1.5])
    vague = Coefficients(numbers([0.0, 1.0]), numbers([0.25, 2.0]))  # of which no sign is known
    scaled = affine_box(Scaled("s", (0,), shapes, (1, 2), vague), [x])
    assert scaled.low.tolist()[0] == pytest.approx([-0.5, -2.0])
    assert scaled.high.tolist()[0] == pytest.approx([0.5, 6.0])
    constant = affine_box(Constant("c", (), (), (2,), off), [])
    assert constant.low.tolist() == pytest.approx([0.75, -2.5])
    assert constant.high.tolist() == pytest.approx([1.25, -1.5])


def test_a_small_operand_is_broadcast(box: MakeBox) -> None:
    large = Coefficients(numbers(np.arange(6.0).reshape(2, 3)))
    x, shapes = box([[1.0], [-1.0]], [[2.0], [1.0]]), ((2, 1),)
    for step in (Shifted("s", (0,), shapes, (2, 3), large), Scaled("s", (0,), shapes, (2, 3), large)):
        for linear_only in (False, True):
            found = affine_box(step, [x], linear_only=linear_only)
            assert found.low.shape == found.high.shape == (2, 3)
    found = affine_box(Sum("s", (0, 1), ((2, 1), (2, 3)), (2, 3)), [x, Box.point(large.values)])
    assert found.high.tolist() == pytest.approx(np.array([[2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]))


def test_what_a_step_adds_is_no_part_of_a_difference(box: MakeBox) -> None:
    one = Coefficients(numbers([1.0]))
    x = box([1.0], [2.0])
    shifted = affine_box(Shifted("s", (0,), ((1,),), (1,), one), [x], linear_only=True)
    assert (shifted.low.item(), shifted.high.item()) == (1.0, 2.0)
    padded = affine_box(Moved("m", (0,), ((1,),), (3,), Pad((1, 1), 7.0), CPU), [x], linear_only=True)
    assert padded.high.tolist() == [0.0, 2.0, 0.0]
    assert affine_box(Moved("m", (0,), ((1,),), (3,), Pad((1, 1), 7.0), CPU), [x]).low.tolist() == [7.0, 1.0, 7.0]
    assert affine_box(Constant("c", (), (), (1,), one), [], linear_only=True).is_zero


def test_nothing_in_gives_exactly_nothing_out(dense: MakeStep) -> None:
    found = carried(dense([[1.0], [2.0]], [[0.1], [0.1]]), [Box.zero((2,))])
    assert found.is_zero
    assert found.low.shape == (1,)


def test_several_operands_keep_their_places(box: MakeBox) -> None:
    step = Moved("m", (0, 1), ((1,), (2,)), (3,), Concat(0), CPU)
    found = affine_box(step, [box([1.0], [2.0]), box([3.0, 4.0], [5.0, 6.0])])
    assert found.low.tolist() == [1.0, 3.0, 4.0]
    assert found.high.tolist() == [2.0, 5.0, 6.0]


@pytest.mark.parametrize("value", [-inf, -1e30, 1e30, 0.0])
def test_a_padding_before_a_pool_is_what_it_says(value: float, box: MakeBox) -> None:
    pad = Moved("m", (0,), ((1, 1, 2),), (1, 1, 4), Pad((0, 0, 1, 0, 0, 1), value), CPU)
    padded = affine_box(pad, [box([[[-2.0, -1.0]]], [[[-1.0, 3.0]]])])
    window = WindowMax((2,), (2,), (0, 0), (1,))
    pool = Select("p", (1,), ((1, 1, 4),), (1, 1, 2), window)
    low, high = pool.run(padded.low).reshape(-1).tolist(), pool.run(padded.high).reshape(-1).tolist()
    assert low == [max(value, -2.0), max(value, -1.0)]
    assert high == [max(value, -1.0), max(value, 3.0)]


def test_negative_coefficients_of_an_interpolation_count_absolutely(box: MakeBox) -> None:
    f = Resample((2,), sizes=(7,), mode="cubic")
    step = Combined("r", (0,), ((1, 1, 4),), (1, 1, 7), f)
    matrix = torch.stack([f(row.reshape(1, 1, 4)).reshape(-1) for row in torch.eye(4, dtype=torch.float64)])
    assert (matrix < 0).any()
    x = box(torch.full((1, 1, 4), -1.0), torch.full((1, 1, 4), 1.0))
    found = affine_box(step, [x])
    assert torch.allclose(found.high.reshape(-1), matrix.abs().sum(0), rtol=1e-13)
    assert bool((found.high.reshape(-1) >= matrix.abs().sum(0)).all())


def test_quotients_of_averages_are_rounded(box: MakeBox) -> None:
    step: Step = Combined("a", (0,), ((1, 1, 3),), (1, 1, 1), AveragePool((3,), (1,), (0, 0), (1,)))
    assert isinstance(step, Combined)
    x = [0.1, 0.2, 0.7]
    found = affine_box(step, [box(torch.tensor([[x]], dtype=torch.float64))])
    exact = sum(map(Fraction, x)) / 3
    assert found.low.item() <= exact <= found.high.item()
    uncertain = step.uncertainty(numbers([[x]]))
    assert uncertain is not None
    assert uncertain.item() >= 2.0**-53 / 3


@pytest.mark.parametrize(
    ("equation", "x", "w", "terms"),
    [
        ("...i,io->...o", (2, 3), (3, 4), 3),
        ("bij,oi->boj", (1, 3, 4), (5, 3), 3),
        ("bij,i->b", (1, 3, 4), (3,), 12),
        ("...i,o->o", (2, 3), (5,), 6),
        ("bij,ijk->bik", (1, 3, 4), (3, 4, 2), 4),
    ],
)
def test_terms_of_a_contraction(equation: str, x: tuple[int, ...], w: tuple[int, ...], terms: int) -> None:
    f = Contract(equation)
    shape = tuple(d for d in f.shape(x, w) if isinstance(d, int))
    step = Weighted("w", (0,), (x,), shape, f, Coefficients(torch.ones(w, dtype=torch.float64)))
    assert step.terms == terms
    assert float(step.linear(torch.ones(x, dtype=torch.float64)).max()) == terms


def test_convolutions_are_sums_of_products(dense: MakeStep, box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no Fourier transforms, which cuDNN may choose and whose errors are not those that are counted."""
    seen = []

    def linear(self: Weighted, *xs: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cudnn.enabled)
        return self.map(xs[0], self.weights.values)

    monkeypatch.setattr(Weighted, "linear", linear)
    products(dense([[1.0]]), [box([1.0])])
    products(dense([[1.0]]), [box([1.0]), box([2.0])])
    assert seen == [False, False]
    assert torch.backends.cudnn.enabled
