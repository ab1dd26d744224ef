"""The largest difference of two networks over a box, as far as it is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.maximize import Found, maximize
from pathlift.passes.attacks.network import Network

Tensor = torch.Tensor
MOST_ELEMENTS = 64
"""Outputs with more elements are not followed each: the largest norms are looked for first, and then some elements."""
FOLLOWED = 16
"""How many elements are followed of larger outputs: those that differ most where anything was found."""
FIRST_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class Difference(Found):
    """The largest differences that were found, second network minus first.

    Their objectives are, in this order: the difference of each element in `elements`, minus that, and the sum and the
    maximum of all elements' absolute values.

    Parameters
    ----------
    elements
        Places in the outputs, flat, one output after the other.
    """

    elements: tuple[int, ...]

    @property
    def per_element(self) -> Tensor:
        """The largest absolute difference of each of the `elements`."""
        n = len(self.elements)
        return torch.maximum(self.value[:n], self.value[n : 2 * n])

    @property
    def l1(self) -> float:
        """The largest sum of absolute differences."""
        return float(self.value[-2])

    @property
    def linf(self) -> float:
        """The largest absolute difference of any element."""
        return float(self.value[-1])


def largest_difference(
    first: Graph, second: Graph, domain: Domain, *, budget: float, seed: int = 0, **options: Any
) -> Difference:
    """Look for the inputs of a box on which two networks differ most, in float64.

    Parameters
    ----------
    first, second
        Networks with inputs of the same shapes in the same order, maybe with other names, and such outputs.
    domain
        A box of the first one's inputs, by their names there.
    budget
        Seconds.
    seed
        Of the random numbers.
    **options
        ``restarts``, ``steps`` and ``rounds`` of `maximize`.

    Returns
    -------
    Difference
        Lower bounds of the maxima: each value is reached at its inputs.

    Raises
    ------
    UsageError
        If the networks have not the same inputs and outputs, or the box is not of these.
    ExecutionError
        If a network cannot be executed.
    """
    began = time.monotonic()
    if len(first.inputs) != len(second.inputs):
        raise UsageError("1486", f"one network has {len(first.inputs)} inputs, the other {len(second.inputs)}")
    names = [first[key].names[0] for key in first.inputs]
    a, b = Network(first, domain), Network(second, domain, names)
    if a.shapes != b.shapes:
        shapes = " and ".join(str([list(s) for s in n.shapes]) for n in (a, b))
        raise UsageError("1487", f"the outputs of two networks that are compared have shapes {shapes}")
    numbers = a.numbers + b.numbers

    def differ(inputs: Point) -> Tensor:
        return b(inputs) - a(inputs)

    count = differ(domain.centre).shape[1]
    elements, starts = tuple(range(count)), None
    if count > MOST_ELEMENTS:
        left = FIRST_SHARE * (budget - (time.monotonic() - began))
        norms = maximize(_objectives(differ, ()), domain, budget=left, seed=seed, numbers=numbers, **options)
        elements, starts = _most_different(differ, norms), norms.inputs
    left = budget - (time.monotonic() - began)
    objective = _objectives(differ, elements)
    found = maximize(objective, domain, budget=left, seed=seed, starts=starts, numbers=numbers, **options)
    return Difference(found.value, found.inputs, elements)


def _objectives(differ: Callable[[Point], Tensor], elements: Sequence[int]) -> Callable[[Point], Tensor]:
    def objective(inputs: Point) -> Tensor:
        d = differ(inputs)
        chosen, sizes = d[:, list(elements)], d.abs()
        return torch.cat([chosen, -chosen, sizes.sum(1, keepdim=True), sizes.amax(1, keepdim=True)], 1)

    return objective


def _most_different(differ: Callable[[Point], Tensor], found: Found) -> tuple[int, ...]:
    with torch.no_grad():
        sizes = differ(found.inputs).abs().nan_to_num(0.0).amax(0)
    return tuple(sorted(sizes.topk(FOLLOWED).indices.tolist()))
