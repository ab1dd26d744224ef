"""``pathlift audit privacy``: what it finds in files whose leakage is known, what it says of two, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import pathlift as api
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.text import parse_graph

Audit = Callable[..., dict[str, Any]]


def figures(leaky: Any, *models: bytes, **options: Any) -> dict[str, Any]:
    options = {**leaky.sets(), "bootstrap": 200, **options}
    return api.audit_privacy(*models, **options).to_json()


def references(leaky: Any, count: int = 3) -> dict[str, Any]:
    return {"reference": [leaky.file(0, noise=i) for i in range(1, count + 1)], "population": leaky.samples(3, 600)}


def test_one_file(leaky: Any) -> None:
    """The score and its AUC by other libraries; no verdict."""
    found, sets = figures(leaky, leaky.file(1.0)), leaky.sets()
    scores = []
    for data in sets.values():
        x, y = data["x"].astype(float), data["y"]
        p = np.exp(log_softmax(x[:, :4] + x[:, 4:], 1))
        own = p[range(len(y)), y]
        scores.append(np.log(own / (1 - own)))
    labels = np.repeat([1, 0], 600)
    (file,) = found["files"]
    loss = file["attacks"]["loss"]
    assert loss["auc"] == pytest.approx(roc_auc_score(labels, np.concatenate(scores)), abs=1e-5)  # float32
    assert loss["ci"][0] < loss["auc"] < loss["ci"][1]
    assert loss["tpr"] == {"0.01": {"value": None, "ci": None}, "0.001": {"value": None, "ci": None}}
    assert file["attacks"]["rmia"] is file["attacks"]["ratio"] is None
    assert file["accuracy"]["gap"] == file["accuracy"]["train"] - file["accuracy"]["test"]
    assert (found["difference"], found["verdict"], found["needed_nonmembers"]) == (None, None, None)
    assert found["references"] == {"count": 0, "trained_on": None, "files": []}
    assert found["lower_bound"] is True


def test_rates_where_there_are_enough(leaky: Any) -> None:
    found = figures(leaky, leaky.file(1.0), **leaky.sets(1000))["files"][0]["attacks"]["loss"]["tpr"]
    assert 0 <= found["0.01"]["ci"][0] <= found["0.01"]["value"] <= found["0.01"]["ci"][1] < 0.3
    assert found["0.001"] == {"value": None, "ci": None}


def test_normal_scores_have_the_auc_of_the_closed_form() -> None:
    """Two classes and logits (t, 0): the score is t, N(1, 1) of members, N(0, 1) of others."""
    rng, count = np.random.default_rng(0), 3000
    file = parse_graph(
        "%x = Input : f32[N, 2]\n%w = Param : f32[2, 2]\n%y = Gemm(%x, %w)\nreturn %y",
        {"w": np.eye(2, dtype=np.float32)},
    )
    sets = []
    for shift in (1.0, 0.0):
        t = rng.normal(shift, 1, count).astype(np.float32)
        sets.append(
            {"x": np.stack([t, rng.normal(0, 1e-6, count).astype(np.float32)], 1), "y": np.zeros(count, np.int64)}
        )
    result = api.audit_privacy(file, members=sets[0], nonmembers=sets[1], bootstrap=200)
    attack = result.files[0].attacks["loss"]
    assert attack is not None
    assert abs(attack.auc - norm.cdf(1 / 2**0.5)) < 3 * (attack.interval[1] - attack.interval[0]) / 3.92
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "leaks,verdict,code", [((1, 0.3), "less", 0), ((0.3, 1), "more", 1), ((1, 0.9), "no_difference", 0)]
)
def test_verdicts(leaky: Any, leaks: tuple[float, float], verdict: str, code: int) -> None:
    result = api.audit_privacy(*map(leaky.file, leaks), **leaky.sets(), bootstrap=200)
    found = result.to_json()
    assert (found["verdict"], result.exit_code) == (verdict, code)
    assert np.sign(found["difference"]["auc"]) == np.sign(leaks[1] - leaks[0])
    assert found["comparisons"][0]["difference"] == found["difference"]
    assert found["needed_nonmembers"] >= 100


def test_references_make_the_headline(leaky: Any) -> None:
    alone, found = figures(leaky, leaky.file(1.0)), figures(leaky, leaky.file(1.0), **references(leaky))
    attacks = found["files"][0]["attacks"]
    assert (alone["attack"], found["attack"], found["references"]["count"]) == ("loss", "rmia", 3)
    assert attacks["loss"] == alone["files"][0]["attacks"]["loss"]
    assert attacks["rmia"]["auc"] > attacks["loss"]["auc"]
    assert figures(leaky, leaky.file(1.0), leaky.file(0.3), **references(leaky))["verdict"] == "less"


def test_softmax_in_the_file_is_found_and_said(leaky: Any) -> None:
    outside, inside = (
        api.audit_privacy(leaky.file(1.0, ends=e), **leaky.sets(), bootstrap=200) for e in ("", "Softmax")
    )
    aucs = [r.to_json()["files"][0]["attacks"]["loss"]["auc"] for r in (outside, inside)]
    assert aucs[0] == pytest.approx(aucs[1], abs=1e-4)
    assert "logits" in outside.assumptions[-1]
    assert "probabilities" in inside.assumptions[-1]


def test_several_files_are_means(leaky: Any) -> None:
    before, after = ([leaky.file(leak, noise=i) for i in (1, 2)] for leak in (1.0, 0.3))
    found = figures(leaky, before=before, after=after)
    aucs = [file["attacks"]["loss"]["auc"] for file in found["files"]]
    groups, difference = found["groups"], found["difference"]
    assert groups["before"]["auc"] == {
        "mean": pytest.approx(np.mean(aucs[:2])), "std": pytest.approx(np.std(aucs[:2], ddof=1))
    }  # fmt: skip
    assert difference["auc"] == pytest.approx(np.mean(aucs[2:]) - np.mean(aucs[:2]))
    assert difference["ci"][0] < difference["auc"] < difference["ci"][1]
    assert found["verdict"] == "less"
    assert figures(leaky, before=before[:1], after=after[:1])["groups"]["before"]["auc"]["std"] is None


def test_more_than_two_files_are_a_table(leaky: Any) -> None:
    result = api.audit_privacy(*map(leaky.file, (1.0, 0.3, 0.95)), **leaky.sets(), bootstrap=200)
    found = result.to_json()
    assert [c["verdict"] for c in found["comparisons"]] == ["less", "no_difference"]
    assert (found["verdict"], found["difference"], result.exit_code) == (None, None, 0)
    worse = api.audit_privacy(*map(leaky.file, (0.3, 0.35, 1.0)), **leaky.sets(), bootstrap=200)
    assert worse.exit_code == 1, "one of them tells more"


def test_gate(leaky: Any) -> None:
    """It is asked of what comes after; the lower end of the interval counts."""
    leak, safe, sets = leaky.file(1.0), leaky.file(0.3), {**leaky.sets(), "bootstrap": 200}
    low = api.audit_privacy(leak, **sets).files[0].attacks["loss"].interval[0]  # type: ignore[union-attr]
    assert api.audit_privacy(leak, **sets, max_auc=low - 1e-6).exit_code == 1
    assert api.audit_privacy(leak, **sets, max_auc=low + 1e-6).exit_code == 0
    assert api.audit_privacy(leak, safe, **sets, max_auc=low - 1e-6).exit_code == 0
    assert api.audit_privacy(leak, leak, **sets, max_auc=low - 1e-6).exit_code == 1
    assert api.audit_privacy(before=[leak], after=[leak], **sets, max_auc=low - 1e-6).exit_code == 1


def test_seed_decides(leaky: Any) -> None:
    pair = leaky.file(1.0), leaky.file(0.3)
    assert figures(leaky, *pair) == figures(leaky, *pair)
    one, other = figures(leaky, *pair), figures(leaky, *pair, seed=1)
    assert one["difference"]["auc"] == other["difference"]["auc"]
    assert one["difference"]["ci"] != other["difference"]["ci"]


def test_batches_that_a_file_fixes_are_filled_up(leaky: Any) -> None:
    w = np.vstack([np.eye(4), np.eye(4)]).astype(np.float32)
    text = "%x = Input : f32[BATCH, 8]\n%w = Param : f32[8, 4]\n%y = Gemm(%x, %w)\nreturn %y"
    fixed, open_ = (parse_graph(text.replace("BATCH", n), {"w": w}) for n in ("7", "N"))
    assert figures(leaky, fixed)["files"][0]["attacks"] == figures(leaky, open_)["files"][0]["attacks"]


@pytest.mark.parametrize(
    "options,code",
    [
        ({"labels": "class"}, "PL1560"),
        ({"labels": "x"}, "PL1560"),
        ({"output": "other"}, "PL1564"),
        ({"bootstrap": 99}, "PL1571"),
        ({"accuracy_margin": 0.0}, "PL1570"),
        ({"auc_margin": -0.1}, "PL1570"),
        ({"max_auc": 1.5}, "PL1570"),
        ({"reference": "none*.onnx"}, "PL1572"),
        ({"reference": "r.onnx"}, "PL1569"),
        ({"population": {"x": 1}}, "PL1569"),
        ({"before": [b""]}, "PL1568"),
    ],
)
def test_options_that_say_nothing(leaky: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        figures(leaky, leaky.file(1.0), **options)


def test_no_model(leaky: Any) -> None:
    with pytest.raises(UsageError, match="PL1568"):
        figures(leaky)
    with pytest.raises(UsageError, match="PL1568"):
        figures(leaky, after=[leaky.file(1.0)])


@pytest.mark.parametrize(
    "y", [np.zeros(600), np.zeros(599, int), np.zeros((600, 1), int), np.full(600, -1), np.full(600, 4)]
)
def test_labels_that_are_none(leaky: Any, y: Any) -> None:
    sets = leaky.sets()
    with pytest.raises(UsageError, match=r"PL156[12]"):
        figures(leaky, leaky.file(1.0), nonmembers={**sets["nonmembers"], "y": y})


def test_files_of_other_tasks(leaky: Any) -> None:
    with pytest.raises(UsageError, match="PL1565"):
        figures(leaky, leaky.file(1.0), leaky.file(1.0, name="other"))
    wide = parse_graph(
        "%x = Input : f32[N, 8]\n%w = Param : f32[8, 5]\n%y = Gemm(%x, %w)\nreturn %y",
        {"w": np.eye(8, 5, dtype=np.float32)},
    )
    with pytest.raises(UsageError, match="PL1566"):
        figures(leaky, leaky.file(1.0), wide)


@pytest.mark.parametrize(
    "ends,code",
    [("ArgMax", "PL0322"), ("two", "PL0322"), ("Hardmax", "PL0323"), ("Sigmoid", "PL0323"), ("Log", "PL0324")],
)
def test_what_is_no_score_of_classes(leaky: Any, ends: str, code: str) -> None:
    with pytest.raises(UnsupportedError, match=code):
        figures(leaky, leaky.file(1.0, ends=ends))


def test_output_of_several(leaky: Any) -> None:
    one, two = figures(leaky, leaky.file(1.0)), figures(leaky, leaky.file(1.0, ends="two"), output="again")
    assert one["files"][0]["attacks"] == two["files"][0]["attacks"]


def test_on_the_command_line(leaky: Any, pathlift: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in {**leaky.sets(), "z": leaky.samples(3, 300)}.items():
        np.savez(f"{name}.npz", **data)
    for name, model in {
        "a": leaky.file(1.0),
        "b": leaky.file(0.3),
        **{f"r{i}": leaky.file(0, noise=i) for i in (1, 2)},
    }.items():
        Path(f"{name}.onnx").write_bytes(model)
    given = ("--members", "members.npz", "--nonmembers", "nonmembers.npz", "--bootstrap", "200")
    more = ("--reference", "r*.onnx", "--population", "z.npz", "--scores", "s.npz", "--chart", "c.svg")
    told = pathlift("audit", "privacy", "a.onnx", "b.onnx", *given, *more, "--format", "json")
    assert told.code == 0, told.err
    found = json.loads(told.out)["result"]
    assert (found["verdict"], found["references"]["count"], found["chart"]) == ("less", 2, "c.svg")
    assert Path("c.svg").read_text().startswith("<?xml")
    with np.load("s.npz") as scores:
        assert scores["members/kept"].tolist() == list(range(600))
        assert roc_auc_score(
            np.repeat([1, 0], 600), np.concatenate([scores["1/rmia/members"], scores["1/rmia/non-members"]])
        ) == pytest.approx(found["files"][1]["attacks"]["rmia"]["auc"], abs=1e-12)
    again = pathlift("audit", "privacy", "a.onnx", "b.onnx", *given, *more)
    assert again.code == 2
    assert "PL0703" in again.err
    said = pathlift("audit", "privacy", "b.onnx", "a.onnx", *given)
    assert said.code == 1
    assert "more: these attacks find more" in said.out
    many = pathlift("audit", "privacy", *given, "--before", "a.onnx", "--after", "b.onnx", "--after", "r1.onnx")
    assert "after: 2 files" in many.out


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
def test_executors_agree(leaky: Any, executor: str) -> None:
    pytest.importorskip(executor)
    found = figures(leaky, leaky.file(1.0), executor=executor)
    assert found["files"][0]["attacks"]["loss"]["auc"] == pytest.approx(0.74, abs=0.005)
