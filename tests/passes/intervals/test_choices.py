"""Choices of order statistics, against all orders that points of the box have."""

from __future__ import annotations

import pytest
import torch

from pathlift.ir.primitives.base import OrderStatistic
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.choices import pulled, pushed
from pathlift.passes.tape.steps import Select

Tensor = torch.Tensor


def step_of(statistic: OrderStatistic, shape: tuple[int, ...]) -> Select:
    return Select("s", (0,), (shape,), tuple(int(str(d)) for d in statistic.shape(shape)), statistic)


def jacobian(statistic: OrderStatistic, x: Tensor) -> Tensor:
    found: Tensor = torch.func.jacrev(statistic)(x)
    return found.reshape(-1, x.numel())


CASES = [
    (WindowMax((2, 2), (1, 1), (0, 1, 0, 0), (1, 1)), (1, 2, 3, 3)),
    (WindowMax((2,), (3,), (0, 0), (1,)), (1, 1, 6)),  # the third and the sixth are in no pool
    (Extremum((1,), False), (1, 4)),
    (Extremum((1, 2), True, largest=False), (1, 3, 2)),
    (Sort(1, 3), (1, 3)),
    (Sort(1, 2), (1, 4)),
    (Sort(1, 2, largest=False), (1, 4)),
]


@pytest.mark.parametrize(("statistic", "shape"), CASES)
def test_all_choices_are_in_the_boxes(statistic: OrderStatistic, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    step = step_of(statistic, shape)
    for _ in range(10):
        centre = torch.randn(shape, generator=generator).double()
        box = Box(centre - 0.4, centre + 0.4)
        n = torch.Size(step.shape).numel()
        r = torch.randn(3, *step.shape, generator=generator).double()
        a = torch.randn(4, *shape, generator=generator).double()
        back, forth = pulled(step, Box.point(r), box), pushed(step, a, box)
        assert back.low.shape[1:] == shape
        assert forth.low.shape == (4, *step.shape)
        for _ in range(20):
            x = centre + 0.8 * torch.rand(shape, generator=generator).double() - 0.4
            matrix = jacobian(statistic, x)
            there = (r.reshape(3, n) @ matrix).reshape(back.low.shape)
            assert bool(((back.low <= there) & (there <= back.high)).all())
            there = (a.reshape(4, -1) @ matrix.T).reshape(forth.low.shape)
            assert bool(((forth.low <= there) & (there <= forth.high)).all())


def test_whoever_cannot_be_chosen_has_no_share() -> None:
    step = step_of(Extremum((1,), False), (1, 3))
    box = Box(torch.tensor([[0.0, 2.0, 5.0]]).double(), torch.tensor([[1.0, 6.0, 7.0]]).double())
    back = pulled(step, Box.point(torch.tensor([[3.0], [-1.0]]).double()), box)
    assert back.magnitude[:, 0, 0].tolist() == pytest.approx([0, 0], rel=1e-14, abs=1e-300)
    assert back.high[0, 0].tolist() == pytest.approx([0, 3, 3], rel=1e-14, abs=1e-300)
    assert back.low[1, 0].tolist() == pytest.approx([0, -1, -1], rel=1e-14, abs=1e-300)
    forth = pushed(step, torch.tensor([[9.0, 1.0, 2.0]]).double()[:, None], box)
    assert (float(forth.low), float(forth.high)) == (1.0, 2.0)


def test_whoever_is_alone_is_chosen() -> None:
    step = step_of(Extremum((1,), False, largest=False), (1, 2))
    box = Box(torch.tensor([[0.0, 2.0]]).double(), torch.tensor([[1.0, 6.0]]).double())
    back = pulled(step, Box.point(torch.tensor([[3.0]]).double()), box)
    for side in (back.low, back.high):
        assert side.flatten().tolist() == pytest.approx([3.0, 0.0], rel=1e-14, abs=1e-300)


def test_sorting_shares_what_is_permuted() -> None:
    step = step_of(Sort(1, 2), (1, 2))
    box = Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())
    back = pulled(step, Box.point(torch.tensor([[[3.0, 5.0]]]).double()), box)
    assert back.low.tolist() == [[[3.0, 3.0]]]  # nothing less: each is at one of the two ranks
    assert back.high.tolist() == [[[5.0, 5.0]]]
