"""Sources of samples: ``.npz`` files, a function that yields arrays, or arrays; a part of them, a batch at a time."""

from __future__ import annotations

import glob
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.foreign import foreign
from pathlift.models.sketches.arrays import FAILURES, Member, members, unreadable

_CHUNK = 1024
"""Rows that are read of a file at a time."""

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A part of the data, which a process can be told to read.

    Parameters
    ----------
    name
        What it is called.
    path
        Of a file; empty for what a function yields, or what is in memory.
    start, stop
        Its samples; ``None`` for the last of a file.
    factory
        ``module:function``, or a function: of ``shard`` (from 0) and ``shards``.
    shard, shards
        What it is called with.
    arrays
        What is in memory.
    """

    name: str
    path: str = ""
    start: int = 0
    stop: int | None = None
    factory: Any = None
    shard: int = 0
    shards: int = 1
    arrays: Arrays | None = None

    def chunks(self) -> Iterator[Arrays]:
        """Yield arrays by name, as many samples of each as there happen to be.

        Raises
        ------
        UsageError
            If a file cannot be read, or a function fails or yields something else.
        """
        if self.arrays is not None:
            whole = {name: np.asarray(array) for name, array in self.arrays.items()}
            yield {name: x[self.start : self.stop] if x.ndim else x for name, x in whole.items()}
        elif self.path:
            yield from self._of_file()
        else:
            yield from self._of_factory()

    def length(self) -> int | None:
        """Return how many samples there are; ``None`` if only reading them tells."""
        if self.arrays is not None:
            count = min((len(np.asarray(array)) for array in self.arrays.values() if np.ndim(array)), default=0)
        elif self.path:
            with members(self.path) as found:
                count = _samples(self.path, found)
        else:
            return None
        return (count if self.stop is None else min(self.stop, count)) - self.start

    def _of_file(self) -> Iterator[Arrays]:
        with members(self.path) as found:
            count = _samples(self.path, found)
            stop = count if self.stop is None else min(self.stop, count)
            try:
                for member in found.values():
                    member.skip(self.start)
                for start in range(self.start, stop, _CHUNK):
                    yield {name: member.take(min(_CHUNK, stop - start)) for name, member in found.items()}
            except FAILURES as error:
                raise unreadable(self.path, error) from error

    def _of_factory(self) -> Iterator[Arrays]:
        make = self.factory if callable(self.factory) else _function(self.factory)

        def failure(said: str) -> UsageError:
            return UsageError("1502", f"{self.name} fails: {said}")

        with foreign("make samples", failure, programs=True):
            made = make(self.shard, self.shards)
            chunks = iter([made] if isinstance(made, Mapping) else made)
        while True:
            with foreign("make samples", failure, programs=True):
                chunk = next(chunks, None)
            if chunk is None:
                return
            if not isinstance(chunk, Mapping):
                raise UsageError("1502", f"{self.name} yields a {type(chunk).__name__}", hint="a dict of arrays")
            yield chunk


def parts(data: Any, shard: tuple[int, int] | None) -> tuple[list[Part], str]:
    """Divide data.

    Parameters
    ----------
    data
        Globs of ``.npz`` files, ``module:function``, a function, or arrays by name; or several of these.
    shard
        Which part of how many, from 1; ``None`` for all.

    Returns
    -------
    tuple
        The parts to read, and how the data is divided, in words; empty if it is not.

    Raises
    ------
    UsageError
        If no file has a name, or there are more shards than parts.
    """
    given = [data] if isinstance(data, str | os.PathLike | Mapping) or callable(data) else list(data)
    whole = [part for item in given for part in _parts(item)]
    whole = list({os.path.realpath(part.path) if part.path else str(i): part for i, part in enumerate(whole)}.values())
    if not whole:
        raise UsageError("1500", "there is no data", hint="--data 'train-*.npz'")
    if shard is None:
        return whole, ""
    number, count = shard
    if not 1 <= number <= count:
        raise UsageError("1514", f"shard {number} of {count} is none", hint="--shard 2/8 is the second of eight")
    said = f"shard {number} of {count}"
    if any(part.factory is not None for part in whole):
        chosen = [told(part, number - 1, count) for part in whole if part.factory is not None]
        if len(chosen) < len(whole):
            raise UsageError("1509", "functions and files are divided in other ways", hint="one --data, or no --shard")
        return chosen, f"{said}: what the function yields for it"
    if len(whole) > 1:
        chosen = whole[number - 1 :: count]
        if len(whole) < count:
            raise UsageError("1509", f"there are {len(whole)} files for {count} shards", hint="fewer shards")
        return chosen, f"{said}: {len(chosen)} of {len(whole)} files, every {count}th"
    (part,) = whole
    total = part.length() or 0
    start, stop = ((number - 1) * total // count, number * total // count)
    if total < count:
        raise UsageError("1509", f"there are {total} samples for {count} shards", hint="fewer shards")
    named = Part(f"{part.name}[{start}:{stop}]", part.path, start, stop, arrays=part.arrays)
    return [named], f"{said}: samples {start} to {stop - 1} of {total}"


def told(part: Part, shard: int, shards: int) -> Part:
    """Return a function's part that is told which shard, from 0, of how many it is to yield."""
    return Part(f"{part.name}[{shard + 1}/{shards}]", factory=part.factory, shard=shard, shards=shards)


def _parts(item: Any) -> Sequence[Part]:
    if isinstance(item, Mapping):
        return [Part("arrays", arrays=item)]
    if callable(item):
        return [Part(getattr(item, "__qualname__", type(item).__name__), factory=item)]
    text = os.fspath(item)
    if ":" in text and not text.endswith(".npz") and not os.path.exists(text):
        return [Part(text, factory=text)]
    found = [text] if os.path.exists(text) else sorted(glob.glob(text))
    if not found:
        raise UsageError("1500", f"there is no file {text!r}", hint="--data 'train-*.npz', or module:function")
    return [Part(path, path) for path in found]


def _function(text: str) -> Callable[[int, int], Iterable[Arrays]]:
    module, _, name = text.partition(":")
    with foreign("import it", lambda said: UsageError("1502", f"cannot import {text!r}: {said}"), programs=True):
        if os.getcwd() not in sys.path:  # a command's own path has its folder, not the user's
            sys.path.insert(0, os.getcwd())
        found: Any = importlib.import_module(module)
        for attribute in name.split("."):
            found = getattr(found, attribute)
    if not callable(found):
        raise UsageError("1502", f"{text!r} is no function", hint="of a shard, from 0, and the number of shards")
    return found  # type: ignore[no-any-return]  # whatever the user's module has


def _samples(path: str, found: Mapping[str, Member]) -> int:
    """How many samples a file holds."""
    counts = {name: member.shape[0] if member.shape else 0 for name, member in found.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        message = f"{path!r} holds {counts} samples: they must be as many, and at least one"
        raise UsageError("1510", message, hint="np.savez(file, x=…)")
    return min(counts.values())
