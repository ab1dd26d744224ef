"""`audit privacy` and `audit language`: what files cost, beside what is found of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pathlift
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.testing.token_models import (
    BOS,
    EOS,
    LISTS,
    VOCABULARY,
    bigram_model,
    list_logits,
    list_strings,
    rounded,
)

pytest.importorskip("onnxruntime")
STRINGS = {"tokens": list_strings(100)}
BASE = bigram_model(list_logits())
TIMES = [2.0, 1.0, 5.0]


@pytest.fixture
def entrants(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What races: the first file takes 2 s, the second 1 s, the third 5 s."""
    found: list[Any] = []

    def race(given: Any, *_: Any) -> list[Any]:
        found.extend(given)
        return [np.full(5, own) for own in TIMES[: len(given)]]

    monkeypatch.setattr("pathlift.models.file_costs.race", race)
    return found


@pytest.fixture
def no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.models.file_costs.race", None)


def private(leaky: Any, *models: Any, **options: Any) -> Any:
    return pathlift.audit_privacy(*models, **{**leaky.sets(), "bootstrap": 100, **options})


def language(*models: Any, **options: Any) -> Any:
    pytest.importorskip("interegular")
    given = {"regex": LISTS, "vocab": VOCABULARY, "bos": BOS, "eos": EOS, "data": STRINGS, "generate": 0}
    return pathlift.audit_language(*models, **{**given, **options})


def fixed(proto: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = rows
    return copy


def untimed(result: Any) -> list[Any]:
    return [{**file, "latency": None} for file in result.to_json()["files"]]


LATENCIES = [
    {"ms": 2000.0, "ratio": 1.0, "ci": [1.0, 1.0]},
    {"ms": 1000.0, "ratio": 0.5, "ci": [0.5, 0.5]},
    {"ms": 5000.0, "ratio": 2.5, "ci": [2.5, 2.5]},
]


def test_privacy(leaky: Any, entrants: list[Any]) -> None:
    """Files race on the first members, and all else is as without a race."""
    files = [leaky.file(leak) for leak in (1.0, 0.3, 0.9)]
    result = private(leaky, *files, time=1.0)
    found = result.to_json()["files"]
    assert [file["latency"] for file in found] == LATENCIES
    assert [file["bytes"] for file in found] == list(map(len, files))
    for entrant in entrants:
        np.testing.assert_array_equal(entrant.feeds["x"], leaky.sets()["members"]["x"][:64])
    w = [onnx.numpy_helper.to_array(onnx.load_from_string(file).graph.initializer[0]) for file in files]
    x = entrants[0].feeds["x"]
    for entrant, own in zip(entrants, w, strict=True):
        np.testing.assert_allclose(entrant.run({})["z"], x @ own, rtol=1e-5, atol=1e-5)
    assert "5 rounds" in result.assumptions[-1]
    assert "one batch of 64 on one thread" in result.assumptions[-1]
    assert untimed(private(leaky, *files)) == untimed(result)
    row = str(result).splitlines()[2].split()
    assert row[-3:] == ["1000", "0.50×", "0.50–0.50"]


@pytest.mark.usefixtures("no_race")
def test_one_file_alone(leaky: Any) -> None:
    """It has bytes, and no columns for them; nothing races."""
    for result in (private(leaky, leaky.file(1.0)), language(BASE)):
        (file,) = result.to_json()["files"]
        assert file["bytes"] > 0
        assert file["latency"] is None
        assert "size" not in str(result)


def test_one_file_that_is_timed(leaky: Any, entrants: list[Any]) -> None:
    for result in (private(leaky, leaky.file(1.0), time=1.0), language(BASE, time=1.0)):
        assert result.to_json()["files"][0]["latency"] == LATENCIES[0]
        assert "1.00–1.00" in str(result)


def test_a_real_race(leaky: Any) -> None:
    found = private(leaky, leaky.file(1.0), leaky.file(0.3), time=1e-3).to_json()["files"]
    assert found[0]["latency"]["ratio"] == 1
    assert all(file["latency"]["ms"] > 0 for file in found)
    low, high = found[1]["latency"]["ci"]
    assert 0 < low <= found[1]["latency"]["ratio"] <= high


@pytest.mark.usefixtures("no_race")
def test_a_file_that_fails(leaky: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"PL0324.*model 1"):
        private(leaky, leaky.file(1.0), leaky.file(0.3, ends="Log"), time=1.0, scores=tmp_path / "s.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_race")
def test_batches_that_differ(leaky: Any) -> None:
    """They are refused before anything is run, but only where files are timed."""
    files = [fixed(onnx.load_from_string(leaky.file(1.0)), rows).SerializeToString() for rows in (8, 16)]
    told = list[Any]()
    with pytest.raises(UsageError, match="PL1577"):
        private(leaky, *files, time=1.0, progress=lambda *said: told.append(said))
    assert not told
    assert len(private(leaky, *files).files) == 2
    with pytest.raises(UsageError, match="PL1577"):
        language(fixed(BASE, 8), fixed(BASE, 16), time=1.0)


@pytest.mark.usefixtures("no_race")
@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_what_is_no_time(leaky: Any, seconds: float) -> None:
    for audit in (lambda: private(leaky, leaky.file(1.0), time=seconds), lambda: language(BASE, time=seconds)):
        with pytest.raises(UsageError, match="PL1576"):
            audit()


def test_a_batch_that_is_fixed_is_filled_up(leaky: Any, entrants: list[Any]) -> None:
    file = fixed(onnx.load_from_string(leaky.file(1.0)), 700).SerializeToString()
    private(leaky, leaky.file(0.3), file, time=1.0)
    language(BASE, fixed(BASE, 130), time=1.0)
    assert [len(next(iter(entrant.feeds.values()))) for entrant in entrants] == [700, 700, 130, 130]
    x, members = entrants[0].feeds["x"], leaky.sets()["members"]["x"]
    np.testing.assert_array_equal(x, np.vstack([members, members[:100]]))


def test_language(entrants: list[Any]) -> None:
    """Accuracy is that of the table of logits, over all tokens after others."""
    models, logits = (BASE, rounded(BASE, 3)), list_logits()
    result = language(*models, time=1.0)
    found = result.to_json()["files"]
    assert [file["latency"] for file in found] == LATENCIES[:2]
    assert [file["bytes"] for file in found] == [proto.ByteSize() for proto in models]
    pairs = [(a, b) for row in STRINGS["tokens"] for a, b in pairwise(row) if a != EOS]
    assert found[0]["accuracy"] == pytest.approx(np.mean([logits[a].argmax() == b for a, b in pairs]))
    for entrant in entrants:
        np.testing.assert_array_equal(entrant.feeds["tokens"], STRINGS["tokens"][:64])
        assert entrant.run({})["logits"].shape[0] == 64
    assert untimed(language(*models)) == untimed(result)
    assert "0.50×" in str(result)


def test_a_tie_is_not_right() -> None:
    assert language(bigram_model(np.zeros((18, 18)))).to_json()["files"][0]["accuracy"] == 0


def test_hidden_tokens_are_hidden_in_the_race(entrants: list[Any]) -> None:
    """Those of the strings that are scored, of which begins and ends stay."""
    language(BASE, kind="masked", mask_token=15, fit_weights=True, time=1.0)
    tokens, scored = entrants[0].feeds["tokens"], STRINGS["tokens"][1::2]
    hidden = tokens == 15
    assert hidden.any(1).all()
    assert (tokens == scored)[~hidden].all()
    assert not set(scored[hidden].tolist()) & {BOS, EOS}


def test_charts_have_costs_of_several(leaky: Any) -> None:
    pytest.importorskip("matplotlib")
    several = private(leaky, leaky.file(1.0), leaky.file(0.3)).chart()
    labels = [axes.get_xlabel() for axes in several.axes]
    assert [label for label in labels if "size" in label] == ["size of the file [B]"]
    assert not any("size" in axes.get_xlabel() for axes in private(leaky, leaky.file(1.0)).chart().axes)
    found = language(BASE, rounded(BASE, 3))
    (axes,) = (axes for axes in found.chart().axes if "size" in axes.get_xlabel())
    heights = [float(line.get_ydata()[0]) for line in axes.lines]
    assert heights == [file["support"] + file["frequency"] for file in found.to_json()["files"]]
    assert not any("size" in axes.get_xlabel() for axes in language(BASE).chart().axes)


def test_what_is_unbounded_is_named(entrants: list[Any]) -> None:
    pytest.importorskip("matplotlib")
    from pathlift.report.language_chart import draw_language

    result = language(BASE, rounded(BASE, 3), time=1.0)
    figures = result.to_json()
    figures["files"][1] = {**figures["files"][1], "support": None}
    (axes,) = (axes for axes in draw_language(figures, result.heat).axes if "time" in axes.get_xlabel())
    assert axes.get_title(loc="left") == "unbounded: model 2"
    assert len(axes.texts) == 1
