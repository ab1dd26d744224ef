"""One-to-one maps between the neurons of two networks: found by colours, checked without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param
from pathlift.passes.equivalence.colours import Refinement
from pathlift.passes.equivalence.matched_graph import Change, MatchedGraph
from pathlift.passes.equivalence.network import Flow, Network, Weights

TRIES = 64
"""How often colours are refined in search of a map."""


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Which neuron of one network is which of the other.

    Parameters
    ----------
    image
        By neuron of the first network, the one of the second.
    forced
        Neurons that no other map could send elsewhere.
    """

    image: Array
    forced: Array


class Unmatched(Exception):  # noqa: N818 - an answer, not an error
    """Some neuron of the first network has no counterpart."""

    def __init__(self, neuron: int) -> None:
        super().__init__(neuron)
        self.neuron = neuron


class Undecided(Exception):  # noqa: N818 - an answer, not an error
    """The search took too long."""


def correspondences(refinement: Callable[[], Refinement]) -> Iterator[Correspondence]:
    """Yield maps that send neurons to neurons of the same colour, the likeliest first.

    Parameters
    ----------
    refinement
        Makes the refinement of their colours. It is large, and not kept while a map is looked at.

    Raises
    ------
    Unmatched
        If there is none.
    Undecided
        If there may be more than were tried.
    """
    colours, guess = _likeliest(refinement())
    forced = np.bincount(colours[0])[colours[0]] == 1
    if guess is not None:
        yield Correspondence(guess, forced)
    if not forced.all():
        yield from (Correspondence(_image(c), forced) for c in _Search(refinement()).all(colours))


def _likeliest(refinement: Refinement) -> tuple[Array, Array | None]:
    """The colours of all neurons, and the map that keeps their order where colours do not tell them apart."""
    colours = refinement.refined(refinement.initial)
    if isinstance(colours, int):
        raise Unmatched(colours)
    guess = _in_order(refinement, colours)
    return colours, None if guess is None else _image(guess)


def _in_order(refinement: Refinement, colours: Array) -> Array | None:
    """Tell all neurons of a colour apart by their order: right if it does not matter which is which."""
    found: Array | int = colours
    while not isinstance(found, int) and (alike := _alike(found)) is not None:
        apart = found.copy()
        for row, neurons in zip(apart, alike, strict=True):
            row[neurons] = found.max() + 1 + np.arange(len(neurons))
        found = refinement.refined(apart)
    return None if isinstance(found, int) else found


class _Search:
    """Goes through all maps that colours permit: takes a neuron, tries every counterpart, refines, goes on."""

    def __init__(self, refinement: Refinement) -> None:
        self.refinement, self.tries = refinement, 0

    def all(self, colours: Array) -> Iterator[Array]:
        """Yield colours under which every neuron has one counterpart."""
        alike = _alike(colours)
        if alike is None:
            yield colours
            return
        for neuron in alike[1]:
            self.tries += 1
            if self.tries > TRIES:
                raise Undecided
            apart = colours.copy()
            apart[0, alike[0][0]] = apart[1, neuron] = colours.max() + 1
            found = self.refinement.refined(apart)
            if not isinstance(found, int):
                yield from self.all(found)


def _alike(colours: Array) -> tuple[Array, Array] | None:
    """The neurons of either network that have the first colour that is not unique; ``None`` if all are."""
    counts = np.bincount(colours[0])
    several = np.flatnonzero(counts[colours[0]] > 1)
    if not several.size:
        return None
    colour = colours[0, several[0]]
    return np.flatnonzero(colours[0] == colour), np.flatnonzero(colours[1] == colour)


def _image(colours: Array) -> Array:
    ours, theirs = (np.argsort(row) for row in colours)
    image = np.empty_like(ours)
    image[ours] = theirs
    return image


def permuted(side: MatchedGraph, network: Network, image: Array) -> MatchedGraph | None:
    """Return a network with its neurons where their counterparts are.

    Parameters
    ----------
    side
        The second network.
    network
        The neurons, of both.
    image
        By neuron of the first network, the one of the second.

    Returns
    -------
    Side or None
        A network that computes the same as `side`; ``None`` if the map does not preserve how neurons are computed.
    """
    if (network.origin[image] != network.origin).any():
        return None
    changes = {}
    for step in network.steps:
        if isinstance(step, Flow):
            if not _preserves(step, image):
                return None
        else:
            change = _rearrangement(step, image)
            if change is None:
                return None
            changes[step.key] = change
    return side.changed(changes)


def within(w: Weights, kept: Array) -> Array:
    """Which elements of a parameter lead from and to neurons of a set."""
    elements: Array = kept[w.times] if w.over is None else kept[w.times] & kept[w.over]
    return elements


def _preserves(flow: Flow, image: Array) -> bool:
    """Whether the image of a flow is the flow itself."""
    before, after = (
        rows[:, np.lexsort(rows)]
        for rows in (
            np.stack([flow.target, flow.source, flow.role]),
            np.stack([image[flow.target], image[flow.source], flow.role]),
        )
    )
    return bool((before == after).all())


def _rearrangement(w: Weights, image: Array) -> Change | None:
    """Find, for each element of a parameter, its counterpart; ``None`` if one has none."""
    if w.over is None or not any(m > 1 and n > 1 for m, n in zip(w.times.shape, w.over.shape, strict=True)):
        parts = [_positions(x, image) for x in (w.times, w.over) if x is not None]
        if any(p is None for p in parts):
            return None
        return _moving([p for p in parts if p is not None])
    joint = np.broadcast_shapes(w.times.shape, w.over.shape)
    times, over = (np.broadcast_to(x, joint).reshape(-1) for x in (w.times, w.over))
    pairs = _positions_of(image[times] * len(image) + image[over], times * len(image) + over)
    return None if pairs is None else _moving([(joint, pairs)])


Positions = tuple[tuple[int, ...], Array]
"""The shape of some axes (others have extent 1), and for each position along them, in row-major order, another."""


def _positions(neurons: Array, image: Array) -> Positions | None:
    found = _positions_of(image[neurons.reshape(-1)], neurons.reshape(-1))
    return None if found is None else (neurons.shape, found)


def _positions_of(wanted: Array, present: Array) -> Array | None:
    """Where each wanted number is present; ``None`` if one is not."""
    if not wanted.size:
        return wanted
    order = np.argsort(present)
    found = order[np.searchsorted(present, wanted, sorter=order).clip(max=len(order) - 1)]
    return found if (present[found] == wanted).all() else None


def _moving(moves: Sequence[Positions]) -> Change:
    """Return a change that moves the elements of a parameter; the moves are along different axes."""
    moves = [(shape, positions) for shape, positions in moves if (positions != np.arange(positions.size)).any()]
    return lambda param: Param.by_rows(param.dtype, param.shape, lambda rows: _taken(param, moves, rows))


def _taken(param: Param, moves: Sequence[Positions], rows: Rows) -> Array:
    """Return some rows of a parameter whose elements have moved."""
    rank = len(param.shape)
    aligned = [((1,) * (rank - len(shape)) + shape, positions) for shape, positions in moves]
    leading = next(((shape, positions) for shape, positions in aligned if shape[0] > 1), None)
    values = param.rows(rows) if leading is None else _taken_rows(param, *leading, rows)
    for shape, positions in aligned:
        if shape[0] == 1:
            axes = [i for i, n in enumerate(shape) if n > 1]
            moved = np.moveaxis(values, axes, range(len(axes)))
            taken = moved.reshape(-1, *moved.shape[len(axes) :])[positions]
            values = np.moveaxis(taken.reshape(moved.shape), range(len(axes)), axes)
    return values


def _taken_rows(param: Param, shape: tuple[int, ...], positions: Array, rows: Rows) -> Array:
    """The same for one move along the first axis, and others: reads no rows but those that elements come from."""
    axes = [i for i, n in enumerate(shape) if n > 1]
    extents = [shape[i] for i in axes]
    first, *others = np.unravel_index(positions.reshape(extents)[rows], extents)
    sources, inverse = np.unique(first, return_inverse=True)
    moved = np.moveaxis(param.rows(sources), axes, range(len(axes)))
    return np.moveaxis(moved[inverse.reshape(first.shape), *others], range(len(axes)), axes)
