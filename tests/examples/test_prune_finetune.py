"""The example of fine-tuning: what it prints is what its page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_digits_survive_with_a_tenth_of_their_weights() -> None:
    pytest.importorskip("sklearn")
    run = subprocess.run(
        [sys.executable, "prune_finetune.py"], capture_output=True, text=True, check=True, cwd=EXAMPLES
    )
    rows = [line.split() for line in run.stdout.splitlines()]
    assert [row[0] for row in rows[1:4]] == ["0.0%", "80.0%", "90.0%"]
    assert float(rows[3][2]) > 0.97
    assert float(rows[-1][-1]) == float(rows[3][2])
    dense, sparse = map(float, re.findall(r"([\d.]+) kB", run.stdout))
    assert sparse < 0.5 * dense
