"""Logs of long work, a JSON object a line, which are taken up again where they end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pathlift.ir.errors import OutputError, UsageError

T = TypeVar("T")


@dataclass(eq=False)
class Journal:
    """Rows that are known, in a file to which each new one is added at once.

    Parameters
    ----------
    path
        The file; ``None`` for none.
    kind, version
        What the rows are of, and in which form.
    about
        What tells this work from others of its kind: their rows are not taken.
    """

    path: Path | None
    kind: str
    version: int
    about: Mapping[str, Any]

    def read(self, row: Callable[[Mapping[str, Any]], T], *, force: bool = False) -> list[T]:
        """Return the rows of what was interrupted; a last line that was cut off is none.

        Parameters
        ----------
        row
            Makes something of one; may raise `ValueError`, `TypeError` or `KeyError` if it is none.
        force
            Start anew.

        Raises
        ------
        UsageError
            If the file is of something else, and is not to be replaced.
        OutputError
            If the system fails.
        """
        if self.path is None or not self.path.exists() or force:
            self._write(self._head(), "w")
            return []
        lines, whole = list[str](), list[str]()
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            head, *rest = [json.loads(line) for line in whole] or [None]
            rows = list(map(row, rest))
        except (ValueError, TypeError, KeyError):
            head, rows = None, []
        except OSError as error:
            raise OutputError("0718", f"cannot read {os.fspath(self.path)!r}: {error.strerror}") from error
        if head != json.loads(json.dumps(self._head())):
            hint = "--force starts anew, --log names another"
            raise UsageError("1411", f"{os.fspath(self.path)!r} is no log of this {self.kind}", hint=hint)
        if len(whole) < len(lines):
            self.path.write_text("".join(whole), encoding="utf-8")
        return rows

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Raises
        ------
        OutputError
            If the system fails.
        """
        self._write(row, "a")

    def _head(self) -> dict[str, Any]:
        return {f"pathlift_{self.kind}": self.version, **self.about}

    def _write(self, row: Mapping[str, Any], mode: str) -> None:
        if self.path is None:
            return
        try:
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise OutputError("0718", f"cannot write {os.fspath(self.path)!r}: {error.strerror}") from error
