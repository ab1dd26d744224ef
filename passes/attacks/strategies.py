"""Ways to look for a maximum over a box: generators that yield after each evaluation, where a clock may stop them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from pathlift.passes.attacks.search import Search, chunks

Tensor = torch.Tensor
Strategy = Callable[[Search, torch.Generator, int, int], Iterator[None]]
"""Called as ``strategy(search, generator, restarts, steps)``."""
FIRST, LAST = 0.3, 1e-3
"""Lengths of the first and the last step of an ascent, as shares of the box's widths."""
RESAMPLED = 0.15
"""The share of the elements that are drawn anew beside a good point."""
MOST_CORNERS = 12
"""A box with more open elements has too many corners to try them all."""
MOST_ELEMENTS = 1024
"""A box with more open elements has too many to try one after the other."""


def uniform(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """Random points."""
    for _ in range(steps):
        yield from _evaluated(search, search.uniform(restarts, generator))


def corners(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """All corners if they are few, and otherwise random ones."""
    if len(search.domain.open) <= MOST_CORNERS:
        every = torch.cat([search.domain.flat(corner) for corner in search.domain.corners()])
        yield from _evaluated(search, every)
        return
    for _ in range(steps):
        yield from _evaluated(search, search.corners(restarts, generator))


def gradient_corners(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """The corner that the gradient's signs name, again and again: a step of any length, cut to the box."""
    for x, which in _starts(search, generator, restarts):
        for _ in range(steps):
            g = search.gradients(x, which)
            yield
            after = torch.where(g > 0, search.high, torch.where(g < 0, search.low, x))
            if torch.equal(after, x):
                break
            x = after
        search.values(x)
        yield


def ascent(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """Projected gradient ascent: steps of the gradient's signs and of its direction in turn, ever shorter ones.

    Signs are the steepest direction in the maximum norm (Madry et al. 2018, *Towards deep learning models resistant to
    adversarial attacks*); the direction itself converges where a maximum is inside the box.
    """
    for x, which in _starts(search, generator, restarts):
        # Elements weigh by the widths of the box, in which all steps are measured.
        direct = torch.rand(len(x), 1, generator=generator) < 0.5
        for t in range(steps):
            g = search.gradients(x, which) * search.width
            yield
            unit = g / g.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
            length = FIRST * (LAST / FIRST) ** (t / max(1, steps - 1))
            x = search.clip(x + length * search.width * torch.where(direct, unit, g.sign()))
        search.values(x)
        yield


def resampling(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """The best points with some of their elements drawn anew: anywhere, from the ends, or near by."""
    for t in range(steps):
        scale = FIRST * (LAST / FIRST) ** (t / max(1, steps - 1))
        share = max(RESAMPLED * (1 - t / steps), 1.5 / search.low.shape[1])
        for which in chunks(search.ranked().repeat_interleave(restarts), search.at_once):
            x = search.points[which]
            near = x + scale * search.width * torch.randn(x.shape, generator=generator, dtype=torch.float64)
            drawn = torch.stack([search.uniform(len(x), generator), search.corners(len(x), generator), near])
            kind = torch.randint(3, (len(x),), generator=generator)
            anew = torch.rand(x.shape, generator=generator) < share
            search.values(torch.where(anew, drawn[kind, torch.arange(len(x))], x))
            yield


def polish(search: Search, generator: torch.Generator, restarts: int, steps: int) -> Iterator[None]:
    """Each element of the best points to either end of its interval, one by one, and kept if that is better."""
    places = search.domain.open
    if len(places) > MOST_ELEMENTS:
        return
    order = torch.tensor(places)[torch.randperm(len(places), generator=generator)].tolist()
    for place in order:
        x = torch.cat([search.points, search.points])
        half = len(search.points)
        x[:half, place], x[half:, place] = search.low[0, place], search.high[0, place]
        yield from _evaluated(search, x)


SHARES: dict[Strategy, float] = {
    gradient_corners: 0.1,
    corners: 0.1,
    ascent: 0.5,
    uniform: 0.05,
    resampling: 0.15,
    polish: 0.1,
}
"""In this order, with these shares of the time; what one leaves over is for those after it."""


def _evaluated(search: Search, x: Tensor) -> Iterator[None]:
    for part in chunks(x, search.at_once):
        search.values(part)
        yield


def _starts(search: Search, generator: torch.Generator, restarts: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Candidates and the objective of each: first the best points of all objectives, then random ones and corners.

    There are ever more of them at once: the first ones get to their end in little time, and the others are as many as
    an evaluation has room for.
    """
    yield from _parts(search, search.points[search.ranked()], search.ranked())
    done, count = 1, 1
    while done < restarts:
        which = search.ranked().repeat(count)
        inside, outside = search.uniform(len(which), generator), search.corners(len(which), generator)
        yield from _parts(
            search, torch.where(torch.rand(len(which), 1, generator=generator) < 0.5, inside, outside), which
        )
        done, count = done + count, min(2 * count, restarts - done - count)


def _parts(search: Search, x: Tensor, which: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for chosen in chunks(torch.arange(len(x)), search.at_once):
        yield x[chosen], which[chosen]
