"""Two networks at once: boxes of what one computes, of what the other computes, and of the difference.

The tapes agree step by step and differ in numbers alone. A difference δ = z_b − z_a goes its own way: through weights
it is W_b·δ + (W_b − W_a)·z_a, and W_a·δ + (W_b − W_a)·z_b too; through an activation f, a slope times δ. Of everything
known about a value the intersection is kept: z_b − z_a bounds δ, and z_a + δ bounds z_b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from pathlift.passes.intervals.affine import affine_box, around, carried, products
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, gap, slopes
from pathlift.passes.intervals.intervals import bilinear_box, enclose
from pathlift.passes.intervals.rectifiers import is_relu, relu_difference
from pathlift.passes.tape.affine import Affine, Combined, Scaled, Weighted
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within
from pathlift.passes.tape.tape import Tape, check_agreement

_CHEAP = 2**18
"""Multiplications of a linear map that is cheap enough for both ways to its difference."""


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
        d = self.b.minus(self.a).moved_into(self.d)
        return Triple(self.b.minus(d).moved_into(self.a), self.a.plus(d).moved_into(self.b), d)

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

    Raises
    ------
    UnsupportedError
        If the tapes do not agree; names the node.
    """
    triples = [Triple(x, x, Box.zero(tuple(x.low.shape), x.low.device)) for x in domain]
    check_agreement(first, second)
    for ours, theirs in zip(first.steps, second.steps, strict=True):
        found = pair_enclose(ours, theirs, [triples[i] for i in ours.inputs])
        triples.append(found.meet(known[len(triples)]) if known else found)
    return triples


def pair_differences(first: Tape, second: Tape, domain: Sequence[Box]) -> list[Box]:
    """Enclose what two tapes' outputs differ by; other values are forgotten after their last use.

    Parameters
    ----------
    first, second, domain
        As `pair_intervals` has them.
    """
    check_agreement(first, second)
    outputs = list(first.outputs.values())
    last = {i: value for value, step in first.numbered() for i in step.inputs}
    held = {i: Triple(x, x, Box.zero(tuple(x.low.shape), x.low.device)) for i, x in enumerate(domain)}
    for (value, ours), theirs in zip(first.numbered(), second.steps, strict=True):
        held[value] = pair_enclose(ours, theirs, [held[i] for i in ours.inputs])
        for i in {value, *ours.inputs}:
            if last.get(i, value) == value and i not in outputs:
                del held[i]
    return [held[i].d for i in outputs]


def pair_enclose(first: Step, second: Step, triples: Sequence[Triple]) -> Triple:
    """Enclose what two steps make of triples."""
    if isinstance(first, Affine) and isinstance(second, Affine):
        return _affine_triple(first, second, triples)
    a = enclose(first, [t.a for t in triples])
    alike = not isinstance(first, Gate) or not isinstance(second, Gate) or Curve.of(first).same(Curve.of(second))
    if alike and all(t.d.is_zero for t in triples):
        return Triple(a, a, Box.zero(first.shape, a.low.device))
    found = Triple(a, enclose(second, [t.b for t in triples]), difference(first, second, triples))
    return found if isinstance(first, Gate) and alike and is_relu(first) else found.closed()


def _affine_triple(first: Affine, second: Affine, triples: Sequence[Triple]) -> Triple:
    """Enclose an affine step; where both networks' is the same, what comes in bounding each other comes out so."""
    rest = None if first is second else second.minus(first)
    a_s, b_s, ds = [t.a for t in triples], [t.b for t in triples], [t.d for t in triples]
    if rest is None and all(d.is_zero for d in ds):
        a = affine_box(first, a_s)
        return Triple(a, a, Box.zero(first.shape, a.low.device))
    if isinstance(first, Weighted | Combined):
        return _product_triple(first, second, rest, triples[0])
    a, b = affine_box(first, a_s), affine_box(second, b_s)
    if rest is None or not rest.inputs:
        d = carried(second, ds)
        return Triple(a, b, d if rest is None else d.plus(affine_box(rest, ())))
    d, *others = (
        carried((second, first)[way], ds).plus(affine_box(rest, (a_s, b_s)[way]))
        for way in _ways(first, second, rest, triples[0])
    )
    d = d.meet(others[0]) if others else d
    return Triple(a, b, d).closed()


def _product_triple(first: Affine, second: Affine, rest: Affine | None, t: Triple) -> Triple:
    """Enclose a linear map, all boxes that meet the same weights at once."""
    if rest is None:
        return Triple(*map(around, products(first, [t.a, t.b, t.d])))
    ways = _ways(first, second, rest, t)
    sources = [(t.a, t.b)[way] for way in ways]
    if t.d.is_zero:
        (a,), (b,) = products(first, [t.a]), products(second, [t.b])
        d = around(*products(rest, [t.a]))
        return Triple(around(a), around(b), d).closed()
    a, *theirs = products(first, [t.a, t.d][: 1 + (1 in ways)])
    b, *ours = products(second, [t.b, t.d][: 1 + (0 in ways)])
    parts = zip(ours + theirs, products(rest, sources), strict=True)
    d, *others = (around(*pair) for pair in parts)
    return Triple(around(a), around(b), d.meet(others[0]) if others else d).closed()


def _ways(first: Affine, second: Affine, rest: Affine, t: Triple) -> list[int]:
    """Which ways to go for the difference: 0 for W_b·δ + (W_b − W_a)·z_a, 1 for W_a·δ + (W_b − W_a)·z_b.

    Where products are expensive, only the one that promises the smaller radius.
    """
    if prod(first.shape) * first.terms <= _CHEAP:
        return [0, 1]
    norms = [_norm(step) for step in (first, second, rest)]
    widths = [float(box.high.sum() - box.low.sum()) for box in (t.a, t.b, t.d)]
    spreads = [norms[1] * widths[2] + norms[2] * widths[0], norms[0] * widths[2] + norms[2] * widths[1]]
    return [int(spreads[1] < spreads[0])]


def _norm(step: Affine) -> float:
    assert isinstance(step, Weighted | Scaled)
    values = step.weights.values if isinstance(step, Weighted) else step.factor.values
    return float(torch.linalg.vector_norm(values, 1))


def difference(first: Step, second: Step, triples: Sequence[Triple]) -> Box:
    """Enclose the difference of what two steps compute that are not affine, without looking at what each computes."""
    t = triples[0]
    match first, second:
        case Gate(), Gate():
            ours, theirs = Curve.of(first), Curve.of(second)
            if is_relu(first) and is_relu(second):
                return relu_difference(t.a, t.b, t.d)
            return slopes(theirs, t.both).times(t.d).plus(gap(ours, theirs, t.a))
        case Select(), Select():
            # Every order statistic is 1-Lipschitz for the largest difference within its pool, to either side.
            return Box(*_extremes(first, t.d)).known()
        case Bilinear(), Bilinear():
            x, y = triples
            if first.inputs[0] == first.inputs[1] and first.terms == 1:  # (z+δ)² − z² = δ·(z_a + z_b)
                return x.d.times(x.a.plus(x.b))
            way = bilinear_box(first, x.d, y.b).plus(bilinear_box(first, x.a, y.d))
            return way.meet(bilinear_box(first, x.d, y.a).plus(bilinear_box(first, x.b, y.d)))
        case Within(), Within():
            return t.d
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
