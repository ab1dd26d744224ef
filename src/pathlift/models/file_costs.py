"""Costs of files that are audited: bytes as they are saved, and times of a batch, all side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from pathlift.frontend.protos import all_tensors
from pathlift.frontend.read import PROTOBUF_LIMIT
from pathlift.frontend.read.tensors import is_external
from pathlift.ir.errors import UsageError, about
from pathlift.ir.graph import Graph
from pathlift.ir.stages import stage
from pathlift.models.session import start
from pathlift.models.source import Opened
from pathlift.models.timing import Runs, median, race
from pathlift.report.costs import Cost, Latency
from pathlift.runtime.session import CheckedSession, ExecutorName

_BATCH = 64
_ROUNDS = 1000
_TICK = 1e-9  # seconds: a clock may not have moved, and a ratio is to be a number


def check_seconds(seconds: float) -> None:
    """Check how long files are to be timed.

    Raises
    ------
    UsageError
        If that is no number of seconds.
    """
    if not (isfinite(seconds) and seconds >= 0):
        raise UsageError("1576", f"--time is {seconds:g}", hint="seconds; 0 times nothing")


def batch_size(fixed: Iterable[tuple[str, int]], usual: int) -> int:
    """Return the size of the batch that all files are timed on.

    Parameters
    ----------
    fixed
        Files, and the sizes that they fix; 0 for none.
    usual
        What it is where none is fixed; at most 64.

    Raises
    ------
    UsageError
        If files fix different ones: they would not do the same.
    """
    found = {size: name for name, size in fixed if size}
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        reason = f"{first} takes batches of {one}, {second} of {other}: times are not comparable"
        raise UsageError("1577", reason, hint="leave out --time, or the batch of the files open")
    return next(iter(found), min(_BATCH, usual))


def file_size(opened: Opened) -> int:
    """Return the bytes of a model as saved, with its external data; of a graph or a text, those of its weights."""
    original: Any = opened.original
    if isinstance(original, Graph):
        return _weights(original)
    if isinstance(original, bytes):
        return len(original)
    if not isinstance(original, str | os.PathLike):
        return int(original.ByteSize()) if hasattr(original, "ByteSize") else _weights(opened.graph)
    own = os.stat(original).st_size
    if own > PROTOBUF_LIMIT:  # all of it is inside
        return own
    import onnx

    # Files beside it were checked to be plain ones of its folder when it was opened.
    model = onnx.load(os.fspath(original), format="protobuf", load_external_data=False)
    apart = [tensor for _, tensor in all_tensors(model) if is_external(tensor)]
    beside = {entry.value for tensor in apart for entry in tensor.external_data if entry.key == "location"}
    return own + sum(os.stat(Path(original).parent / name).st_size for name in beside)


def _weights(graph: Graph) -> int:
    from pathlift.frontend.emit.tensors import nbytes

    return sum(nbytes(param) for key in graph.params if (param := graph[key].value) is not None)


@dataclass(frozen=True)
class _Entrant:
    """A file in the race, with its feeds."""

    session: Runs
    feeds: Mapping[str, Any]

    def run(self, _: Mapping[str, Any]) -> object:
        return self.session.run(self.feeds)


def latencies(
    sessions: Sequence[Runs],
    feeds: Sequence[Mapping[str, Any]],
    seconds: float,
    seed: int,
    clock: Callable[[], Any] | None = None,
) -> tuple[list[Latency], int]:
    """Time files side by side, each on the same batch.

    Parameters
    ----------
    sessions, feeds
        Of each file: names and types of its inputs are its own.
    seconds
        For all of them; at least five rounds.
    seed
        Of their orders, and of the intervals.
    clock
        What times are differences of; the wall's by default.

    Returns
    -------
    tuple
        One per file, in their order, and how many rounds there were.
    """
    entrants = [_Entrant(*pair) for pair in zip(sessions, feeds, strict=True)]
    raced = race(entrants, {}, "cpu", _ROUNDS, seconds, seed, None, clock)
    times = [np.maximum(own, _TICK) for own in raced]
    found = []
    for own in times:
        ratio = median(own / times[0], seed)
        found.append(Latency(float(np.median(own)), ratio.value, (ratio.low, ratio.high)))
    return found, len(times[0])


def costs(
    opened: Sequence[Opened],
    names: Sequence[str],
    feeds: Sequence[Mapping[str, Any]],
    seconds: float,
    seed: int,
    executor: ExecutorName = "auto",
) -> tuple[list[Cost], tuple[str, ...]]:
    """Return what files cost, and what their times rest on.

    Files are opened again for the race, on one thread each: threads of one that wait for work would slow the others.

    Parameters
    ----------
    opened, names
        The files, and what to call them.
    feeds
        Of each file, the batch; none where nothing is timed.
    seconds
        Of the race; 0 for none.
    seed
        Of the race.
    executor
        What runs them.
    """
    sizes = [file_size(file) for file in opened]
    if not seconds:
        return [Cost(size) for size in sizes], ()
    sessions = []
    with stage("timing"):
        for file, name, own in zip(opened, names, feeds, strict=True):
            with about(name):
                sessions.append(CheckedSession(*start(file, "cpu", threads=1, executor=executor)))
                sessions[-1].run(own)
        found, rounds = latencies(sessions, feeds, seconds, seed)
    rows = len(next(iter(feeds[0].values())))
    said = f"times are medians of {rounds} rounds, in each of which all files run one batch of {rows} on one thread"
    return [Cost(size, time) for size, time in zip(sizes, found, strict=True)], (said,)
