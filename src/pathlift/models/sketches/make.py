"""Sketches of parts of the data: a function of what can be sent to another process, whose results add up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.models.data import fixed_batch
from pathlift.models.sketches.feeds import Batch, Feeds
from pathlift.models.sketches.interrupts import uninterrupted
from pathlift.models.sketches.sources import Part
from pathlift.passes.sketches.layers import linear_layers
from pathlift.passes.sketches.recorder import Recorder, Settings
from pathlift.passes.sketches.sketch import Shard, Sketch

Told = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Request:
    """What to keep of the data.

    Parameters
    ----------
    layers
        Globs of layers, separated by commas.
    settings
        What is kept of each.
    batch
        Samples at a time, unless the file fixes it.
    limit
        Of samples; ``None`` for all.
    """

    layers: str = "*"
    settings: Settings = field(default_factory=Settings)
    batch: int = 64
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Made:
    """A sketch, and what was left out.

    Parameters
    ----------
    sketch
        Of all that was read.
    remarks
        What is to be said of it, one sentence each.
    interrupt
        What ended it early.
    missing
        Names of parts that it therefore lacks, where it is known.
    """

    sketch: Sketch
    remarks: tuple[str, ...] = ()
    interrupt: BaseException | None = None
    missing: tuple[str, ...] = ()


def make_sketch(
    graph: Graph, model: str | None, parts: Sequence[Part], request: Request, progress: Told | None = None
) -> Made:
    """Stream parts of the data through a network, once.

    An interrupt ends it; the sketch is then that of all batches before, and not complete.

    Parameters
    ----------
    graph
        The network.
    model
        SHA-256 of its file, if it has one.
    parts
        Of the data.
    request
        What to keep.
    progress
        Told the part, how many samples were read, and how many there are, as far as that is known.

    Raises
    ------
    UsageError
        If a glob names no layer, data cannot be read or does not fit, or a part is there twice.
    UnsupportedError
        If there is no linear layer, or the network does not have what is asked for.
    InvalidModelError
        If an activation is not finite; names node, part and sample.
    """
    settings = request.settings
    check_mask(graph, settings.mask)
    layers = linear_layers(graph, request.layers)
    signs = np.random.default_rng([settings.seed, zlib.crc32(parts[0].name.encode())])
    recorder = Recorder(graph, layers, settings, signs)
    fixed = fixed_batch(graph)
    shards, remarks, interrupt = list[Shard](), list[str](), None
    left, feeds = request.limit, None
    total = sum(part.length() or 0 for part in parts) if progress is not None and left is None else left or 0
    try:
        for part in parts:
            if left is not None and left <= sum(shard.rows for shard in shards):
                break
            room = None if left is None else left - sum(shard.rows for shard in shards)
            feeds = Feeds(graph, part, fixed or request.batch, whole=bool(fixed), limit=room)
            for batch in feeds:
                with uninterrupted():
                    for at, piece in _pieces(batch, settings.mask, part.name, fixed):
                        recorder.add(piece, partial(_where, part.name, feeds.count + at))
                    feeds.done(batch)
                if progress is not None:
                    done = feeds.count + sum(shard.rows for shard in shards)
                    progress(part.name, done, max(total, done))
            if feeds.left:
                why = f"the file fixes batches of {fixed}"
                remarks.append(f"the last {feeds.left} samples of {part.name} are left out: {why}")
            _append(shards, feeds.shard)
            feeds = None
    except (KeyboardInterrupt, SystemExit) as error:
        interrupt = error
        if feeds is not None and feeds.count:
            shards.append(feeds.shard)
    with uninterrupted():
        sketches, square = recorder.finish()
    ordered = tuple(sorted(shards, key=lambda shard: shard.digest))
    sketch = Sketch(model, sketches, ordered, square, settings.mask, complete=interrupt is None)
    return Made(sketch, tuple(remarks), interrupt)


def _where(name: str, start: int, at: int) -> str:
    return f"sample {start + at} of {name!r}"


def _pieces(batch: Batch, mask: str, name: str, fixed: int) -> Iterator[tuple[int, Batch]]:
    """A batch; or two, where it has as many samples as positions, which would be mistaken for each other."""
    if mask:
        values = batch[mask]
        if not np.isin(values, (0, 1)).all():
            raise UsageError("1505", f"the mask {mask!r} in {name!r} holds other numbers than 0 and 1")
        if values.ndim > 1 and values.shape[0] == values.shape[1] > 1 and not fixed:
            for rows in (slice(0, 1), slice(1, None)):
                yield rows.start, {key: array[rows] for key, array in batch.items()}
            return
    yield 0, batch


def check_mask(graph: Graph, mask: str) -> None:
    """Check that an input can say which positions count.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    names = [graph[key].names[0] for key in graph.inputs]
    if mask and mask not in names:
        raise UsageError("1505", f"no input is called {mask!r}", hint=f"inputs: {', '.join(names)}")


def _append(shards: list[Shard], shard: Shard) -> None:
    twice = next((other for other in shards if other.digest == shard.digest), None)
    if twice is not None:
        raise given_twice(shard, twice)
    if shard.rows:
        shards.append(shard)


def no_samples() -> UsageError:
    """Return the error that there is no sample in all of the data."""
    return UsageError("1500", "the data holds no sample", hint="--data 'train-*.npz'")


def given_twice(shard: Shard, other: Shard) -> UsageError:
    """Return the error that two shards are the same samples."""
    message = f"shard {shard.path!r} holds the same samples as {other.path!r}, which would count twice"
    return UsageError("1503", message, hint="leave one of them out")
