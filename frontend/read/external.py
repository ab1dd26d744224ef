"""Resolver of external data: decides which file a tensor may be read from, before any library opens one.

The rules are stricter than the libraries' own: a model reads from its own folder, from plain files that nothing
else points to. A symbolic link is refused even when it stays inside, because what it points to can be changed
between this check and the read, and a hard link because it can name any file of the same disk.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from pathlift.frontend.protos import quoted
from pathlift.ir.errors import InvalidModelError, UnsafeModelError

_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)


class ExternalData:
    """Checks of the external tensors of one model, against one folder.

    Parameters
    ----------
    folder
        The only folder that data may come from; None refuses external data altogether.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._sizes: dict[str, int] = {}

    def check(self, tensor: TensorProto, where: str, nbytes: int) -> None:
        """Raise unless `tensor`, which needs `nbytes` bytes, can be read safely and completely."""
        entries = self._entries(tensor, where)
        size = self._size(entries["location"], where)
        offset = self._number(entries, "offset", where) or 0
        length = self._number(entries, "length", where)
        if length is not None and length != nbytes:
            raise InvalidModelError(
                "0133", f"{where}: external data of {length} bytes, but its type and shape need {nbytes}"
            )
        if offset + nbytes > size:
            raise InvalidModelError(
                "0132",
                f"{where}: bytes {offset} to {offset + nbytes} lie outside {quoted(entries['location'])}, "
                f"which has {size}",
                hint="the data file is truncated or belongs to another model",
            )

    def _entries(self, tensor: TensorProto, where: str) -> dict[str, str]:
        entries: dict[str, str] = {}
        for entry in tensor.external_data:
            if entry.key not in _KEYS or entry.key in entries:
                raise InvalidModelError("0134", f"{where}: unknown or repeated external data key {quoted(entry.key)}")
            entries[entry.key] = entry.value
        if not entries.get("location"):
            raise InvalidModelError("0134", f"{where}: external data without a location")
        return entries

    @staticmethod
    def _number(entries: dict[str, str], key: str, where: str) -> int | None:
        text = entries.get(key)
        if text is None:
            return None
        if not _DIGITS.fullmatch(text):
            raise InvalidModelError("0134", f"{where}: external data {key} {quoted(text)} is not a byte count")
        return int(text)

    def _size(self, location: str, where: str) -> int:
        if location not in self._sizes:
            self._sizes[location] = self._inspect(location, where)
        return self._sizes[location]

    def _inspect(self, location: str, where: str) -> int:
        """Return the size of the file at `location`, having looked at every component of its path."""
        if self.folder is None:
            raise UnsafeModelError(
                "0204",
                f"{where}: external data {quoted(location)}, but the model has no folder",
                hint="read the model from its file, or give base_dir",
            )
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        if posix.is_absolute() or windows.anchor or ".." in posix.parts or ".." in windows.parts:
            raise UnsafeModelError("0201", f"{where}: external data {quoted(location)} leaves the model's folder")
        path = self.folder
        try:
            for part in posix.parts:
                path = path / part
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    raise UnsafeModelError(
                        "0202",
                        f"{where}: external data {quoted(location)} goes through a symbolic link",
                        hint="copy the data file itself next to the model",
                    )
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
            reason = getattr(error, "strerror", None) or "not a file name"
            raise InvalidModelError(
                "0131", f"{where}: cannot read external data {quoted(location)}: {reason}"
            ) from error
        if not posix.parts or not stat.S_ISREG(status.st_mode):
            raise InvalidModelError("0131", f"{where}: external data {quoted(location)} is not a plain file")
        if status.st_nlink > 1:
            raise UnsafeModelError(
                "0203",
                f"{where}: external data {quoted(location)} is a hard link to a file with other names",
                hint="copy the data file itself next to the model",
            )
        if not os.access(path, os.R_OK):
            raise InvalidModelError("0131", f"{where}: cannot read external data {quoted(location)}: no permission")
        return status.st_size
