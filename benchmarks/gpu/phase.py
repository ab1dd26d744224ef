"""A phase of the measurements: a process of its own, with a deadline, whose records survive it.

A kernel that reads where it must not can end every use of the card by its process. So what a phase finds is written to
a file line by line, and so is what it is about to do: after a crash, the next process goes on behind the culprit.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from pathlift.codegen.schedule import Form
from pathlift.ir.kronecker import Pattern

T = TypeVar("T")
BROKEN = 3
"""Exit status of a phase whose card answers no more."""
_RESERVE = 2.0
"""Seconds before the deadline at which nothing new is begun."""


@dataclass(frozen=True)
class Run:
    """What a phase is told.

    Parameters
    ----------
    log
        Where its records go, one JSON object a line.
    seed
        Of all that is random.
    until
        When it has to be done, as of ``time.time()``.
    dry
        Whether this is a rehearsal: on a CPU, in Triton's interpreter, tiny.
    skip
        How many cases earlier processes began.
    """

    log: Path
    seed: int
    until: float
    dry: bool
    skip: int = 0

    @property
    def device(self) -> str:
        """Where tensors lie."""
        return "cpu" if self.dry else "cuda"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.until - time.time()

    def emit(self, record: str, **fields: object) -> None:
        """Write down what was found."""
        note(self.log, record, **fields)

    def cases(self, planned: Sequence[T], what: str, name: Callable[[T], str]) -> Iterator[T]:
        """Yield cases while there is time; says how many are left out.

        An error of a case is caught by the caller, with `caught`.
        """
        for index in range(self.skip, len(planned)):
            if self.left < _RESERVE:
                self.emit("left_out", what=f"{len(planned) - index} of {len(planned)} {what}", why="no time was left")
                return
            self.emit("begun", index=index, what=name(planned[index]))
            yield planned[index]

    def caught(self, what: str, error: Exception) -> None:
        """Write down an error; ends the process if the card does not answer any more."""
        text = f"{type(error).__name__}: {str(error).strip()[:600]}"
        print(what, text, flush=True)
        self.emit("failed", what=what, error=text, at=traceback.format_exception(error)[-2][-300:])
        if not self.dry:
            try:
                torch.cuda.synchronize()
            except Exception as broken:
                raise SystemExit(BROKEN) from broken


def note(log: Path, record: str, **fields: object) -> None:
    """Add a record to a file."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"record": record, **fields}, default=_plain) + "\n")


def _plain(value: object) -> object:
    """What JSON can hold."""
    if isinstance(value, Form | Pattern):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def spelled(patterns: Sequence[Pattern]) -> str:
    """Write patterns as they multiply."""
    return "".join(map(str, patterns))


def records(log: Path) -> list[dict[str, Any]]:
    """Read what a phase wrote; its last line may be cut off."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append({"record": "failed", "what": "the record", "error": "a line was cut off", "at": ""})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a module beside this one")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--dry", action="store_true")
    options = vars(parser.parse_args())
    phase = importlib.import_module(f"benchmarks.gpu.{options.pop('name')}")
    torch.set_grad_enabled(False)
    phase.main(Run(**options))


if __name__ == "__main__":
    main()
