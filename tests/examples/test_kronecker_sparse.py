"""The script runs, and finds the factors."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "examples" / "kronecker_sparse.py"


def test_kronecker_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out, err = capsys.readouterr()
    assert err == ""
    _, dense, sparse = (line.split() for line in out.splitlines())
    assert int(sparse[1]) < int(dense[1]) / 10
    assert float(sparse[2]) < float(dense[2]) / 10  # the file
    assert float(sparse[5]) < 1e-4
