"""Feeds: samples of a part of the data as batches of a network's inputs, checked, counted, and digested."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.data import of_type
from pathlift.models.sketches.sources import Arrays, Part
from pathlift.passes.sketches.sketch import Shard
from pathlift.runtime.ports import as_feed, as_numpy

Batch = Mapping[str, Array]


class Feeds:
    """Batches of a part.

    Parameters
    ----------
    graph
        What reads them.
    part
        Where they come from.
    batch
        Samples at a time.
    whole
        Whether the last, smaller batch is left out: a file may fix the size.
    limit
        How many samples there may be; ``None`` for all.
    """

    def __init__(self, graph: Graph, part: Part, batch: int, *, whole: bool = False, limit: int | None = None) -> None:
        self._types = {graph[key].names[0]: graph[key].types[0] for key in graph.inputs}
        self._part, self._batch, self._whole, self._limit = part, batch, whole, limit
        self._digests = {name: hashlib.sha256() for name in self._types}
        self.count = 0
        """Samples that were read."""
        self.left = 0
        """Samples that are in no batch."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches. Of these, `count` samples came before.

        Raises
        ------
        UsageError
            If arrays are missing, unknown, misshapen, or of another type; names the part and the array.
        """
        rest: Batch = {}
        for chunk in self._part.chunks():
            arrays = self._checked(chunk)
            if rest:
                arrays = {name: np.concatenate([rest[name], array]) for name, array in arrays.items()}
            count = _count(arrays)
            room = count if self._limit is None else min(count, self._limit - self.count)
            for start in range(0, room - self._batch + 1, self._batch):
                yield self._taken(arrays, start, start + self._batch)
            end = room - room % self._batch
            # Copied: the next chunk may be in the same memory.
            rest = {name: array[end:room].copy() for name, array in arrays.items()}
            if self._limit is not None and self.count + _count(rest) >= self._limit:
                break
        if rest and _count(rest):
            if self._whole:
                self.left = _count(rest)
            else:
                yield self._taken(rest, 0, _count(rest))

    @property
    def shard(self) -> Shard:
        """What was read so far."""
        whole = hashlib.sha256()
        for name in sorted(self._digests):
            whole.update(f"{name} {self.count} ".encode() + self._digests[name].digest())
        return Shard(self._part.name, self.count, whole.hexdigest())

    def done(self, batch: Batch) -> None:
        """Take note that a batch counts."""
        for name, array in batch.items():
            self._digests[name].update(np.ascontiguousarray(array).data)
        self.count += _count(batch)

    def _taken(self, arrays: Batch, start: int, stop: int) -> Batch:
        return {name: array[start:stop] for name, array in arrays.items()}

    def _checked(self, chunk: Arrays) -> dict[str, Array]:
        name = self._part.name
        unknown, missing = sorted(set(chunk) - set(self._types)), sorted(set(self._types) - set(chunk))
        if unknown or missing:
            what = f"lacks input {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which is no input"
            raise UsageError("1510", f"{name!r} {what}", hint=f"inputs: {', '.join(self._types)}")
        arrays = {key: as_numpy(as_feed(value, key)) for key, value in chunk.items()}
        counts = {key: len(array) if np.ndim(array) else 0 for key, array in arrays.items()}
        if len(set(counts.values())) != 1:
            raise UsageError("1510", f"{name!r} holds {counts} samples: they must be as many")
        try:
            return {key: of_type(key, array, self._types[key]) for key, array in arrays.items()}
        except UsageError as error:
            raise UsageError("1510", f"{name!r}: {error.message}", hint=error.hint) from error


def _count(arrays: Batch) -> int:
    return len(next(iter(arrays.values()), ()))
