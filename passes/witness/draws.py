"""Random values for a node in two graphs, in which what it reads differs by factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch

from pathlift.ir.types import Array, TensorType, ValueType, is_float

Tensor = torch.Tensor
BATCH, SMALL = 2, 3
"""To what the first axis, and those behind the channels', are cut where all their elements have one factor."""
MEETINGS = 6
"""Trials of either kind that a channel takes part in, at least."""
WIDE = 16
"""Octaves up and down over which values are spread: activations have knees at other places than 0."""
Trial = list[Tensor | None]
"""What a node reads in each slot; ``None`` for parameters."""


def drawn(
    seed: int, types: Sequence[ValueType | None], logs: Sequence[Array | None], *, cut: bool
) -> Iterator[tuple[Trial, Trial]]:
    """Yield values before and after: some of one size before, some of one size after, but spread.

    There are as many of both kinds as it takes for about `MEETINGS` of what an element may be, its sign included.

    Parameters
    ----------
    seed
        Of the random numbers.
    types
        Of what is read in each slot.
    logs
        Binary logarithms of factors that broadcast to it: -inf for what is zero after, NaN for what is before, too;
        ``None`` where nothing is drawn.
    cut
        Whether extents are small where all elements along an axis have one factor. Unknown ones are small anyway.
    """
    rng, extents = np.random.default_rng(seed), _Extents(cut=cut)
    shapes = [extents.of(t, x) for t, x in zip(types, logs, strict=True) if x is not None and isinstance(t, TensorType)]
    samples = min((prod(shape) // max(1, shape[1]) if len(shape) > 1 else 1 for shape in shapes), default=MEETINGS)
    for spread in (False, True) * -(-MEETINGS // max(1, samples)):
        before, after = list[Tensor | None](), list[Tensor | None]()
        for type_, slot in zip(types, logs, strict=True):
            x, x2 = (None, None) if slot is None else _pair(rng, type_, slot, extents, spread=spread)
            before.append(x)
            after.append(x2)
        yield before, after


def _pair(
    rng: np.random.Generator, type_: ValueType | None, logs: Array, extents: _Extents, *, spread: bool
) -> tuple[Tensor, Tensor]:
    assert isinstance(type_, TensorType)
    shape = extents.of(type_, logs)
    if type_.dtype is not None and not is_float(type_.dtype):
        zeros = torch.zeros(shape, dtype=torch.int64)
        return zeros, zeros
    x, alive = rng.standard_normal(shape), np.isfinite(logs)
    factors = np.exp2(np.where(alive, logs, 0.0))
    if spread:
        x *= np.exp2(rng.uniform(-WIDE, WIDE, shape))
    before, after = (x / factors, x) if spread else (x, x * factors)
    return torch.from_numpy(np.where(np.isnan(logs), 0.0, before)), torch.from_numpy(np.where(alive, after, 0.0))


class _Extents:
    """Extents of random values: of symbols everywhere the same."""

    def __init__(self, *, cut: bool) -> None:
        self.cut, self.symbols = cut, dict[str, int]()

    def of(self, type_: TensorType, logs: Array) -> tuple[int, ...]:
        """Return a shape; axes along which factors differ keep their extent, and so do channels."""
        assert type_.shape is not None
        shape = []
        for axis, d in enumerate(type_.shape):
            small = BATCH if axis == 0 else SMALL
            n = d if isinstance(d, int) else small if d is None else self.symbols.setdefault(d, small)
            shape.append(min(n, small) if self.cut and axis != 1 and logs.shape[axis] == 1 else n)
        return tuple(shape)
