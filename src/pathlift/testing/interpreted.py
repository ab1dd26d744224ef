"""Files of tests in Triton's interpreter, which is chosen before Triton is imported: each has its own process.

A process that compiles kernels cannot interpret them, nor the other way round. So a file of tests whose name begins
with ``test_interpreted_``, or that lies in a folder ``templates``, is one test, which runs the file with
``TRITON_INTERPRET=1``; in that process they are tests like any others. What is slow in it is a second one, and slow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def is_interpreted(path: Path) -> bool:
    """Whether a file's tests run in a process of their own, which this is not."""
    of_tests = path.name.startswith("test_") and path.parent.name == "templates"
    return (of_tests or path.name.startswith("test_interpreted_")) and os.environ.get("TRITON_INTERPRET") != "1"


class Interpreted(pytest.File):
    """A file as one test, and as one more for those of its tests that are slow."""

    def collect(self) -> Iterator[pytest.Item]:
        yield _InOwnProcess.from_parent(self, name="interpreted")
        if "mark.slow" in self.path.read_text(encoding="utf-8"):
            slow = _InOwnProcess.from_parent(self, name="interpreted_slow")
            slow.add_marker("slow")
            yield slow


class Nothing(pytest.Module):
    """A file of which nothing is imported in this process."""

    def collect(self) -> Iterator[pytest.Item]:
        return iter(())


class _InOwnProcess(pytest.Item):
    def runtest(self) -> None:
        marks = "slow" if self.get_closest_marker("slow") else "not slow"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, str(self.path)]
        # One thread: the interpreter is Python, and other tests run beside it.
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            pytest.fail(done.stdout[-8000:] + done.stderr[-2000:], pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name
