"""A tape: the primitives that a network consists of, in order, each with numbers for parameters (a Wengert list)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pathlift.passes.tape.steps import Step

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
