"""Kinds of paths: which activations and pools a path meets, as the peeling argument of a Rademacher bound counts them.

Walking a path from the output, the theorem of docs/theory peels off one nonlinear neuron after the other; neurons that
are reached by the same *word* of nonlinearities are peeled together, however many there are. An activation costs a
factor 2, a pool of K values a factor 2K, and where one directly follows the other, both together cost 2K.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import exp, log, prod
from typing import Any, ClassVar

import numpy as np

from pathlift.ir import dims as D
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation, LinearMap, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.selections import Sort
from pathlift.ir.primitives.views import Pad
from pathlift.ir.types import Dims, Ints, Param
from pathlift.passes.path_norm.rules import check_padding

_TOLD_BY_SLOPES = ("Relu", "LeakyRelu", "Abs")
WORDS = 2000
"""Words beyond which they are counted by their length alone."""


@dataclass(frozen=True)
class Letter:
    """What is peeled off at once.

    Parameters
    ----------
    activation
        Name and slopes; none for a pool alone.
    pool
        Rank (from the largest) and number of values; none for an activation alone.
    """

    activation: tuple[str, float, float] | None = None
    pool: tuple[int, int] | None = None

    @property
    def factor(self) -> int:
        """By how much the exponential moment grows: 2 for the sign, K for the independent signs of K values."""
        return 2 * (self.pool[1] if self.pool else 1)


Word = tuple[Letter, ...]


@dataclass(frozen=True)
class Paths:
    """The paths that end in a value.

    Parameters
    ----------
    shape
        Extents of the value.
    words
        The words of its paths; ``None`` if they are too many.
    letters
        All that occur in them.
    longest
        Letters in the longest.
    layers, pools
        The most linear maps with weights, and the most pools, on a path.
    kinds
        Ranks of pools (as the k of a k-max-pool), over all paths.
    fan_in
        The most values of a pool.
    top
        The letter that all its elements come straight from; ``None`` if there is no such.
    """

    shape: Ints
    words: frozenset[Word] | None = frozenset({()})
    letters: frozenset[Letter] = frozenset()
    longest: int = 0
    layers: int = 0
    pools: int = 0
    kinds: frozenset[tuple[bool, int]] = frozenset()
    fan_in: int = 1
    top: Letter | None = None

    @property
    def log_count(self) -> float:
        """ln of the sum, over the words, of the products of their letters' factors, rounded up."""
        if self.words is not None:
            total = log(sum(prod(letter.factor for letter in word) for word in self.words)) if self.words else 0.0
        else:  # any sequence of letters, and no more pools than a path has
            each = log(2 * len(self.letters))
            total = self.longest * each + self.pools * log(self.fan_in) - log(1 - exp(-each))
        return total + 1e-12 * (1 + abs(total))


def joined(parts: Iterable[Paths], shape: Ints) -> Paths:
    """The paths of values that are combined."""
    found = list(parts)
    words: set[Word] | None = set()
    for p in found:
        words = None if words is None or p.words is None else words | p.words
    tops = {p.top for p in found}
    return Paths(
        shape,
        None if words is None or len(words) > WORDS else frozenset(words),
        frozenset[Letter]().union(*(p.letters for p in found)),
        max((p.longest for p in found), default=0),
        max((p.layers for p in found), default=0),
        max((p.pools for p in found), default=0),
        frozenset[tuple[bool, int]]().union(*(p.kinds for p in found)),
        max((p.fan_in for p in found), default=1),
        tops.pop() if len(tops) == 1 else None,
    )


@dataclass(frozen=True)
class Shaped:
    """A parameter, of which only the shape matters."""

    shape: Ints


class PathWords(TwoSorted[Shaped, Paths]):
    """Collects the words of paths, and the constants of Theorem 3.1 of arXiv 2310.01225."""

    name: ClassVar[str] = "generalization"
    parameter_type: ClassVar[type] = Shaped

    # ---- parameters

    def param(self, p: Param) -> Shaped:
        return Shaped(p.shape)

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Shaped]) -> Shaped:
        return params[0]

    def add_parameters(self, x: Shaped, y: Shaped, axis: int | None) -> Shaped:
        return Shaped(_broadcast(x.shape, y.shape, axis))

    def scale_parameter(self, x: Shaped, c: Shaped, axis: int | None, *, reciprocal: bool) -> Shaped:
        return self.add_parameters(x, c, axis)

    def multiply_parameter(self, x: Shaped, c: float) -> Shaped:
        return x

    def move_parameters(self, xs: Sequence[Shaped], v: View) -> Shaped:
        return Shaped(_known(v.shape(*(x.shape for x in xs))))

    def lift(self, p: Shaped) -> Paths:
        return Paths(p.shape)

    # ---- signals

    def apply_weights(self, f: LinearMap, x: Paths, w: Shaped) -> Paths:
        return replace(x, shape=_known(f.shape(x.shape, w.shape)), layers=x.layers + 1, top=None)

    def combine(self, f: SeparableMap, x: Paths) -> Paths:
        return replace(x, shape=_known(f.shape(x.shape, None)), top=None)

    def add_signals(self, x: Paths, y: Paths, axis: int | None) -> Paths:
        return replace(joined([x, y], _broadcast(x.shape, y.shape, axis)), top=None)

    def scale_signal(self, x: Paths, c: Shaped, axis: int | None, *, reciprocal: bool) -> Paths:
        return replace(x, shape=_broadcast(x.shape, c.shape, axis), top=None)

    def multiply_signal(self, x: Paths, c: float) -> Paths:
        return replace(x, top=None)

    def activate(self, x: Paths, f: Activation, *slopes: Shaped) -> Paths:
        if slopes or not f.homogeneous:
            reason = f"the theorem holds for ReLU, LeakyReLU, pools and linear maps, not for {f.name}"
            raise UnsupportedError("1375", reason, hint="--kind pac-bayes and --kind product take other activations")
        # Activations that share a letter must be one function; of a Clip, the slopes do not tell which it is.
        assert self.node is not None
        own = (f.name if f.name in _TOLD_BY_SLOPES else f"{f.name} {self.node.names[0]}", *f.slopes)
        if x.top is not None and x.top.activation is None:
            return _peeled(x, [Letter(own, x.top.pool)], merge=True)
        return _peeled(x, [Letter(own)])

    def pool(self, x: Paths, s: OrderStatistic) -> Paths:
        shape = _known(s.shape(x.shape))
        ranks, sizes = _pools(s, x.shape)
        largest = max(sizes, default=1)
        x = replace(
            x, pools=x.pools + 1, fan_in=max(x.fan_in, largest), kinds=x.kinds | {(s_largest(s), k) for k in ranks}
        )
        own = x.top.activation if x.top is not None and x.top.pool is None else None
        if ranks == [1] and s_largest(s) and own is not None and own[0] == "Relu":
            sizes = [largest]  # a maximum of what is not negative may as well be taken over zeros, too
        letters = [Letter(own, (k if s_largest(s) else n + 1 - k, n)) for k, n in product(ranks, sizes) if k <= n]
        return replace(_peeled(x, letters, merge=own is not None), shape=shape)

    def move_signals(self, xs: Sequence[Paths], v: View) -> Paths:
        parts = list(xs)
        if isinstance(v, Pad):
            check_padding(v)
            if v.value and max(v.pads, default=0) > 0:
                parts.append(Paths(()))
        return joined(parts, _known(v.shape(*(x.shape for x in xs))))


def s_largest(s: OrderStatistic) -> bool:
    """Whether ranks count from the largest value."""
    return bool(getattr(s, "largest", True))


def _pools(s: OrderStatistic, shape: Ints) -> tuple[list[int], list[int]]:
    """The ranks that are selected, and the numbers of values that they are selected among."""
    counts = [1]
    for axis in s.mixed_axes(len(shape)):
        own = np.unique((s.pools(axis, shape[axis]) >= 0).sum(1)).tolist()
        counts = sorted({a * b for a in counts for b in own if b})
    ranks = list(range(1, s.k + 1)) if isinstance(s, Sort) else [1]
    return ranks, counts


def _peeled(x: Paths, letters: Sequence[Letter], *, merge: bool = False) -> Paths:
    """Put a letter in front of all words; with `merge`, in place of the first, which they all have."""
    words = x.words
    if words is not None:
        words = frozenset((letter, *(word[1:] if merge else word)) for letter in letters for word in words)
        words = None if len(words) > WORDS else words
    return replace(
        x,
        words=words,
        letters=x.letters | frozenset(letters),
        longest=x.longest + (not merge),
        top=letters[0] if len(letters) == 1 else None,
    )


def _broadcast(x: Ints, y: Ints, axis: int | None) -> Ints:
    return x if axis is not None else _known(D.broadcast(x, y))


def _known(dims: Dims) -> Ints:
    if not all(isinstance(d, int) for d in dims):
        raise UnsupportedError("1376", "an extent is not known", hint="give it by --shape")
    return tuple(d for d in dims if isinstance(d, int))
