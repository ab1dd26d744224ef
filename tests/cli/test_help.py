"""Help: short of a terminal's colours where none are wanted, and noticed where it cannot be written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_help() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pathlift", "norm", "--help"]
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 70
    assert process.stderr == "PL0707 could not write to standard output: No space left on device\n"


def test_reader_of_help_that_left() -> None:
    import os

    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pathlift", "norm", "--help"]
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True)])
def test_no_color_holds_for_help(value: str, coloured: bool, pathlift: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", True)
    monkeypatch.setenv("NO_COLOR", value)
    outcome = pathlift("norm", "--help")
    assert "Usage" in outcome.out
    assert ("\x1b" in outcome.out) == coloured
