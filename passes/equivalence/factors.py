"""The rescaling that comes closest to turning one network into another: one factor per class of neurons.

Every pair of weights that correspond, neither of them zero, claims that log|b/a| is the difference of the logarithms of
two factors. Starting from those that are fixed, a class takes the median of what the weights claim that lie between it
and classes that have a factor; then every class that of all weights around it. If all claims agree this is the
rescaling; if a few weights differ, it is what the others say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param
from pathlift.passes.channels.constraints import Scale
from pathlift.passes.channels.symmetry import Symmetry, symmetry
from pathlift.passes.equivalence.matched_graph import Change, MatchedGraph, elementwise

_CLAIMS = 2**16
"""About how many weights of a parameter are asked at most."""
_AT_ONCE = 2**18
"""Claims that are sorted at once."""
_ROUNDS = 3
Claims = tuple[Array, Array, Array]
"""Of some weights of a parameter: the classes that they lead to and read, and log2|b/a|."""


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A rescaling of the neurons of a graph.

    Parameters
    ----------
    symmetry
        The classes of neurons.
    scales
        By key of a parameter: which classes multiply and divide its elements.
    log2
        By class, the binary logarithm of the factor; NaN where no weight says anything.
    """

    symmetry: Symmetry
    scales: Mapping[str, Scale]
    log2: Array

    def applied(self, side: MatchedGraph) -> MatchedGraph:
        """Return a network of these classes after the rescaling."""
        logs = np.nan_to_num(self.log2)
        whole = np.floor(logs)
        m, e = np.exp2(logs - whole), whole.astype(np.int32)
        changes = {key: _scaling(m, e, scale) for key, scale in self.scales.items() if _changes(logs, scale)}
        return side.changed(changes) if changes else side


def fitted(a: MatchedGraph, b: MatchedGraph) -> Rescaling:
    """Find the rescaling of one network that comes closest to another one on the same graph.

    Parameters
    ----------
    a, b
        The networks; weights without effect are zero.
    """
    found = symmetry(a.graph)
    scales = scales_of(a, found)
    narrow = np.min_scalar_type(found.count)
    claims = [_claims(a.param(key), b.param(key), scale, narrow) for key, scale in scales.items()]
    log2 = np.full(found.count + 1, np.nan)
    log2[0] = 0.0
    _spread(log2, claims)
    for _ in range(_ROUNDS):
        known = np.nan_to_num(log2)
        for low, high in _ranges(claims, len(log2)):
            said = [x for claim in claims for x in _said(claim, known, low, high)]
            _put_medians(log2, *(np.concatenate(parts) for parts in zip(*said, strict=True)))
    return Rescaling(found, scales, log2)


def _spread(log2: Array, claims: Sequence[Claims]) -> None:
    """Give every class that some weight tells of a factor, each from classes that have one; in place."""
    while True:
        before = np.isnan(log2).sum()
        for times, over, ratio in claims:
            for to, by, said in ((times, over, ratio), (over, times, -ratio)):
                told = np.isnan(log2[to]) & ~np.isnan(log2[by])
                _put_medians(log2, to[told], said[told] + log2[by[told]])
        if np.isnan(log2).sum() == before:
            waiting = (c[np.isnan(log2[c])] for times, over, _ in claims for c in (times, over))
            unknown = next((c[0] for c in waiting if c.size), None)
            if unknown is None:
                return
            log2[unknown] = 0.0  # tied to nothing that is fixed: any factor will do


def _ranges(claims: Sequence[Claims], count: int) -> Iterator[tuple[int, int]]:
    """Cut the classes but the first into ranges with about `_AT_ONCE` claims of each, or a class that has more."""
    if not claims:
        return
    frequencies = np.zeros(count, np.int64)
    for times, over, _ in claims:
        frequencies += np.bincount(times, minlength=count) + np.bincount(over, minlength=count)
    frequencies[0] = 0
    block = np.cumsum(frequencies) // _AT_ONCE
    ends = np.flatnonzero(np.diff(block, append=-1)) + 1
    yield from zip([1, *ends[:-1].tolist()], ends.tolist(), strict=True)


def _said(claim: Claims, known: Array, low: int, high: int) -> Iterator[tuple[Array, Array]]:
    """What weights say of a range of classes: which class it is about, and the logarithm of its factor."""
    times, over, ratio = claim
    about = (times >= low) & (times < high)
    yield times[about], ratio[about] + known[over[about]]
    about = (over >= low) & (over < high)
    yield over[about], known[times[about]] - ratio[about]


def scales_of(side: MatchedGraph, symmetry: Symmetry) -> dict[str, Scale]:
    """Return which classes multiply and divide the elements of each parameter of a network, by key."""
    uses = symmetry.scales()
    return {key: uses[id(p)].scale for key in side.real if id(p := side.graph[key].value) in uses}


def _claims(a: Param, b: Param, scale: Scale, narrow: np.dtype[Any]) -> Claims:
    """The classes (in a `narrow` type) that weights lead to and read, and log2|b/a|, where it is a number."""
    stride = max(1, a.size // _CLAIMS) | 1  # odd, so that it meets all rows and columns of ordinary sizes
    ours, theirs = a.every(stride), b.every(stride)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log2(np.abs(theirs)) - np.log2(np.abs(ours))
    told = np.isfinite(ratio)
    shape = a.shape or (1,)
    places = np.unravel_index(np.arange(0, a.size, stride)[told], shape)
    times, over = (np.broadcast_to(x, shape)[places].astype(narrow) for x in (scale.times, scale.over))
    return times, over, ratio[told]


def _put_medians(log2: Array, classes: Array, said: Array) -> None:
    order = np.lexsort((said, classes))
    classes, said = classes[order], said[order]
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]]) if classes.size else np.zeros(0, np.int64)
    ends = np.r_[starts[1:], classes.size]
    log2[classes[starts]] = (said[(starts + ends - 1) // 2] + said[(starts + ends) // 2]) / 2


def _changes(log2: Array, scale: Scale) -> bool:
    return bool(log2[scale.times].any() or log2[scale.over].any())


def _scaling(m: Array, e: Array, scale: Scale) -> Change:
    def scaled(values: Array, rows: Rows) -> Array:
        s = scale.rows(rows, values.ndim)
        with np.errstate(over="ignore", under="ignore"):
            result: Array = np.ldexp(values * m[s.times] / m[s.over], e[s.times] - e[s.over])
        return result

    return elementwise(scaled)
