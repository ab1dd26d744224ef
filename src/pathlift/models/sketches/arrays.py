"""Arrays in ``.npz`` files, read a few rows at a time: a file may be larger than memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import IO, Any

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
FAILURES = (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, MemoryError)
"""What reading a broken file may raise; a `RuntimeError` is that of a file with a password."""


class Member:
    """An array in a file, of which nothing but the header is read at first.

    Parameters
    ----------
    archive
        The file.
    name
        Of the array.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self.name = archive, name
        self._stream: IO[bytes] = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self._stream)
        if version not in _HEADERS:
            raise ValueError(f"array {name!r} is in a format of version {version}")
        shape, self._columns, dtype = _HEADERS[version](self._stream)
        if dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects")
        self.shape: tuple[int, ...] = tuple(int(n) for n in shape)
        self.dtype: np.dtype[Any] = dtype
        if (
            any(n < 0 for n in self.shape)
            or prod(self.shape) * dtype.itemsize > archive.getinfo(f"{name}.npy").file_size
        ):
            raise ValueError(f"array {name!r} is shorter than it says")
        self._left = self.shape[0] if self.shape else 1
        self._whole: Array | None = None

    def take(self, count: int) -> Array:
        """Return the next rows."""
        count = min(count, self._left)
        if self._columns and len(self.shape) > 1:  # columns first: rows lie anywhere
            if self._whole is None:
                self._whole = self._read(self.shape[::-1]).transpose()
            start = self.shape[0] - self._left
            rows = self._whole[start : start + count]
        else:
            rows = self._read((count, *self.shape[1:]) if self.shape else ())
        self._left -= count
        return rows

    def all(self) -> Array:
        """Return the whole array."""
        return self.take(self._left)

    def skip(self, count: int) -> None:
        """Leave out rows."""
        step = max(1, 2**24 // max(1, prod(self.shape[1:]) * self.dtype.itemsize))
        while count > 0:
            count -= len(self.take(min(step, count)))

    def _read(self, shape: tuple[int, ...]) -> Array:
        size = prod(shape) * self.dtype.itemsize
        data = self._stream.read(size)
        if len(data) != size:
            raise ValueError(f"array {self.name!r} is shorter than it says")
        return np.frombuffer(data, self.dtype).reshape(shape)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


@contextmanager
def members(path: str | os.PathLike[str]) -> Iterator[dict[str, Member]]:
    """Open all arrays of a file.

    Raises
    ------
    UsageError
        If it cannot be read, or holds something else.
    """
    shown = repr(os.fspath(path))
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise UsageError("1500", f"there is no file {shown}") from error
    except FAILURES as error:
        raise unreadable(path, error) from error
    with archive:
        found: dict[str, Member] = {}
        try:
            for info in archive.infolist():
                if not info.filename.endswith(".npy") or info.filename[:-4] in found:
                    raise ValueError(f"{info.filename!r} in it is no array, or is there twice")
                found[info.filename[:-4]] = Member(archive, info.filename[:-4])
        except FAILURES as error:
            raise unreadable(path, error) from error
        try:
            yield found
        finally:
            for member in found.values():
                member.close()


def unreadable(path: str | os.PathLike[str], error: Exception) -> UsageError:
    """Return the error that a file cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    message = f"cannot read {os.fspath(path)!r}: it is no file of plain arrays: {reason}"
    return UsageError("1501", message, hint="np.savez(file, x=…)")
