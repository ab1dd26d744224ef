"""Labelled samples: inputs of a classifier and the classes that they belong to, and what the network says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.types import Array
from pathlift.models.data import batches, left_over, read_arrays, read_calibration

if TYPE_CHECKING:
    from pathlift.ir.algebras.numeric import Numeric
    from pathlift.ir.graph import Graph


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples of a classifier with one output of scores ``(samples, classes)``.

    Parameters
    ----------
    graph
        The classifier.
    inputs
        By name; samples along axis 0.
    labels
        ``(samples,)``, int64.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    labels: Array

    @classmethod
    def read(cls, graph: Graph, data: Any) -> Labelled:
        """Read ``y`` as labels, and the other arrays as inputs: a single one may have any name.

        Raises
        ------
        UsageError
            If arrays are missing, unknown, or do not fit; if labels are no whole numbers, one per sample; if the file
            fixes a batch that leaves samples over.
        """
        arrays = dict(data) if isinstance(data, Mapping) else read_arrays({"": data})
        labels = np.asarray(arrays.pop("y")) if "y" in arrays else None
        names = [graph[key].names[0] for key in graph.inputs]
        if labels is None:
            raise UsageError(
                "1482", f"the data holds {sorted(arrays)}, and no labels y", hint="np.savez(file, x=…, y=…)"
            )
        if len(names) == len(arrays) == 1:
            arrays = dict(zip(names, arrays.values(), strict=True))
        inputs = read_calibration(graph, arrays)
        count = len(next(iter(inputs.values())))
        if labels.dtype.kind not in "iu" or labels.shape != (count,):
            reason = f"labels are {labels.dtype} of shape {list(labels.shape)}, not {count} whole numbers"
            raise UsageError("1482", reason, hint="one class number per sample")
        if rest := left_over(graph, inputs):
            raise UsageError("1482", rest[0], hint="leave the batch of the file open")
        return cls(graph, inputs, labels.astype(np.int64))

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def scores(self, algebra: Numeric) -> Iterator[tuple[Array, Array]]:
        """Yield scores ``(batch, classes)`` and labels of one batch after another, as an algebra computes them.

        Raises
        ------
        UnsupportedError
            If there is not one output of this shape.
        UsageError
            If a label is no class.
        """
        from pathlift.ir.algebras.interpret import run

        if len(self.graph.outputs) != 1:
            raise UnsupportedError("1379", f"a classifier has one output, this network {len(self.graph.outputs)}")
        start = 0
        for feeds in batches(self.graph, self.inputs):
            size = len(next(iter(feeds.values())))
            (y,) = run(self.graph, algebra, {name: algebra.tensor(x) for name, x in feeds.items()}).values()
            if y.ndim != 2 or y.shape[0] != size or y.shape[1] < 2:
                raise UnsupportedError("1379", f"a classifier's scores are (samples, classes), not {list(y.shape)}")
            labels = self.labels[start : start + size]
            if labels.min() < 0 or labels.max() >= y.shape[1]:
                raise UsageError("1482", f"a label is {labels.max()}, of {y.shape[1]} classes from 0")
            yield y.numpy(), labels
            start += size


def errors(scores: Array, labels: Array) -> int:
    """Count the samples that are not classified as labelled; ties, and what is not a number, are errors."""
    return int(len(labels) - np.count_nonzero(correct(scores, labels)))


def correct(scores: Array, labels: Array) -> Array:
    """Return which samples are classified as labelled, ``(samples,)``: ties, and what is not a number, are not."""
    own, others = _own_and_best_other(scores, labels)
    right: Array = own > others
    return right


def ramps(scores: Array, labels: Array, margin: float) -> float:
    """Σ over samples of the ramp loss: 1 for a margin of at most 0, 0 from `margin` on, linear between; rounded up."""
    own, others = _own_and_best_other(scores, labels)
    lead = own - others
    lead -= 1e-9 * (np.abs(own) + np.abs(lead))  # what computing the scores may be off by, with room to spare
    return float(np.clip(1 - np.nan_to_num(lead, nan=-np.inf) / margin, 0, 1).sum())


def _own_and_best_other(scores: Array, labels: Array) -> tuple[Array, Array]:
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels], others.max(1)
