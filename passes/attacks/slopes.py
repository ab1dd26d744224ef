"""The largest slopes of a network over a box, as far as they are found: lower bounds of Lipschitz constants."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.jacobian import Jacobian, directions
from pathlift.passes.attacks.maximize import Found, maximize
from pathlift.passes.attacks.network import Network

Tensor = torch.Tensor
PAIRS_SHARE = 0.3
ALONG = 5
"""Points between the two of a pair: where a chord is steep, some point along it is steeper."""
SHORTEST = 1e-3
"""The least distance of a pair in a search, as a share of the box's largest width: shorter chords are all rounding."""
NOISE = 64 * torch.finfo(torch.float64).eps
"""Of the values, what is taken off a chord's rise for their rounding."""
INWARD = 1e-4
"""How far a point is moved to one in the middle before its slope is taken: kinks lie where searches go, in corners and
at zero, and chords need room on both sides."""
LENGTHS = (1.0, 1e-2, 1e-4)
"""Of chords, as shares of the room that there is at least."""
AGREE = 1e-6
"""What chords to either side may differ from the Jacobian by, relatively; where they do more, there is a kink."""


@dataclass(frozen=True, eq=False)
class Slope:
    """One slope, and where it is.

    Parameters
    ----------
    value
        The rise by the run between `first` and `second`, less its rounding, or the Jacobian's norm half-way between
        them, if that agrees with the chords from there to both (1e-6, relatively). 0 if none was found.
    first, second
        Points of the box, ``(1, *shape)``.
    """

    value: float
    first: Point
    second: Point


@dataclass(frozen=True, eq=False)
class Slopes:
    """The largest slopes that were found.

    Parameters
    ----------
    per_output
        Of each element of the outputs, by the maximum norm of inputs: ‖∇fⱼ‖₁.
    inf_to_one
        Of all outputs' sum of absolute values, by the maximum norm of inputs: ‖J‖ from ∞ to 1.
    spectral
        Of the Euclidean norm of all outputs, by that of inputs: ‖J‖ from 2 to 2.
    """

    per_output: tuple[Slope, ...]
    inf_to_one: Slope
    spectral: Slope


def largest_slopes(graph: Graph, domain: Domain, *, budget: float, seed: int = 0, **options: Any) -> Slopes:
    """Look for the steepest places of a network in a box, in float64.

    Elements of the box with one value only are constants, of which no slope is taken.

    Parameters
    ----------
    graph
        The network.
    domain
        A box of its inputs.
    budget
        Seconds.
    seed
        Of the random numbers.
    **options
        ``restarts``, ``steps`` and ``rounds`` of `maximize`.

    Returns
    -------
    Slopes
        Lower bounds of the Lipschitz constants over the box, each at a pair of points.

    Raises
    ------
    UsageError
        If the box is not of the graph's inputs, or outputs are not of real numbers.
    ExecutionError
        If the graph cannot be executed.
    """
    began = time.monotonic()
    network = Network(graph, domain)
    pairs = _Pairs(network, domain)
    chords = maximize(
        pairs, pairs.domain, budget=PAIRS_SHARE * budget, seed=seed, numbers=2 * network.numbers, **options
    )
    numbers = network.numbers + 2 * len(chords.value) * domain.elements
    left = budget - (time.monotonic() - began)
    starts = pairs.between(chords)
    search = _Moved(Jacobian(network, domain), seed)
    found = maximize(search, domain, budget=left, seed=seed, starts=starts, numbers=numbers, **options)
    slopes = [
        max(_chord(pairs, chords, i), _local(search, found.point(i), i), key=lambda s: s.value)
        for i in range(len(found.value))
    ]
    return Slopes(tuple(slopes[:-2]), slopes[-2], slopes[-1])


def sizes(rises: Tensor) -> Tensor:
    """Measure differences of outputs, ``(batch, outputs)``, as the kinds of slopes do: ``(batch, outputs + 2)``."""
    return torch.cat([rises.abs(), rises.abs().sum(1, keepdim=True), rises.norm(dim=1, keepdim=True)], 1)


class _Pairs:
    """Rise by run of two points of the box, as an objective on pairs."""

    def __init__(self, network: Network, domain: Domain) -> None:
        self.network, self.single = network, domain
        bounds = [{f"{i} {n}": x for i in range(2) for n, x in side.items()} for side in (domain.low, domain.high)]
        self.domain = Domain(bounds[0], bounds[1])
        self.shortest = SHORTEST * float((domain.flat_high - domain.flat_low).max())

    def ends(self, inputs: Point) -> tuple[Tensor, Tensor]:
        first, second = ({n: inputs[f"{i} {n}"] for n in self.single.low} for i in range(2))
        return self.single.flat(first), self.single.flat(second)

    def __call__(self, inputs: Point) -> Tensor:
        return self.quotients(*self.ends(inputs), self.shortest)

    def quotients(self, first: Tensor, second: Tensor, shortest: float = 0.0) -> Tensor:
        y = self.network(self.single.unflat(torch.cat([first, second])))
        a, b = y.chunk(2)
        run = first - second
        largest, euclidean = run.abs().amax(1, keepdim=True), run.norm(dim=1, keepdim=True)
        noise = sizes(NOISE * (a.detach().abs() + b.detach().abs()))
        runs = torch.cat([largest.expand(-1, a.shape[1] + 1), euclidean], 1)
        return torch.where(largest > shortest, (sizes(a - b) - noise) / runs, torch.nan)

    def between(self, found: Found) -> dict[str, Tensor]:
        """Points along the chords that were found."""
        first, second = self.ends(found.inputs)
        return self.single.unflat(torch.cat([torch.lerp(first, second, (i + 0.5) / ALONG) for i in range(ALONG)]))


def _chord(pairs: _Pairs, found: Found, index: int) -> Slope:
    first, second = pairs.ends(found.point(index))
    value = max(0.0, float(found.value[index]))
    return Slope(value, pairs.single.unflat(first), pairs.single.unflat(second))


class _Moved:
    """Jacobians' norms at points that are moved a little to the middle, as an objective."""

    def __init__(self, jacobian: Jacobian, seed: int) -> None:
        self.jacobian, self.domain = jacobian, jacobian.domain
        width = self.domain.flat_high - self.domain.flat_low
        generator = torch.Generator().manual_seed(seed)
        draws = torch.rand(width.shape, generator=generator, dtype=torch.float64)
        self._inside = self.domain.flat_low + width * (0.25 + 0.5 * draws)
        self.room = INWARD / 4 * min((float(width[0, place]) for place in self.domain.open), default=0.0)

    def __call__(self, inputs: Point) -> Tensor:
        return self.jacobian.norms(self.domain.unflat(self.moved(inputs)))

    def moved(self, inputs: Point) -> Tensor:
        return torch.lerp(self.domain.flat(inputs), self._inside, INWARD)


def _local(search: _Moved, point: Point, index: int) -> Slope:
    """The Jacobian's norm where the search has found it, if chords agree with it.

    At a kink autograd returns something, which need not be any slope near by: x - relu(x) + relu(-x) is 0, and its
    "gradient" at 0 is 1 or -1.
    """
    x = search.moved(point)
    slopes = (confirmed(search.jacobian, x, index, search.room * length) for length in LENGTHS)
    return next((slope for slope in slopes if slope is not None), Slope(0.0, point, point))


def confirmed(jacobian: Jacobian, x: Tensor, index: int, longest: float) -> Slope | None:
    """Return the Jacobian's norm at a point, if chords of up to some length to both sides agree with it.

    Parameters
    ----------
    jacobian
        Of a network.
    x
        The point, flat, ``(1, elements)``.
    index
        Which norm, as `Jacobian.measured` counts them.
    longest
        How far a chord may reach.
    """
    domain = jacobian.domain
    matrix = jacobian(domain.unflat(x))
    direction = directions(matrix)[0, index] * jacobian.open[0]  # along an element that matters not, any sign is best
    claimed = float(jacobian.measured(matrix)[0, index])
    step = min(longest, jacobian.room(x, direction))
    if not claimed > 0 or not step > 0:
        return None
    first, second = x - step * direction, x + step * direction
    if not (domain.contains(domain.unflat(first)) and domain.contains(domain.unflat(second))):
        return None
    with torch.no_grad():
        y = jacobian.network(domain.unflat(torch.cat([first, x, second])))
    rises = sizes(y.diff(dim=0))[:, index] / step
    if not bool(((rises - claimed).abs() <= AGREE * claimed).all()):
        return None
    return Slope(claimed, domain.unflat(first), domain.unflat(second))
