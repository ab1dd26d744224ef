"""Tournaments compute what maxima and minima do."""

from __future__ import annotations

import pytest
import torch

from pathlift.ir.primitives.base import OrderStatistic
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.relaxations.tournament import Contest, unfolded
from pathlift.passes.tape.steps import Gate, Select
from pathlift.passes.tape.tape import Tape

SELECTS: list[tuple[OrderStatistic, tuple[int, ...]]] = [
    (WindowMax((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)), (1, 2, 4, 6)),
    (WindowMax((3, 2), (1, 1), (1, 0, 1, 1), (1, 1)), (1, 2, 4, 3)),
    (WindowMax((5,), (2,), (2, 2), (1,)), (1, 1, 9)),
    (WindowMax((1,), (2,), (0, 0), (1,)), (1, 1, 5)),
    (Extremum((1, 2), False), (1, 3, 5)),
    (Extremum((1,), True, largest=False), (1, 7, 2)),
    (Extremum((), False), (2, 3)),
    (Sort(1, 1), (1, 6)),
    (Sort(1, 1, largest=False), (1, 6)),
]


@pytest.mark.parametrize(("statistic", "shape"), SELECTS, ids=lambda x: type(x).__name__)
def test_tournaments_have_the_same_winner(statistic: OrderStatistic, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = Select("s", (0,), (shape,), tuple(statistic(x).shape), statistic)
    tape, numbers = unfolded(Tape({"x": shape}, (step,), {"y": 1}))
    assert not any(isinstance(s, Select) for s in tape.steps)
    y = tape.run([x])[tape.outputs["y"]]
    torch.testing.assert_close(y, statistic(x), rtol=0, atol=1e-14)
    assert numbers == [0, tape.outputs["y"]]
    for s, n in zip(tape.steps, tape.shapes[1:], strict=True):
        assert s.shape == n
    found = intervals(tape, [Box(x - 0.1, x + 0.1)])[-1]
    assert bool((found.low <= statistic(x)).all() and (found.high >= statistic(x)).all())


def test_other_order_statistics_stay() -> None:
    step = Select("s", (0,), ((1, 6),), (1, 3), Sort(1, 3))
    tape, numbers = unfolded(Tape({"x": (1, 6)}, (step,), {"y": 1}))
    assert tape.steps[0].inputs == (0,)
    assert isinstance(tape.steps[0], Select)
    assert numbers == [0, 1]


def test_who_meets_himself_changes_nothing() -> None:
    # Three entrants: the last one has no opponent, and no interval grows by that.
    statistic = Extremum((1,), False)
    step = Select("s", (0,), ((1, 3),), (1,), statistic)
    tape, _ = unfolded(Tape({"x": (1, 3)}, (step,), {"y": 1}))
    low = torch.tensor([[0.0, 1.0, 5.0]], dtype=torch.float64)
    boxes = intervals(tape, [Box(low, low + 0.5)])
    contests = [boxes[1 + i] for i, s in enumerate(tape.steps) if isinstance(s, Contest)]
    assert float(contests[0].magnitude[0, 1]) < 1e-300
    assert sum(isinstance(s, Gate) for s in tape.steps) == 2
