"""The example's strings are of its language, and the network that it trains says such strings."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "train_tokens.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_strings_are_of_the_language(script: dict[str, Any]) -> None:
    rows = script["strings"](300, 0).numpy()
    assert rows.shape == (300, script["LENGTH"])
    texts = {"".join(script["TOKENS"][token] for token in row[1:] if token != script["END"]) for row in rows}
    assert all(re.fullmatch(script["REGEX"], text) for text in texts)
    assert len(texts) > 100
    assert np.all(rows[:, 0] == script["BEGIN"])
    assert np.all(rows[:, -1] == script["END"])


@pytest.mark.slow
def test_the_network_says_such_strings(tmp_path: Path) -> None:
    file = tmp_path / "tokens.onnx"
    script = runpy.run_path(str(SCRIPT))
    script["main"](file)
    tokens = json.loads(file.with_suffix(".json").read_text())
    assert file.stat().st_size < 300_000
    assert np.load(file.with_suffix(".npz"))["tokens"].shape == (1000, script["LENGTH"])
    session, rng = ort.InferenceSession(file, providers=["CPUExecutionProvider"]), np.random.default_rng(0)
    said = np.full((100, script["LENGTH"]), script["END"])
    said[:, 0] = script["BEGIN"]
    for i in range(script["LENGTH"] - 1):
        logits = session.run(["logits"], {"tokens": said})[0][:, i]
        said[:, i + 1] = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    texts = ["".join(tokens[t] or "" for t in row[1 : [*row, script["END"]].index(script["END"])]) for row in said]
    assert np.mean([re.fullmatch(script["REGEX"], text) is not None for text in texts]) > 0.9
