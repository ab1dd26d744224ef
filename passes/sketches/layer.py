"""A layer's sketch: what is kept of the rows that it reads, and of gradients by what it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pathlift.ir.types import Array
from pathlift.passes.sketches.bit_counts import BitCounts
from pathlift.passes.sketches.power_sums import PowerSums
from pathlift.passes.sketches.second_moments import Second

_BLOCK, _LEAST, _MOST, _VALUES = 2**20, 32, 1024, 2**18


@dataclass(frozen=True)
class LayerId:
    """Which layer it is: one of another name, or of other weights, is another one.

    Parameters
    ----------
    node, op
        Label and op.
    weight
        The name of its weights.
    shape
        Of its weights, as the op takes them.
    digest
        SHA-256 of their shape, type and bytes.
    groups
        Of inputs that outputs share.
    width
        Of one group's rows: taps times inputs, for a convolution.
    inputs
        Of one tap.
    outputs
        How many it writes.
    """

    node: str
    op: str
    weight: str
    shape: tuple[int, ...]
    digest: str
    groups: int
    width: int
    inputs: int
    outputs: int


@dataclass(frozen=True, eq=False)
class LayerSketch:
    """Sums over the rows that a layer reads.

    Parameters
    ----------
    layer
        Whose they are.
    second
        How Σ x·xᵀ is kept.
    rows
        How many rows there were, of each group.
    total
        Σ x·xᵀ, or what is kept of it, ``(groups, *second.shape)``, float64.
    powers
        Of all channels, ``groups · width``.
    counts
        Of the numbers of its input tensor, each once.
    outgoing, gradients
        The same as `second` and `total` for rows of gradients by what the layer writes, ``(1, …)``; ``None`` without.
    squares
        Σ g² of those per output, ``(outputs,)``.
    """

    layer: LayerId
    second: Second
    rows: int
    total: Array
    powers: PowerSums
    counts: BitCounts
    outgoing: Second | None = None
    gradients: Array | None = None
    squares: Array | None = None

    def __add__(self, other: LayerSketch) -> LayerSketch:
        assert (self.layer, self.second, self.outgoing) == (other.layer, other.second, other.outgoing)
        return replace(
            self,
            rows=self.rows + other.rows,
            total=self.total + other.total,
            powers=self.powers + other.powers,
            counts=self.counts + other.counts,
            gradients=None if self.gradients is None else self.gradients + other.gradients,
            squares=None if self.squares is None else self.squares + other.squares,
        )

    def moments(self) -> Array:
        """Return E[x·xᵀ], ``(groups, width, width)``, float64; as far as it is kept."""
        squares = self.mean_squares() * max(self.rows, 1)
        return np.stack([self.second.mean(c, s, self.rows) for c, s in zip(self.total, squares, strict=True)])

    def mean_squares(self) -> Array:
        """Return E[x_j²], ``(groups, width)``, float64, which is exact in any case."""
        squares: Array = self.powers.sums[1].reshape(self.layer.groups, self.layer.width) / max(self.rows, 1)
        return squares

    def gradient_moments(self) -> Array | None:
        """Return E[g·gᵀ] of gradients by what the layer writes, ``(outputs, outputs)``, float64."""
        if self.outgoing is None or self.gradients is None or self.squares is None:
            return None
        return self.outgoing.mean(self.gradients[0], self.squares, self.rows)

    def gradient_squares(self) -> Array | None:
        """Return E[g_i²] of gradients by what the layer writes, ``(outputs,)``, float64."""
        return None if self.squares is None else self.squares / max(self.rows, 1)

    def effective_rank(self) -> float | None:
        """Return (Σλ)²/Σλ² of the eigenvalues of C, over all groups; ``None`` where C is not kept."""
        if self.second.kind == "diagonal":
            return None
        means = self.mean_squares()
        parts = zip(self.total, means * max(self.rows, 1), strict=True)
        trace, square = float(means.sum()), sum(self.second.square(c, s, self.rows) for c, s in parts)
        return trace / square * trace if square else 0.0

    @property
    def bytes(self) -> int:
        """What it takes in a file, in bytes."""
        own = self.second.packed_shape
        size = self.layer.groups * int(np.prod(own)) + self.powers.sums.size + 2 * self.powers.low.size
        if self.outgoing is not None:
            size += int(np.prod(self.outgoing.packed_shape)) + self.layer.outputs
        return 8 * (size + 2) + 10 * int((self.counts.counts > 0).sum())


class LayerSums:
    """Sums of a layer, while rows come in.

    Rows are collected into blocks of a fixed size, so that batches do not decide how sums are rounded.

    Parameters
    ----------
    layer, second, outgoing
        As of a `LayerSketch`.
    """

    def __init__(self, layer: LayerId, second: Second, outgoing: Second | None) -> None:
        self.sketch = empty(layer, second, outgoing)
        self._inputs = _Blocks(layer.groups, layer.width, self._add)
        self._values = _Blocks(1, 1, self._add_values, _VALUES)
        self._outputs = None if outgoing is None else _Blocks(1, layer.outputs, self._add_gradients)

    def add(self, rows: Array, values: Array) -> None:
        """Add rows ``(groups, n, width)``, and the numbers that they were made of; float32, finite."""
        self.sketch = replace(self.sketch, rows=self.sketch.rows + rows.shape[1])
        self._inputs.add(rows)
        self._values.add(values.reshape(1, -1, 1))

    def add_gradients(self, rows: Array) -> None:
        """Add rows of gradients ``(n, outputs)``, float32, finite."""
        assert self._outputs is not None
        self._outputs.add(rows[None])

    def finish(self) -> LayerSketch:
        """Return the sums so far."""
        self._inputs.flush()
        self._values.flush()
        if self._outputs is not None:
            self._outputs.flush()
        return self.sketch

    def _add(self, rows: Array) -> None:
        x = rows.astype(np.float64)
        channels = x.transpose(1, 0, 2).reshape(x.shape[1], -1)
        powers = self.sketch.powers + PowerSums.of(channels)
        self.sketch = replace(self.sketch, powers=powers)
        np.add(self.sketch.total, self.sketch.second.product(x), out=self.sketch.total)

    def _add_values(self, values: Array) -> None:
        self.sketch = replace(self.sketch, counts=self.sketch.counts + BitCounts.of(values))

    def _add_gradients(self, rows: Array) -> None:
        g, sketch = rows.astype(np.float64), self.sketch
        assert sketch.outgoing is not None
        assert sketch.gradients is not None
        assert sketch.squares is not None
        np.add(sketch.gradients, sketch.outgoing.product(g), out=sketch.gradients)
        np.add(sketch.squares, np.einsum("gij,gij->j", g, g), out=sketch.squares)


def empty(layer: LayerId, second: Second, outgoing: Second | None) -> LayerSketch:
    """Return the sketch of no rows."""
    return LayerSketch(
        layer, second, 0, np.zeros((layer.groups, *second.shape)), PowerSums.zero(layer.groups * layer.width),
        BitCounts.zero(), outgoing, None if outgoing is None else np.zeros((1, *outgoing.shape)),
        None if outgoing is None else np.zeros(layer.outputs),
    )  # fmt: skip


class _Blocks:
    """Rows, handed on in blocks."""

    def __init__(self, groups: int, width: int, seen: Callable[[Array], None], most: int = _MOST) -> None:
        size = min(max(_BLOCK // max(groups * width, 1), _LEAST), most)
        self._block, self._used, self._seen = np.empty((groups, size, width), np.float32), 0, seen

    def add(self, rows: Array) -> None:
        start, size = 0, self._block.shape[1]
        while start < rows.shape[1]:
            count = min(size - self._used, rows.shape[1] - start)
            self._block[:, self._used : self._used + count] = rows[:, start : start + count]
            self._used, start = self._used + count, start + count
            if self._used == size:
                self.flush()

    def flush(self) -> None:
        if self._used:
            self._seen(self._block[:, : self._used])
            self._used = 0
