"""Workers for tests: two of them on this machine, and one that waits to be killed."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def two_workers() -> Iterator[str]:
    """Start a scheduler and two processes of one thread; yield its address."""
    from distributed import LocalCluster

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=None,
            silence_logs=logging.CRITICAL, local_directory=folder, scheduler_kwargs={"dashboard": False},
        ) as started,
    ):  # fmt: skip
        yield str(started.scheduler_address)


def wait_once(folder: str) -> None:
    """Leave the process's number where `kill` finds it, and wait for that; another process goes on."""
    mark = os.path.join(folder, "pid")
    if not os.path.exists(mark):
        with open(mark + "~", "w") as file:
            file.write(str(os.getpid()))
        os.rename(mark + "~", mark)
        time.sleep(60)


def kill(folder: Path) -> None:
    """Kill the process that left its number, as soon as it has."""
    while not (folder / "pid").exists():
        time.sleep(0.01)
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
