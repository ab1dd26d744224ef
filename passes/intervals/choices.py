"""Choices of order statistics: which elements they can take, given the box that these are in.

A result moves by an average of how far the elements move that can be chosen somewhere in the box: by a matrix with
weights that are not negative, whose rows add up to 1. Sorting permutes, so columns add up to 1, too, or to less where
only the first k are kept. A pool over several axes is one over each in turn.
"""

from __future__ import annotations

import torch

from pathlift.ir.primitives.selections import Sort
from pathlift.passes.intervals.box import Box, gamma
from pathlift.passes.tape.steps import Select

Tensor = torch.Tensor


def pulled(step: Select, rows: Box, operand: Box) -> Box:
    """Enclose what rows of an order statistic, ``(R, *shape)``, are as rows of its operand."""
    if isinstance(step.statistic, Sort):
        return _unsorted(step.statistic, rows, operand)
    stages = _stages(step, operand)
    shape = stages[-1][2].select(stages[-1][0] + 1, 0).shape if stages else operand.low.shape
    rows = Box(*(side.reshape(-1, *shape) for side in (rows.low, rows.high)))
    sizes = [operand.low.shape[axis] for axis, _, _ in stages]
    for size, (axis, pools, able) in zip(reversed(sizes), reversed(stages), strict=True):
        rows = _shared(rows, axis, pools, able, size)
    return rows


def pushed(step: Select, x: Tensor, operand: Box) -> Box:
    """Enclose what an order statistic makes of movements of its operand, ``(B, *shape)``."""
    if isinstance(step.statistic, Sort):
        first, last = _ranks(step.statistic, operand)
        moved = x.movedim(step.statistic.mixed_axes(operand.low.ndim)[0] + 1, -1)
        ends = []
        for rank in range(step.statistic.k):
            able = (first <= rank) & (rank <= last)
            ends.append(
                Box(torch.where(able, moved, torch.inf).amin(-1), torch.where(able, moved, -torch.inf).amax(-1))
            )
        axis = step.statistic.mixed_axes(operand.low.ndim)[0] + 1
        return Box(torch.stack([e.low for e in ends], axis), torch.stack([e.high for e in ends], axis))
    low = high = x
    for axis, pools, able in _stages(step, operand):
        low = -torch.where(able, _taken(-low, axis + 1, pools), -torch.inf).amax(axis + 2)
        high = torch.where(able, _taken(high, axis + 1, pools), -torch.inf).amax(axis + 2)
    return Box(*(side.reshape(-1, *step.shape) for side in (low, high)))


def _stages(step: Select, operand: Box) -> list[tuple[int, Tensor, Tensor]]:
    """Per axis: which elements its pools are of, and who of them can be the largest, ``(…, pools, k, …)``."""
    statistic, rank = step.statistic, operand.low.ndim
    box = operand if getattr(statistic, "largest", True) else Box(-operand.high, -operand.low)
    stages = []
    for axis in statistic.mixed_axes(rank):
        pools = torch.from_numpy(statistic.pools(axis, box.low.shape[axis]).copy())
        low, high = (_taken(side, axis, pools) for side in (box.low, box.high))
        box = Box(low.amax(axis + 1), high.amax(axis + 1))
        able = (high >= box.low.unsqueeze(axis + 1)) & (pools >= 0).reshape(*pools.shape, *[1] * (rank - axis - 1))
        stages.append((axis, pools, able))
    return stages


def _taken(x: Tensor, axis: int, pools: Tensor) -> Tensor:
    """What pools along an axis hold, ``(…, pools, k, …)``; -∞ for padding."""
    taken = x.index_select(axis, pools.clamp(min=0).reshape(-1))
    taken = taken.reshape(*x.shape[:axis], *pools.shape, *x.shape[axis + 1 :])
    return torch.where((pools >= 0).reshape(*pools.shape, *[1] * (x.ndim - axis - 1)), taken, -torch.inf)


def _shared(rows: Box, axis: int, pools: Tensor, able: Tensor, size: int) -> Box:
    """Rows of maxima along one axis: all of it for whoever is alone, else anything between all and nothing."""
    shape = list(rows.low.shape)
    shape[axis + 1] = size
    alone = able.sum(axis + 1) == 1
    least = torch.where(alone, rows.low, rows.low.clamp(max=0))
    most = torch.where(alone, rows.high, rows.high.clamp(min=0))
    low, high, sizes = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for k in range(pools.shape[1]):
        mine, index = able.select(axis + 1, k), pools[:, k].clamp(min=0)
        ends = (torch.where(mine, least, 0.0), torch.where(mine, most, 0.0))
        low.index_add_(axis + 1, index, ends[0])
        high.index_add_(axis + 1, index, ends[1])
        sizes.index_add_(axis + 1, index, torch.maximum(ends[0].abs(), ends[1].abs()))
    return Box(low, high).widened(gamma(pools.numel()) * sizes)


def _ranks(statistic: Sort, operand: Box) -> tuple[Tensor, Tensor]:
    """The first and the last rank that each element can have, its axis last."""
    (axis,) = statistic.mixed_axes(operand.low.ndim)
    low, high = (side.movedim(axis, -1) for side in (operand.low, operand.high))
    if not statistic.largest:
        low, high = -high, -low
    above = (low[..., None, :] > high[..., :, None]).sum(-1)  # how many are larger whatever happens
    below = (high[..., None, :] < low[..., :, None]).sum(-1)
    return above, low.shape[-1] - 1 - below


def _unsorted(statistic: Sort, rows: Box, operand: Box) -> Box:
    """Rows of what is sorted: each element is at one of the ranks that it can have, or beyond the first k."""
    axis = statistic.mixed_axes(operand.low.ndim)[0] + 1
    first, last = _ranks(statistic, operand)
    low, high = (side.movedim(axis, -1) for side in (rows.low, rows.high))
    least = torch.where(last >= statistic.k, 0.0, torch.inf).expand(len(low), *first.shape).clone()
    most = -least
    for rank in range(statistic.k):
        held = (first <= rank) & (rank <= last)
        least = torch.where(held, torch.minimum(least, low[..., rank : rank + 1]), least)
        most = torch.where(held, torch.maximum(most, high[..., rank : rank + 1]), most)
    return Box(least.movedim(-1, axis), most.movedim(-1, axis))
