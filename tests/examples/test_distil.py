"""The script runs: distillation brings back the accuracy that fitting lost, and ONNX Runtime agrees."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "distil.py"


@pytest.mark.slow  # it trains
def test_distil(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        torch.set_num_threads(threads)  # the script takes one
    out, err = capsys.readouterr()
    assert err == ""
    layers, networks, last = out.strip().split("\n\n")
    assert [row.split()[0] for row in layers.splitlines()[1:]] == ["0", "2"]
    (dense, teacher), (fewer, fitted), (_, distilled), (_, executed) = (
        map(float, row.split()[-2:]) for row in networks.splitlines()[1:]
    )
    assert fewer < dense / 5
    assert teacher > 0.97
    assert fitted < teacher - 0.005
    assert distilled > max(fitted + 0.005, teacher - 0.006)
    assert executed == distilled
    assert float(last.split()[-1]) < 1e-4
