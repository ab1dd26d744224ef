"""A tape: the primitives that a network consists of, in order, each with numbers for parameters (a Wengert list)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.tape.affine import Combined, Moved, Weighted
from pathlift.passes.tape.steps import Bilinear, Select, Step, Within

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Tape:
    """A network as a straight-line program.

    The values are numbered: first the inputs, then what each step computes.

    Parameters
    ----------
    inputs
        Shape by name.
    steps
        In order of execution; the step at position i computes value ``len(inputs) + i``.
    outputs
        Value by name.
    """

    inputs: Mapping[str, tuple[int, ...]]
    steps: tuple[Step, ...]
    outputs: Mapping[str, int]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of all values."""
        return [*self.inputs.values(), *(step.shape for step in self.steps)]

    def numbered(self) -> list[tuple[int, Step]]:
        """The steps, each with the number of the value that it computes."""
        return list(enumerate(self.steps, start=len(self.inputs)))

    def run(self, feeds: Sequence[Tensor]) -> list[Tensor]:
        """Compute all values in float64, one sample at a time."""
        values = list(feeds)
        for step in self.steps:
            values.append(step.run(*(values[i] for i in step.inputs)))
        return values


def check_agreement(first: Tape, second: Tape) -> None:
    """Check that two tapes agree step by step, and differ in numbers alone.

    Raises
    ------
    UnsupportedError
        If they do not; names the first node where they part.
    """
    if dict(first.inputs) != dict(second.inputs) or list(first.outputs.values()) != list(second.outputs.values()):
        raise UnsupportedError("1369", "the two networks have other inputs or outputs")
    for ours, theirs in zip(first.steps, second.steps, strict=False):
        if _form(ours) != _form(theirs):
            raise UnsupportedError("1369", f"node {theirs.node!r} is not what node {ours.node!r} is")
    if len(first.steps) != len(second.steps):
        raise UnsupportedError("1369", "one network has more steps than the other")


def _form(step: Step) -> tuple[object, ...]:
    """What two steps have in common that differ in numbers alone."""
    match step:
        case Weighted() | Combined():
            what: object = step.map
        case Moved():
            what = step.view
        case Select():
            what = step.statistic
        case Bilinear():
            what = step.terms
        case Within():
            what = step.low, step.high
        case _:
            what = None
    return type(step), step.inputs, step.shapes, step.shape, what
