"""A progress bar on stderr: on a terminal only, and only past one second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pathlift.report.clean import sanitize

_PATIENCE = 1.0


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what to call with a name, its number and how many there are; ``None`` where nobody watches."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar, start = Progress(*columns, console=Console(stderr=True), transient=True), time.monotonic()
    task = bar.add_task(what, visible=False)

    def tell(name: str, number: int, count: int) -> None:
        if time.monotonic() - start > _PATIENCE:
            bar.start()
            bar.update(task, visible=True, completed=number, total=count, description=f"{what} {sanitize(name)}")

    try:
        yield tell
    finally:
        with suppress(OSError):
            bar.stop()
