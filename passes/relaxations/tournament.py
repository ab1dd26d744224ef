"""Maxima and minima as tournaments: max(x, y) = y + relu(x − y), so that they are affine steps and gates.

A pool of k takes ⌈log₂ k⌉ rounds; whoever has no opponent meets himself, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax
from pathlift.passes.tape.steps import Affine, Gate, Select, Step
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
_RELU = Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True)


@dataclass(frozen=True, eq=False)
class Contest(Affine):
    """sign·(x_i − x_j), for pairs of positions along an axis."""

    axis: int
    ours: Tensor
    theirs: Tensor
    sign: float

    @property
    def terms(self) -> int:
        return 2

    def linear(self, *xs: Tensor) -> Tensor:
        x, y = (xs[0].index_select(self.axis, i) for i in (self.ours, self.theirs))
        return x - y if self.sign > 0 else y - x

    def absolute(self, *xs: Tensor) -> Tensor:
        x, y = (xs[0].index_select(self.axis, i) for i in (self.ours, self.theirs))
        alone = (self.ours == self.theirs).reshape([-1, *[1] * (x.ndim - self.axis - 1)])
        return torch.where(alone, 0.0, x + y)


@dataclass(frozen=True, eq=False)
class Winner(Affine):
    """x_j + sign·g, with the gate g of the contest."""

    axis: int
    theirs: Tensor
    sign: float

    @property
    def terms(self) -> int:
        return 2

    def linear(self, *xs: Tensor) -> Tensor:
        gate, x = xs
        y = x.index_select(self.axis, self.theirs)
        return (y + gate if self.sign > 0 else y - gate).reshape(self.shape)

    def absolute(self, *xs: Tensor) -> Tensor:
        gate, x = xs
        return (x.index_select(self.axis, self.theirs) + gate).reshape(self.shape)


def unfolded(tape: Tape) -> tuple[Tape, list[int]]:
    """Write maxima and minima as tournaments.

    Parameters
    ----------
    tape
        The network.

    Returns
    -------
    Tape, list
        The same network, and the number that each value of the old tape has in the new one.
    """
    writer = _Writer(list(tape.shapes[: len(tape.inputs)]))
    numbers = list(range(len(tape.inputs)))
    for step in tape.steps:
        inputs = tuple(numbers[i] for i in step.inputs)
        sign = _sign(step)
        if isinstance(step, Select) and sign is not None and inputs[0] is not None and _full(step):
            numbers.append(writer.tournament(step, inputs[0], sign))
        else:
            numbers.append(writer.put(replace(step, inputs=inputs)))
    outputs = {name: numbers[i] for name, i in tape.outputs.items()}
    return Tape(tape.inputs, tuple(writer.steps), outputs), numbers


def _sign(step: Step) -> float | None:
    """1 for a maximum, −1 for a minimum, ``None`` for what is neither."""
    match step:
        case Select(statistic=WindowMax()):
            return 1.0
        case Select(statistic=Extremum(largest=largest)):
            return 1.0 if largest else -1.0
        case Select(statistic=Sort(k=1, largest=largest)):
            return 1.0 if largest else -1.0
    return None


def _full(step: Select) -> bool:
    """Whether no pool is empty, and something is pooled."""
    axes = step.statistic.mixed_axes(len(step.shapes[0]))
    pools = [step.statistic.pools(axis, step.shapes[0][axis]) for axis in axes]
    return bool(axes) and all(p.size and (p >= 0).any(1).all() for p in pools)


class _Writer:
    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.steps: list[Step] = []

    def put(self, step: Step) -> int:
        self.steps.append(step)
        self.shapes.append(step.shape)
        return len(self.shapes) - 1

    def tournament(self, step: Select, x: int, sign: float) -> int:
        axes = step.statistic.mixed_axes(len(step.shapes[0]))
        for axis in axes:
            pools = torch.from_numpy(step.statistic.pools(axis, self.shapes[x][axis]).copy()).long()
            # Padding is no entrant: in its place stands one who is there.
            present = pools.gather(1, (pools >= 0).to(torch.int8).argmax(1, keepdim=True))
            pools = torch.where(pools >= 0, pools, present)
            while True:
                last = pools.shape[1] <= 2
                x = self._round(step, x, axis, pools, sign, step.shape if last and axis == axes[-1] else None)
                if last:
                    break
                pools = torch.arange(pools.shape[0] * ((pools.shape[1] + 1) // 2)).reshape(pools.shape[0], -1)
        return x

    def _round(self, step: Select, x: int, axis: int, pools: Tensor, sign: float, shape: tuple[int, ...] | None) -> int:
        theirs = pools[:, 1::2]
        ours = pools[:, ::2]
        if theirs.shape[1] < ours.shape[1]:
            theirs = torch.cat([theirs, ours[:, -1:]], 1)
        ours, theirs = ours.reshape(-1), theirs.reshape(-1)
        before = self.shapes[x]
        after = (*before[:axis], len(ours), *before[axis + 1 :])

        def put(kind: Callable[..., Step], inputs: tuple[int, ...], shape: tuple[int, ...], *args: Any) -> int:
            return self.put(kind(step.node, inputs, tuple(self.shapes[i] for i in inputs), shape, *args))

        contest = put(Contest, (x,), after, axis, ours, theirs, sign)
        gate = put(Gate, (contest,), after, _RELU, ())
        return put(Winner, (gate, x), shape or after, axis, theirs, sign)
