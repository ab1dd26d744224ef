"""``pathlift tune --cluster``: the same errors and choices, and nothing else at work while files race."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift
from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph
from pathlift.ir.work import in_turn

pytestmark = pytest.mark.timeout(120)
LAYERS, PATTERNS = 3, "(1,16,2,1)(1,2,16,1);(1,4,4,4)(4,4,4,1)"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Layers of two kinds, each nearer to rank 2 than the one before."""
    rng, text, sizes = np.random.default_rng(0), "%x0 = Input : f32[N, 16]\n", (16, 16, 16, 24)
    weights = {}
    for i, (rows, cols) in enumerate(pairwise(sizes)):
        text += f"%w{i} = Param : f32[{rows}, {cols}]\n%h{i} = Gemm(%x{i}, %w{i})\n%x{i + 1} = Relu(%h{i})\n"
        low = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, cols))
        weights[f"w{i}"] = (low + 0.1**i * rng.normal(size=(rows, cols))).astype(np.float32)
    save(parse_graph(f"{text}return %x{LAYERS}", weights), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def data() -> dict[str, Any]:
    return {"x0": np.random.default_rng(1).normal(size=(80, 16)).astype(np.float32)}


def test_no_worker_is_left_while_files_race(model: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order in which fits and errors end, nothing changes."""
    at_work, counts, races = [False], list[int](), list[int]()

    @contextmanager
    def spread(cluster: object) -> Iterator[Any]:
        def each(work: Any, items: Any, /) -> Iterator[tuple[int, Any]]:
            found = list(in_turn(work, items))
            counts.append(len(found))
            yield from reversed(found)

        at_work[0] = cluster is not None
        yield each if cluster else in_turn
        at_work[0] = False

    def race(runners: Any, *_: Any, **__: Any) -> Any:
        assert not at_work[0]
        races.append(len(runners))
        seconds = (runner.times * (1.0 - 0.125 * sum(map(bool, runner.choice))) for runner in runners)
        return [np.full((7, 2), s) for s in seconds]

    monkeypatch.setattr("pathlift.models.spread.spread", spread)
    monkeypatch.setattr("pathlift.models.tuning.latency.race", race)
    asked: list[dict[str, Any]] = [{"patterns": PATTERNS}, {"minimize": "bytes", "layers": "h1,h2"}]
    for options in asked:
        one, other = (
            pathlift.tune(model, calib=data, max_error=0.5, verify=2, cluster=cluster, **options).to_json()
            for cluster in (None, 2)
        )
        assert one == other
        assert one["best"]["error"] <= 0.5
    assert races
    assert counts[:2] == [2, 4]  # fits, and errors; products that are given do not fit the last, and none is screened
    assert counts[2:4] == [2, 2]
    assert counts[4] >= 2


@pytest.mark.slow
def test_workers_find_the_same_errors(model: Path, data: dict[str, Any], tmp_path: Path, address: str) -> None:
    errors = []
    for cluster, name in ((None, "one.jsonl"), (address, "two.jsonl")):
        pathlift.tune(
            model, calib=data, max_error=0.5, minimize="bytes", patterns=PATTERNS, cluster=cluster, log=tmp_path / name
        )
        lines = map(json.loads, (tmp_path / name).read_text().splitlines())
        errors.append(sorted(json.dumps(line) for line in lines if "layer" in line.values()))
    assert len(errors[0]) >= 2
    assert errors[0] == errors[1]
