"""Costs of files: times of a race with a clock that is told, batches that all files take, and bytes on disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from pathlift.frontend.save import save
from pathlift.ir.errors import UsageError
from pathlift.ir.text import parse_graph
from pathlift.models import file_costs
from pathlift.models.source import open_model
from pathlift.testing.token_models import bigram_model, list_logits

GRAPH = "%x = Input : f32[N, 8]\n%w = Param : f32[8, 4]\n%y = Gemm(%x, %w)\nreturn %y"
WEIGHTS = {"w": np.arange(32, dtype=np.float32).reshape(8, 4)}


def raced(*seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> tuple[list[file_costs.Latency], list[Any]]:
    """Latencies of files that take so long in each round, and what they were fed."""
    now, fed = [0.0], list[Any]()

    def entrant(own: list[float]) -> Any:
        left = iter([*[100.0] * 2, *own])  # two rounds come first, which do not count

        def run(feeds: Any) -> None:
            fed.append(feeds)
            now[0] += next(left)

        return SimpleNamespace(run=run)

    monkeypatch.setattr(file_costs, "_ROUNDS", len(seconds[0]))
    feeds = [{"x": np.full(1, i)} for i in range(len(seconds))]
    found, rounds = file_costs.latencies([entrant(own) for own in seconds], feeds, 60.0, 0, lambda: now[0])
    assert rounds == len(seconds[0])
    return found, fed


def test_ratios_are_paired_and_in_the_order_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median of ratios 4, 3 and 1, not the ratio of medians, which is 2."""
    (first, second, third), fed = raced([1, 2, 4], [4, 6, 4], [0.5, 1, 2], monkeypatch=monkeypatch)
    assert first.to_json() == {"ms": 2000.0, "ratio": 1.0, "ci": [1.0, 1.0]}
    assert (second.seconds, second.ratio) == (4.0, 3.0)
    assert (second.interval[0], second.interval[1]) == (1.0, 4.0)
    assert third.to_json() == {"ms": 1000.0, "ratio": 0.5, "ci": [0.5, 0.5]}
    assert sorted(int(feeds["x"][0]) for feeds in fed) == [i for i in range(3) for _ in range(5)]


def test_a_clock_that_stands_still_gives_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = raced([0.0] * 5, [0.0] * 5, monkeypatch=monkeypatch)
    assert [each.ratio for each in found] == [1.0, 1.0]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_is_no_time(seconds: float) -> None:
    with pytest.raises(UsageError, match="PL1576"):
        file_costs.check_seconds(seconds)


def test_the_batch_is_one_that_all_files_take() -> None:
    assert file_costs.batch_size([("a", 0), ("b", 0)], 20) == 20
    assert file_costs.batch_size([("a", 0), ("b", 0)], 2000) == 64
    assert file_costs.batch_size([("a", 0), ("b", 200), ("c", 200)], 20) == 200
    with pytest.raises(UsageError, match=r"PL1577.*a takes batches of 8, c of 1"):
        file_costs.batch_size([("a", 8), ("b", 0), ("c", 1)], 20)


def test_bytes_of_a_file_are_all_that_was_saved(tmp_path: Path) -> None:
    graph = parse_graph(GRAPH.replace("4]", "400]"), {"w": np.ones((8, 400), np.float32)})
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.json"
    save(graph, whole)
    save(graph, tmp_path / "split.onnx", external_threshold=0)
    assert file_costs.file_size(open_model(whole)) == whole.stat().st_size
    both = [path.stat().st_size for path in tmp_path.glob("split.*")]
    assert sorted(both)[1] == 4 * 8 * 400
    assert file_costs.file_size(open_model(tmp_path / "split.onnx")) == sum(both)
    (tmp_path / "split.onnx").rename(split)  # what a name ends in is no format
    assert file_costs.file_size(open_model(split)) == sum(both)


def test_bytes_of_what_is_no_file(tmp_path: Path) -> None:
    proto = bigram_model(list_logits())
    data = proto.SerializeToString()
    assert file_costs.file_size(open_model(data)) == len(data)
    assert file_costs.file_size(open_model(proto)) == len(data)
    onnx.save(proto, tmp_path / "m.onnx")
    with (tmp_path / "m.onnx").open("rb") as stream:
        assert file_costs.file_size(open_model(stream)) == len(data)
    assert file_costs.file_size(open_model(parse_graph(GRAPH, WEIGHTS))) == 4 * 32
