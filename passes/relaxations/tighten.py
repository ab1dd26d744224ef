"""Intervals of what bends, layer after layer, by backward substitution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

import torch

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve
from pathlift.passes.intervals.intervals import enclose
from pathlift.passes.intervals.pairs import Triple, pair_enclose
from pathlift.passes.relaxations.backward import Backward
from pathlift.passes.relaxations.forms import Rows
from pathlift.passes.relaxations.lines import linear_on
from pathlift.passes.tape.steps import Bilinear, Gate, Select
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
MEMORY = 2.0**28
"""Bytes that rows, with what a gate makes of them, may take at once."""


def tighten(first: Tape, second: Tape, triples: list[Triple], wanted: Callable[[int, int], bool]) -> Backward:
    """Tighten what is known of every value of two tapes, in place.

    Interval arithmetic goes forward; where elements are about to meet a gate (or a product, or an order statistic) that
    is not affine on their boxes, rows go back to the inputs: of z_a and of z_b through one network, of δ through both.

    Parameters
    ----------
    first, second
        Tapes that agree step by step; one and the same for a single network.
    triples
        One per value; those of the inputs are the domain.
    wanted
        Asked for each such value, with the number of rows that it takes: whether to do it.

    Returns
    -------
    Backward
        Through both networks, or the single one, with the relaxations that were made on the way.
    """
    single = first is second
    a, b = Backward(first, None, triples), Backward(second, None, _Swapped(triples))
    both = Backward(first, second, triples)
    inputs = len(first.inputs)
    reads = readers(first)
    for value in range(inputs, inputs + len(first.steps)):
        ours, theirs = first.steps[value - inputs], second.steps[value - inputs]
        if single:
            x = enclose(ours, [triples[i].a for i in ours.inputs])
            found = Triple(x, x, triples[value].d)
        else:
            found = pair_enclose(ours, theirs, [triples[i] for i in ours.inputs])
        triples[value] = found.meet(triples[value])
        if value not in reads:
            continue
        loose_a, loose_b = (
            _loose([tape.steps[i - inputs] for i in reads[value]], box)
            for tape, box in ((first, triples[value].a), (second, triples[value].b))
        )
        counts = [2 * int(loose_a.sum()), 0 if single else 2 * int(loose_b.sum())]
        counts.append(0 if single else 2 * int((loose_a | loose_b).sum()))
        if not sum(counts) or not wanted(value, sum(counts)):
            continue
        t = triples[value]
        box = elements(a, value, loose_a, t.a)
        if single:
            triples[value] = Triple(box, box, t.d)
            continue
        t = t.meet(Triple(box, elements(b, value, loose_b, t.b), t.d))
        triples[value] = t.meet(Triple(t.a, t.b, elements(both, value, loose_a | loose_b, t.d)))
    return a if single else both


class _Swapped:
    """The second network's boxes in the place of the first one's, as they are when asked for."""

    def __init__(self, triples: Sequence[Triple]) -> None:
        self.triples = triples

    def __getitem__(self, value: int) -> Triple:
        t = self.triples[value]
        return Triple(t.b, t.a, t.d)


def readers(tape: Tape) -> dict[int, list[int]]:
    """By value, the steps that are not affine and read it, as numbers of the values that they compute."""
    found: dict[int, list[int]] = {}
    for value, step in tape.numbered():
        if isinstance(step, Gate | Select | Bilinear):
            for i in step.inputs:
                if i >= len(tape.inputs):
                    found.setdefault(i, []).append(value)
    return found


def _loose(steps: list[object], box: Box) -> Tensor:
    """Elements on whose boxes one of these steps is not affine."""
    loose = torch.zeros_like(box.low, dtype=torch.bool)
    for step in steps:
        loose |= ~linear_on(Curve.of(step), box) if isinstance(step, Gate) else box.low < box.high
    return loose


def elements(walk: Backward, value: int, at: Tensor, known: Box) -> Box:
    """Bound elements of a value, to both sides, by rows: of δ where there are two networks, of z where there is one.

    Parameters
    ----------
    walk
        Through both, or through one alone.
    value
        Whose.
    at
        Which elements; a mask.
    known
        What is kept for the others.
    """
    where = at.flatten().nonzero()[:, 0]
    if not len(where):
        return known
    low, high = (
        torch.full((at.numel(),), -inf, dtype=torch.float64),
        torch.full((at.numel(),), inf, dtype=torch.float64),
    )
    for chunk in chunks(walk, where):
        rows = torch.zeros(2 * len(chunk), low.numel(), dtype=torch.float64)
        n = torch.arange(len(chunk))
        rows[n, chunk], rows[n + len(chunk), chunk] = 1.0, -1.0
        rows = rows.reshape(-1, *at.shape)
        of: Rows = (rows, None) if walk.second is None else (torch.zeros_like(rows), rows)
        found = walk.lower({value: of})
        low[chunk], high[chunk] = found[: len(chunk)], -found[len(chunk) :]
    return known.meet(Box(low.reshape(at.shape), high.reshape(at.shape)))


def chunks(walk: Backward, where: Tensor) -> Iterator[Tensor]:
    """So many at a time as fit."""
    widest = max(torch.Size(s).numel() for s in walk.first.shapes)
    each = 8 * widest * 8 * (1 if walk.second is None else 8)
    return iter(torch.split(where, max(1, int(MEMORY / each / 2))))
