"""Measured schedules: those of this machine, in a folder, and those that ship with pathlift, in ``tables/``.

A measurement is a small file of its own, named by what was measured, and comes into being whole: several processes may
write at once, and the last one stays. What cannot be read, or is another measurement than its name says, is as good as
absent.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pathlift.codegen.fits import misfit
from pathlift.codegen.schedule import Form, Schedule, parse_form, parse_schedule
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, parse_patterns

TABLES = Path(__file__).parent / "tables"
DENSE = "dense"


@dataclass(frozen=True)
class Key:
    """What was measured.

    Parameters
    ----------
    patterns
        Of the factors.
    form
        What the kernel computes, with element type and layouts.
    samples
        Rounded up to a power of two.
    arch
        Of the card: ``sm_90``.
    triton
        Its version; empty in tables that ship, which stand for all.
    """

    patterns: tuple[Pattern, ...]
    form: Form
    samples: int
    arch: str
    triton: str

    def to_json(self) -> dict[str, Any]:
        """Return texts and numbers."""
        patterns = "".join(map(str, self.patterns))
        return {**vars(self), "patterns": patterns, "form": str(self.form)}

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        """Read what `to_json` returns.

        Raises
        ------
        UsageError
            If it is something else.
        """
        patterns, form = parse_patterns(str(payload["patterns"])), parse_form(str(payload["form"]))
        return cls(patterns, form, int(payload["samples"]), str(payload["arch"]), str(payload["triton"]))

    @property
    def file(self) -> str:
        """Where its measurement lies in a folder."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"{self.arch}/{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Parameters
    ----------
    schedule
        The fastest; ``None`` if the dense product is.
    seconds
        That it takes.
    """

    schedule: Schedule | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return texts and numbers."""
        return {"schedule": DENSE if self.schedule is None else str(self.schedule), "seconds": self.seconds}


class Measured:
    """Measurements of one machine, beside the tables that ship.

    Parameters
    ----------
    folder
        Where they lie; it need not exist. ``None`` keeps them in memory only.
    tables
        A folder of tables.
    """

    def __init__(self, folder: Path | None, tables: Path = TABLES) -> None:
        self._folder = folder
        self._known: dict[Key, Measurement] = {}
        for path in sorted(tables.glob("*.json")):
            self._known.update(_read(path))

    def get(self, key: Key) -> Measurement | None:
        """Return what was measured on this machine, or else on the one that a table comes from."""
        if key not in self._known and self._folder is not None:
            found = _read(self._folder / key.file).get(key)
            if found is not None:
                self._known[key] = found
        shipped = Key(key.patterns, key.form, key.samples, key.arch, "")
        return self._known.get(key, self._known.get(shipped))

    def put(self, key: Key, measurement: Measurement) -> None:
        """Keep a measurement; where the folder cannot be written to, until the process ends."""
        self._known[key] = measurement
        if self._folder is not None:
            with contextlib.suppress(OSError):
                write_table(self._folder / key.file, {key: measurement})


def write_table(path: Path, measurements: Mapping[Key, Measurement]) -> None:
    """Write a table, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    listed = [entry(key, found) for key, found in measurements.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
        try:
            json.dump({"schedules": listed}, file, indent=1)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise


def entry(key: Key, found: Measurement) -> dict[str, Any]:
    """Return a measurement as a table lists it."""
    return {**key.to_json(), **found.to_json()}


def entries(listed: Iterable[Any]) -> dict[Key, Measurement]:
    """Read what is sound of entries; nothing is trusted, since anyone may have written them."""
    found: dict[Key, Measurement] = {}
    for one in listed:
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, UsageError):
            key = Key.of(one)
            schedule = None if one["schedule"] == DENSE else parse_schedule(str(one["schedule"]))
            fits = schedule is None or (schedule.form == key.form and not misfit(key.patterns, schedule))
            seconds = float(one["seconds"])
            if fits and 0 < seconds < math.inf:
                found[key] = Measurement(schedule, seconds)
    return found


def _read(path: Path) -> dict[Key, Measurement]:
    """Read a table; what is none is as good as absent."""
    try:
        return entries(json.loads(path.read_text(encoding="utf-8"))["schedules"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


@functools.cache
def measured() -> Measured:
    """Return this machine's measurements: in ``PATHLIFT_CACHE``, or in the user's cache folder."""
    folder = os.environ.get("PATHLIFT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pathlift"
    )
    return Measured(Path(folder) / "kernels")
