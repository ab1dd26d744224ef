"""Data divided into parts that go over a map, and the sum of their sketches in an order of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import pairwise
from operator import add
from pathlib import Path

from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.work import Map
from pathlift.models.data import fixed_batch
from pathlift.models.sketches.file import read_sketch_file, write_sketch
from pathlift.models.sketches.interrupts import uninterrupted
from pathlift.models.sketches.make import Made, Request, Told, given_twice, make_sketch, no_samples
from pathlift.models.sketches.sources import Part, told
from pathlift.models.spread import LEFT_OUT
from pathlift.passes.sketches.sketch import Shard, Sketch

PARTS = 64
"""What one file, or a function, is divided into: as many for any number of workers, so that no bit depends on that."""


def divide(graph: Graph, parts: Sequence[Part], request: Request, *, sharded: bool = False) -> list[Part]:
    """Divide data further: one file, or what is in memory, at borders of batches; functions by their own shards.

    Parameters
    ----------
    graph
        What reads them; it may fix a batch.
    parts
        As `parts` of the sources finds them. Several files stay whole.
    request
        With the batch, and the limit, of which each part then has its share.
    sharded
        Whether the data is a shard already.

    Raises
    ------
    UsageError
        If functions cannot be divided so that each sample is read once, or there is a limit to what they yield.
    """
    fixed = fixed_batch(graph)
    if not any(part.factory is not None for part in parts):
        within = _limited(parts, request.limit, fixed or 1)
        return _ranges(within[0], fixed or request.batch) if len(within) == 1 else within
    if sharded:
        raise UsageError(
            "1525", "a shard of what a function yields is not divided further: it alone knows which samples those are",
            hint="--shard or --cluster",
        )  # fmt: skip
    if request.limit is not None:
        raise UsageError(
            "1526", "how many samples a function yields for each part is not known, and there is a limit",
            hint="leave out --limit, or --cluster",
        )  # fmt: skip
    return [piece for part in parts for piece in _pieces(part)]


def _pieces(part: Part) -> list[Part]:
    return [part] if part.factory is None else [told(part, shard, PARTS) for shard in range(PARTS)]


def _limited(parts: Sequence[Part], limit: int | None, step: int) -> list[Part]:
    """The first samples, as many as one process would read; a batch that is not whole counts for none."""
    if limit is None:
        return list(parts)
    found, left = list[Part](), limit
    for part in parts:
        if not left:
            break
        count = min(left, part.length() or 0)
        found.append(replace(part, stop=part.start + count))
        left -= count // step * step
    return found


def _ranges(part: Part, batch: int) -> list[Part]:
    """A part cut between batches, which are then those of the whole."""
    rows = part.length() or 0
    batches = -(-rows // batch)
    count = min(PARTS, batches)
    if count < 2:
        return [part]
    cuts = [part.start + min(rows, batches * i // count * batch) for i in range(count + 1)]
    return [
        replace(part, name=f"{part.path or 'arrays'}[{start}:{stop}]", start=start, stop=stop)
        for start, stop in pairwise(cuts)
    ]


def add_up(
    each: Map, graph: Graph, model: str | None, parts: Sequence[Part], request: Request, progress: Told | None = None
) -> Made:
    """Make sketches of parts wherever a map does its work, and add them in the order of their digests.

    Each part counts once, whatever became of those who read it. Sketches wait in files, so that memory holds the sum
    and one more.

    Parameters
    ----------
    each
        Where parts are read. The network goes there once.
    graph, model, request, progress
        As `make_sketch` takes them.
    parts
        As `divide` returns them.

    Returns
    -------
    Made
        What ended it early is an interrupt, or the loss of the cluster; the parts that it lacks are named.

    Raises
    ------
    KeyboardInterrupt, ExecutionError
        What ended it early, if no part was done before.
    PathliftError
        What `make_sketch` raises of a part, or of all.
    """
    numbers, rows, interrupt = dict[int, tuple[str, ...]](), 0, None
    total = sum(part.length() or 0 for part in parts) if progress is not None else 0
    with tempfile.TemporaryDirectory(prefix="pathlift-", ignore_cleanup_errors=True) as folder:
        kept = _Kept(Path(folder))
        try:
            work = partial(_sketched, graph, model, replace(request, limit=None))
            for number, made in each(work, map(_sent, parts)):
                with uninterrupted():
                    kept.add(made.sketch)
                    numbers[number] = made.remarks
                    rows += made.sketch.samples
                if progress is not None:
                    progress(parts[number].name, rows, max(total, rows))
        except (KeyboardInterrupt, SystemExit, ExecutionError) as error:
            if not rows or (isinstance(error, ExecutionError) and error.code not in LEFT_OUT):
                raise
            interrupt = error
        with uninterrupted():
            sketch = kept.sum()
    missing = tuple(part.name for i, part in enumerate(parts) if i not in numbers)
    remarks = tuple(remark for i in sorted(numbers) for remark in numbers[i])
    return Made(replace(sketch, complete=interrupt is None), remarks, interrupt, missing)


def _sent(part: Part) -> Part:
    """A part as others can read it: paths from the root, and of what is in memory only its own samples."""
    if part.arrays is None:
        return replace(part, path=os.path.abspath(part.path)) if part.path else part
    (arrays,) = part.chunks()
    return replace(part, start=0, stop=None, arrays=arrays)


def _sketched(graph: Graph, model: str | None, request: Request, part: Part) -> Made:
    made = make_sketch(graph, model, [part], request)
    if made.interrupt is not None:
        raise made.interrupt
    return made


class _Kept:
    """Sketches in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._shards = folder, dict[str, Shard]()

    def add(self, sketch: Sketch) -> None:
        """Keep a sketch of a part, unless there is nothing in it."""
        for shard in sketch.shards:
            if (twice := self._shards.get(shard.digest)) is not None:
                raise given_twice(*sorted((twice, shard)))
            write_sketch(sketch, self._file(shard.digest))
            self._shards[shard.digest] = shard

    def sum(self) -> Sketch:
        """Return the sum of all, as `merged` adds them."""
        if not self._shards:
            raise no_samples()
        return reduce(add, self._read())

    def _read(self) -> Iterator[Sketch]:
        for digest in sorted(self._shards):
            yield read_sketch_file(self._file(digest), memory_limit=2**62)

    def _file(self, digest: str) -> Path:
        return self._folder / f"{digest}.npz"
