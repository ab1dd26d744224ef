"""The rescaling that comes closest to turning one network into another: one factor per class of neurons.

Every pair of weights that correspond, neither of them zero, claims that log|b/a| is the difference of the logarithms of
two factors. Starting from those that are fixed, a class takes the median of what the weights claim that lie between it
and classes that have a factor; then every class that of all weights around it. If all claims agree this is the
rescaling; if a few weights differ, it is what the others say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.channels.constraints import Scale
from pathlift.passes.channels.symmetry import Symmetry, symmetry
from pathlift.passes.equivalence.matched_graph import Change, MatchedGraph

_CLAIMS = 2**16
"""About how many weights of a parameter are asked at most."""
_ROUNDS = 3
_NONE: Array = np.zeros(0, np.int64)


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
        changes = {key: _scaling(logs, scale) for key, scale in self.scales.items() if _changes(logs, scale)}
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
    claims = [_claims(a.values(key), b.values(key), scale) for key, scale in scales.items()]
    log2 = np.full(found.count + 1, np.nan)
    log2[0] = 0.0
    _spread(log2, claims)
    for _ in range(_ROUNDS):
        known = np.nan_to_num(log2)
        classes = [_NONE, *(c for times, over, _ in claims for c in (times, over))]
        said = [_NONE, *(x for times, over, r in claims for x in (r + known[over], known[times] - r))]
        _put_medians(log2, np.concatenate(classes), np.concatenate(said))
        log2[0] = 0.0
    return Rescaling(found, scales, log2)


def _spread(log2: Array, claims: Sequence[tuple[Array, Array, Array]]) -> None:
    """Give every class that some weight tells of a factor, each from classes that have one; in place."""
    while True:
        before = np.isnan(log2).sum()
        for times, over, ratio in claims:
            for to, by, said in ((times, over, ratio), (over, times, -ratio)):
                told = np.isnan(log2[to]) & ~np.isnan(log2[by])
                _put_medians(log2, to[told], said[told] + log2[by[told]])
        if np.isnan(log2).sum() == before:
            waiting = [c[np.isnan(log2[c])] for times, over, _ in claims for c in (times, over)]
            unknown = next((c[0] for c in waiting if c.size), None)
            if unknown is None:
                return
            log2[unknown] = 0.0  # tied to nothing that is fixed: any factor will do


def scales_of(side: MatchedGraph, symmetry: Symmetry) -> dict[str, Scale]:
    """Return which classes multiply and divide the elements of each parameter of a network, by key."""
    uses = symmetry.scales()
    return {key: uses[id(p)].scale for key in side.real if id(p := side.graph[key].value) in uses}


def _claims(a: Array, b: Array, scale: Scale) -> tuple[Array, Array, Array]:
    """The classes that weights lead to and read, and log2|b/a|, where both are finite and not zero."""
    stride = max(1, a.size // _CLAIMS) | 1  # odd, so that it meets all rows and columns of ordinary sizes
    a, b, times, over = (np.broadcast_to(x, a.shape).reshape(-1)[::stride] for x in (a, b, scale.times, scale.over))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log2(np.abs(b)) - np.log2(np.abs(a))
    told = np.isfinite(ratio)
    return times[told], over[told], ratio[told]


def _put_medians(log2: Array, classes: Array, said: Array) -> None:
    order = np.lexsort((said, classes))
    classes, said = classes[order], said[order]
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]]) if classes.size else np.zeros(0, np.int64)
    ends = np.r_[starts[1:], classes.size]
    log2[classes[starts]] = (said[(starts + ends - 1) // 2] + said[(starts + ends) // 2]) / 2


def _changes(log2: Array, scale: Scale) -> bool:
    return bool(log2[scale.times].any() or log2[scale.over].any())


def _scaling(log2: Array, scale: Scale) -> Change:
    whole = np.floor(log2)
    m, e = np.exp2(log2 - whole), whole.astype(np.int32)

    def change(values: Array) -> Array:
        with np.errstate(over="ignore", under="ignore"):
            scaled: Array = np.ldexp(values * m[scale.times] / m[scale.over], e[scale.times] - e[scale.over])
        return scaled

    return change
