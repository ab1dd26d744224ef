"""Files of tests in the interpreter: each is a test, and a slow one if it holds slow tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("marks", "found"), [("not slow", {"interpreted"}), ("slow", {"interpreted_slow"})])
def test_slow_tests_are_a_test_of_their_own(marks: str, found: set[str]) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks]
    done = subprocess.run([*command, "tests/codegen/templates"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert {line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line} == found
