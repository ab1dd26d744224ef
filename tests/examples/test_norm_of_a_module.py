"""The script runs, and what its text says of the numbers is true of them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "norm_of_a_module.py"


def test_norm_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out, err = capsys.readouterr()
    assert err == ""
    header, *rows = out.splitlines()
    assert header.split()[:2] == ["network", "weights"]
    wide, deep, rescaled = ([float(cell) for cell in row[16:].split()] for row in rows)
    assert wide[0] == pytest.approx(deep[0], rel=0.05)  # about the same size
    assert wide[2] < deep[2]
    assert wide[3] > deep[3]  # the exponents disagree
    assert rescaled[1] > 5 * wide[1]
    assert rescaled[2:] == wide[2:]
