"""Two networks at once, in exact arithmetic: what is rounded stays within its box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch

from pathlift.ir.types import Array
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import pair_intervals
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Gate
from pathlift.passes.tape.tape import Tape

Network = Callable[..., Tape]


def exact_run(tape: Tape, x: Sequence[Fraction]) -> list[list[Fraction]]:
    """All values of a dense network, without rounding."""
    values = [list(x)]
    for step in tape.steps:
        if isinstance(step, Gate):
            values.append([max(v, Fraction(0)) for v in values[-1]])
            continue
        assert isinstance(step, Affine)
        unit = torch.eye(len(values[-1]), dtype=torch.float64)[:, None]
        rows = [step.linear(e).reshape(-1).tolist() for e in unit]
        constant = step.constant
        start = [0.0] * len(rows[0]) if constant is None else constant.values.reshape(-1).tolist()
        values.append([
            Fraction(c) + sum((v * Fraction(row[j]) for v, row in zip(values[-1], rows, strict=True)), Fraction(0))
            for j, c in enumerate(start)
        ])  # fmt: skip
    return values


@pytest.mark.parametrize("reach", [0.0, 1e-9, 0.5])
@pytest.mark.parametrize("change", ["little", "tiny", "huge", "signs"])
def test_boxes_hold_in_exact_arithmetic(network: Network, reach: float, change: str) -> None:
    for seed in range(6):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        scale = 2.0**40 if change == "huge" else 1.0
        first = network((3, 4, 4, 2), lambda *s: scale * rngs[0].standard_normal(s), gates=True)  # noqa: B023
        noise = np.random.default_rng(seed + 100)

        def other(*s: int) -> Array:
            w: Array = scale * rngs[1].standard_normal(s)  # noqa: B023
            share = 2e-7 if change == "tiny" else 1e-3
            signs: Array = noise.choice([-1.0, 1.0], s)  # noqa: B023
            return w * (signs if change == "signs" else 1 + share * noise.standard_normal(s))  # noqa: B023

        second = network((3, 4, 4, 2), other, gates=True)
        centre = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 3)))
        domain = [Box(centre - reach, centre + reach)]
        triples = pair_intervals(first, second, domain)
        corners = [domain[0].low, domain[0].high, centre]
        for corner in corners:
            x = [Fraction(v) for v in corner.reshape(-1).tolist()]
            for ours, theirs, t in zip(exact_run(first, x), exact_run(second, x), triples, strict=True):
                check_exactly(ours, t.a)
                check_exactly(theirs, t.b)
                check_exactly([v - u for u, v in zip(ours, theirs, strict=True)], t.d)


def check_exactly(values: Sequence[Fraction], box: Box) -> None:
    ends = zip(box.low.reshape(-1).tolist(), box.high.reshape(-1).tolist(), strict=True)
    for value, (low, high) in zip(values, ends, strict=True):
        assert low <= value <= high
