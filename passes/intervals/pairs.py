"""Two networks at once: boxes of what one computes, of what the other computes, and of the difference.

The tapes agree step by step and differ in numbers alone. A difference δ = z_b − z_a goes its own way: through weights
it is W_b·δ + (W_b − W_a)·z_a, and W_a·δ + (W_b − W_a)·z_b too; through an activation f, a slope times δ. Of everything
known about a value the intersection is kept: z_b − z_a bounds δ, and z_a + δ bounds z_b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pathlift.passes.intervals.affine import affine_box
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, gap, slopes
from pathlift.passes.intervals.intervals import bilinear_box, enclose
from pathlift.passes.tape.steps import Affine, Bilinear, Gate, Select, Step, Within
from pathlift.passes.tape.tape import Tape


@dataclass(frozen=True, eq=False)
class Triple:
    """What is known about one value of two networks.

    Parameters
    ----------
    a, b
        In the first, and in the second.
    d
        b − a.
    """

    a: Box
    b: Box
    d: Box

    def meet(self, other: Triple) -> Triple:
        """What both say."""
        return Triple(self.a.meet(other.a), self.b.meet(other.b), self.d.meet(other.d)).closed()

    def closed(self) -> Triple:
        """What each of the three says about the others."""
        d = self.d.meet(self.b.minus(self.a))
        return Triple(self.a.meet(self.b.minus(d)), self.b.meet(self.a.plus(d)), d)

    @property
    def both(self) -> Box:
        """Where the value of either lies."""
        return self.a.hull(self.b)


def pair_intervals(
    first: Tape, second: Tape, domain: Sequence[Box], known: Sequence[Triple] | None = None
) -> list[Triple]:
    """Enclose every value of two tapes that agree step by step, over inputs that both read.

    Parameters
    ----------
    first, second
        The networks.
    domain
        One box per input.
    known
        What is known about every value already.
    """
    triples = [Triple(x, x, Box.zero(tuple(x.low.shape), x.low.device)) for x in domain]
    for ours, theirs in zip(first.steps, second.steps, strict=True):
        found = pair_enclose(ours, theirs, [triples[i] for i in ours.inputs])
        triples.append(found.meet(known[len(triples)]) if known else found)
    return triples


def pair_enclose(first: Step, second: Step, triples: Sequence[Triple]) -> Triple:
    """Enclose what two steps make of triples."""
    a = enclose(first, [t.a for t in triples])
    b = enclose(second, [t.b for t in triples])
    return Triple(a, b, difference(first, second, triples).known()).closed()


def difference(first: Step, second: Step, triples: Sequence[Triple]) -> Box:
    """Enclose the difference of what two steps compute, without looking at what each computes."""
    ds = [t.d for t in triples]
    match first, second:
        case Affine(), Affine():
            rest = second.minus(first)
            ways = [affine_box(second, ds, linear_only=True)]
            if rest is None:
                return ways[0]
            ways = [ways[0].plus(affine_box(rest, [t.a for t in triples][: len(rest.inputs)]))]
            if rest.inputs:
                other = affine_box(first, ds, linear_only=True)
                ways.append(other.plus(affine_box(rest, [t.b for t in triples])))
            return ways[0] if len(ways) == 1 else ways[0].known().meet(ways[1].known())
        case Gate(), Gate():
            (t,) = triples
            ours, theirs = Curve.of(first), Curve.of(second)
            return slopes(theirs, t.both).times(t.d).plus(gap(ours, theirs, t.a))
        case Select(), Select():
            # Every order statistic is 1-Lipschitz for the largest difference within its pool, to either side.
            (t,) = triples
            return Box(*_extremes(first, t.d))
        case Bilinear(), Bilinear():
            x, y = triples
            square = first.inputs[0] == first.inputs[1]
            if square and first.terms == 1:  # (z+δ)² − z² = δ·(z_a + z_b)
                return x.d.times(x.a.plus(x.b))
            return bilinear_box(first, x.d, y.b).plus(bilinear_box(first, x.a, y.d))
        case Within(), Within():
            return triples[0].d
    raise AssertionError(first)


def _extremes(step: Select, d: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest difference in each pool."""
    axes = step.statistic.mixed_axes(d.low.ndim)
    low, high = d.low, d.high
    for axis in axes:
        pools = torch.from_numpy(step.statistic.pools(axis, d.low.shape[axis]).copy())
        low, high = -_largest(-low, axis, pools), _largest(high, axis, pools)
    return low.reshape(step.shape), high.reshape(step.shape)


def _largest(x: torch.Tensor, axis: int, pools: torch.Tensor) -> torch.Tensor:
    index = pools.clamp(min=0).to(x.device)
    taken = x.index_select(axis, index.reshape(-1)).reshape(*x.shape[:axis], *pools.shape, *x.shape[axis + 1 :])
    held = (pools >= 0).to(x.device).reshape(*pools.shape, *[1] * (x.ndim - axis - 1))
    return torch.where(held, taken, -torch.inf).amax(axis + 1)
