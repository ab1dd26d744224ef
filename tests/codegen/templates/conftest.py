"""Kernels in Triton's interpreter, which is chosen before Triton is imported: each of these files has its own process.

A process that compiles kernels cannot interpret them, nor the other way round. So a file of tests is one test here,
which runs the file with ``TRITON_INTERPRET=1``; in that process they are tests like any others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"


class Interpreted(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield InOwnProcess.from_parent(self, name="interpreted")


class InOwnProcess(pytest.Item):
    def runtest(self) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", self.marks(), str(self.path)]
        # One thread: the interpreter is Python, and other tests run beside it.
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode not in (0, 5):  # 5: all of its tests are left out by their marks
            pytest.fail(done.stdout[-8000:] + done.stderr[-2000:], pytrace=False)

    def marks(self) -> str:
        """The same choice of slow tests as outside."""
        return str(self.config.option.markexpr)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if INTERPRETING or not file_path.name.startswith("test_"):
        return None
    return Interpreted.from_parent(parent, path=file_path)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Outside the interpreter, nothing is imported from these files."""
    return None if INTERPRETING else Nothing.from_parent(parent, path=module_path)


class Nothing(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        return iter(())
