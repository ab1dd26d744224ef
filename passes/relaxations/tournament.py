"""Maxima and minima as tournaments: max(x, y) = y + max(x − y, 0), so that they are affine steps and gates.

A pool of k takes ⌈log₂ k⌉ rounds; whoever has no opponent meets himself, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from pathlift.ir.primitives.base import Activation
from pathlift.ir.primitives.reshapes import Reshape
from pathlift.ir.primitives.selections import Extremum, Sort, WindowMax
from pathlift.ir.primitives.views import Take
from pathlift.passes.tape.affine import Affine, Moved, Sum
from pathlift.passes.tape.steps import Gate, Select, Step
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
_LARGER = Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True)
_SMALLER = Activation("Min", (0.0, 1.0), lambda x: x.clamp(max=0), homogeneous=True, bends=(0.0,), affine=True)


@dataclass(frozen=True, eq=False)
class Contest(Affine):
    """x_i − x_j, for pairs of positions along an axis."""

    axis: int
    ours: Tensor
    theirs: Tensor

    @property
    def terms(self) -> int:
        return 2

    def linear(self, *xs: Tensor) -> Tensor:
        x, y = (xs[0].index_select(self.axis, i) for i in (self.ours, self.theirs))
        return x - y

    def absolute(self, *xs: Tensor) -> Tensor:
        x, y = (xs[0].index_select(self.axis, i) for i in (self.ours, self.theirs))
        alone = (self.ours == self.theirs).reshape([-1, *[1] * (x.ndim - self.axis - 1)])
        return torch.where(alone, 0.0, x + y)

    def transpose(self, rows: Tensor) -> list[Tensor]:
        found = rows.new_zeros(len(rows), *self.shapes[0])
        axis = self.axis + 1
        return [found.index_add(axis, self.ours, rows).index_add(axis, self.theirs, rows, alpha=-1)]


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
    writer = _Writer(list(tape.inputs.values()))
    numbers = list(range(len(tape.inputs)))
    for step in tape.steps:
        step = replace(step, inputs=tuple(numbers[i] for i in step.inputs))
        gate = _gate(step)
        if isinstance(step, Select) and gate is not None and _is_full(step):
            numbers.append(writer.tournament(step, gate))
        else:
            numbers.append(writer.put(step))
    outputs = {name: numbers[i] for name, i in tape.outputs.items()}
    return Tape(tape.inputs, tuple(writer.steps), outputs), numbers


def _gate(step: Step) -> Activation | None:
    """What a contest of x − y adds to y; ``None`` for what is neither a maximum nor a minimum."""
    match step:
        case Select(statistic=WindowMax()):
            return _LARGER
        case Select(statistic=Extremum(largest=largest)):
            return _LARGER if largest else _SMALLER
        case Select(statistic=Sort(k=1, largest=largest)):
            return _LARGER if largest else _SMALLER
    return None


def _is_full(step: Select) -> bool:
    """Whether something is pooled, and no pool is empty."""
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

    def tournament(self, step: Select, gate: Activation) -> int:
        (x,) = step.inputs
        for axis in step.statistic.mixed_axes(len(step.shapes[0])):
            pools = torch.from_numpy(step.statistic.pools(axis, self.shapes[x][axis]).copy()).long()
            # Padding is no entrant: in its place stands one who is there.
            pools = torch.where(pools >= 0, pools, pools.amax(1, keepdim=True))
            while True:
                x = self._round(step.node, x, axis, pools, gate)
                if pools.shape[1] <= 2:
                    break
                half = (pools.shape[1] + 1) // 2
                pools = torch.arange(pools.shape[0] * half).reshape(-1, half)
        if self.shapes[x] != step.shape:
            x = self._put(Moved, step.node, (x,), step.shape, Reshape(step.shape), torch.device("cpu"))
        return x

    def _round(self, node: str, x: int, axis: int, pools: Tensor, gate: Activation) -> int:
        ours, theirs = pools[:, ::2], pools[:, 1::2]
        if theirs.shape[1] < ours.shape[1]:
            theirs = torch.cat([theirs, ours[:, -1:]], 1)
        ours, theirs = ours.reshape(-1), theirs.reshape(-1)
        shape = (*self.shapes[x][:axis], len(ours), *self.shapes[x][axis + 1 :])
        contest = self._put(Contest, node, (x,), shape, axis, ours, theirs)
        gain = self._put(Gate, node, (contest,), shape, gate)
        rest = self._put(Moved, node, (x,), shape, Take(axis, tuple(theirs.tolist())), torch.device("cpu"))
        return self._put(Sum, node, (gain, rest), shape)

    def _put(
        self, kind: Callable[..., Step], node: str, inputs: tuple[int, ...], shape: tuple[int, ...], *args: Any
    ) -> int:
        return self.put(kind(node, inputs, tuple(self.shapes[i] for i in inputs), shape, *args))
