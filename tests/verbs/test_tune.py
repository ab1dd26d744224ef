"""`tune`: what it chooses, verifies, writes, keeps and refuses; times are those of a made-up machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as package
from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.text import parse_graph
from pathlift.models.data import batches
from pathlift.verbs.tune import text

Cli = Callable[..., Any]
SIZE, LAYERS = 16, 3
RANK_2, MONARCH = "(1,16,2,1)(1,2,16,1)", "(1,4,4,4)(4,4,4,1)"
TEXT = f"""
    %x = Input : f32[N, {SIZE}]
    %w0 = Param : f32[{SIZE}, {SIZE}]
    %a = Gemm(%x, %w0)
    %r = Relu(%a)
    %w1 = Param : f32[{SIZE}, {SIZE}]
    %b = Gemm(%r, %w1)
    %s = Relu(%b)
    %w2 = Param : f32[{SIZE}, {SIZE}]
    %c = Gemm(%s, %w2)
    return %c
"""


def nearly_of_rank_two(rng: np.random.Generator, rest: float) -> np.ndarray:
    low = rng.normal(size=(SIZE, 2)) @ rng.normal(size=(2, SIZE))
    return (low + rest * rng.normal(size=(SIZE, SIZE))).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The last two layers are near rank 2, the second less so; the first one is far from any product."""
    rng = np.random.default_rng(0)
    rests = {"w0": 3.0, "w1": 0.01, "w2": 0.001}
    save(parse_graph(TEXT, {n: nearly_of_rank_two(rng, rest) for n, rest in rests.items()}), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = np.random.default_rng(1).normal(size=(80, SIZE)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    return tmp_path / "d.npz"


class Machine:
    """What files take: 1 for each dense layer, `takes` for each option in its place, and noise."""

    def __init__(self) -> None:
        self.takes = {1: 0.5, 2: 0.8}
        self.bonus = 0.0
        self.luck = dict[tuple[int, ...], float]()  # by what a choice is too fast in its first race
        self.noise, self.wall, self.races, self.fails_after = 0.001, 1.0, list[list[Any]](), 1000

    def seconds(self, choice: tuple[int, ...]) -> float:
        return self.bonus * (sum(map(bool, choice)) == 2) + sum(
            1.0 if not option else self.takes[option] for option in choice
        )

    def race(self, runners: Any, *_: Any, **__: Any) -> list[np.ndarray]:
        if len(self.races) >= self.fails_after:
            raise KeyboardInterrupt
        self.races.append([runner.choice for runner in runners])
        rng = np.random.default_rng(len(self.races))
        rounds = [
            self.seconds(r.choice) * luck * r.times * (1 + self.noise * (rng.normal(size=7) + (i == 1)))
            for i, r in enumerate(runners)
            for luck in (self.luck.get(r.choice, 1.0),)
        ]
        for runner in runners:
            self.luck.pop(runner.choice, None)
        return [np.stack([self.wall * t, t], axis=1) for t in rounds]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("pathlift.models.tuning.latency.race", machine.race)
    return machine


def tuned(model: Path, data: Any, **options: Any) -> Any:
    return package.tune(model, calib=data, **{"patterns": f"{RANK_2};{MONARCH}", **options})


def becomes(found: dict[str, Any]) -> list[str]:
    """`-` for a layer that stays, 2 for rank 2, m for Monarch."""
    shown = {None: "-", ((1, 16, 2, 1), (1, 2, 16, 1)): "2", ((1, 4, 4, 4), (4, 4, 4, 1)): "m"}
    return [shown[row["patterns"] and tuple(map(tuple, row["patterns"]))] for row in found["best"]["choice"]]


@pytest.mark.parametrize(("limit", "expected"), [(0.004, "--2"), (0.05, "-22"), (2.0, "222")])
def test_layers_are_replaced_as_far_as_the_limit_allows(
    model: Path, data: Path, machine: Machine, limit: float, expected: str, tmp_path: Path
) -> None:
    result = tuned(model, data, max_error=limit, output=tmp_path / "k.onnx")
    found = result.to_json()
    assert result.exit_code == 0
    assert "".join(becomes(found)) == expected
    assert found["best"]["error"] <= limit
    assert found["best"]["latency_ratio"] == pytest.approx(1 - 0.5 / 3 * expected.count("2"), abs=0.005)
    low, high = found["best"]["ci"]
    assert low <= found["best"]["latency_ratio"] <= high < 1
    assert found["best"]["predicted_ratio"] == pytest.approx(found["best"]["latency_ratio"], abs=0.005)


def test_the_file_is_what_was_verified(model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    """Its error on the samples that were held out, by ONNX Runtime, is the one that is told."""
    found = tuned(model, data, max_error=0.05, output=tmp_path / "k.onnx").to_json()
    x = np.load(data)["x"]
    held = np.sort(np.random.default_rng(0).permutation(80)[:20])
    y, z = (package.Session(path).run({"x": x[held]})["c"].astype(float) for path in (model, tmp_path / "k.onnx"))
    assert found["best"]["error"] == pytest.approx(np.linalg.norm(y - z) / np.linalg.norm(y), rel=1e-4)
    assert sum(load(tmp_path / "k.onnx")[key].op == "KSLinear" for key in load(tmp_path / "k.onnx").order) == 4
    assert next(batches(load(model), {"x": x}))["x"].shape == (64, SIZE)


def test_a_choice_that_is_not_faster_is_not_written(model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    machine.takes = {1: 1.01, 2: 1.2}
    result = tuned(model, data, max_error=1.0, output=tmp_path / "k.onnx")
    assert result.exit_code == 1
    assert not (tmp_path / "k.onnx").exists()
    assert result.to_json()["output"] is None


def test_faster_within_the_interval_is_not_faster(model: Path, data: Path, machine: Machine) -> None:
    machine.takes, machine.noise = {1: 0.999, 2: 1.2}, 0.02
    result = tuned(model, data, max_error=1.0)
    assert result.exit_code == 1
    assert "which is not better than the dense file for sure: it is not written" in text(result.to_json())


def test_a_lucky_race_does_not_win(model: Path, data: Path, machine: Machine) -> None:
    """The best and the baselines race once more, and are told as they were then."""
    machine.luck[0, 1, 1] = 0.6
    found = tuned(model, data, max_error=2.0).to_json()
    assert "".join(becomes(found)) == "222"
    assert found["best"]["latency_ratio"] == found["baselines"]["uniform"]["latency_ratio"]
    assert min(row["ratio"] for row in found["tried"] if row["ratio"]) < 0.45
    assert {(0, 0, 0), (0, 1, 1), (1, 1, 1)} <= set(machine.races[-1])


def test_nothing_is_within_the_limit(model: Path, data: Path, machine: Machine) -> None:
    result = tuned(model, data, max_error=1e-9)
    found = result.to_json()
    assert (result.exit_code, found["best"], found["search"]["evaluations"]) == (1, None, 0)


def test_the_slow_product_stays_out(model: Path, data: Path, machine: Machine) -> None:
    machine.takes = {1: 1.3, 2: 0.9}
    assert "2" not in becomes(tuned(model, data, max_error=5.0).to_json())


def test_a_noisy_machine(pathlift: Cli, model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    machine.noise, machine.wall = 0.2, 1.5
    outcome = pathlift(
        "tune", str(model), "--calib", str(data), "--patterns", RANK_2, "--max-error", "1", "-o", str(tmp_path / "k"),
        "--format", "json",
    )  # fmt: skip
    assert outcome.code == 5
    found = json.loads(outcome.out)["result"]
    assert found["noise"]["repeat_std"] > 0.05
    assert found["noise"]["wall_over_cpu"] == pytest.approx(1.5)
    assert "too noisy" in outcome.err
    assert "busy: wall time is 1.50 times" in outcome.err
    assert not (tmp_path / "k").exists()


def test_time_ends_before_a_verification(model: Path, data: Path, machine: Machine) -> None:
    result = tuned(model, data, budget=1e-9)
    assert (result.exit_code, result.to_json()["best"]) == (5, None)
    assert "the time ended before a choice was verified" in result.warnings[0]


def test_an_interrupted_tuning_goes_on(model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    log, whole = tmp_path / "trials.jsonl", Machine()
    whole.races = machine.races
    expected = tuned(model, data, max_error=0.05).to_json()
    count = len(machine.races)
    assert count >= 3
    for done in (0, count - 1):
        machine.races, machine.fails_after = [], done
        with pytest.raises(KeyboardInterrupt):
            tuned(model, data, max_error=0.05, log=log)
        machine.races, machine.fails_after = [], 1000
        with log.open("a") as file:
            file.write('{"choi')  # what was being written
        found = tuned(model, data, max_error=0.05, log=log).to_json()
        assert len(machine.races) == count - done
        assert becomes(found) == becomes(expected)
        machine.races = []
        again = tuned(model, data, max_error=0.05, log=log).to_json()
        assert machine.races == []
        assert again["best"] == found["best"]
        log.unlink()


def test_a_log_goes_on_with_another_limit_and_no_other_model(
    model: Path, data: Path, machine: Machine, tmp_path: Path
) -> None:
    log = tmp_path / "trials.jsonl"
    tuned(model, data, max_error=0.004, log=log)
    machine.races = []
    assert "".join(becomes(tuned(model, data, max_error=0.05, log=log).to_json())) == "-22"
    assert all(any(map(any, race)) for race in machine.races)
    with pytest.raises(UsageError, match="PL1411"):
        tuned(model, data, log=log, patterns=RANK_2)
    with pytest.raises(UsageError, match="PL1411"):
        tuned(model, {"x": np.load(data)["x"][::-1]}, log=log)
    before = log.read_bytes()
    other = tmp_path / "other.onnx"
    rng = np.random.default_rng(5)
    save(parse_graph(TEXT, {n: nearly_of_rank_two(rng, 1.0) for n in ("w0", "w1", "w2")}), other)
    with pytest.raises(UsageError, match="PL1411"):
        tuned(other, data, log=log)
    assert log.read_bytes() == before
    tuned(other, data, log=log, force=True)
    assert log.read_bytes() != before


def test_accuracy_may_fall_by_so_much(model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    """Labels are what the dense file says, so that its accuracy is 1."""
    x = np.load(data)["x"]
    y = package.Session(model).run({"x": x})["c"].argmax(1)
    np.save(tmp_path / "y.npy", y)
    free = tuned(model, {"x": x, "y": y}, max_error=2.0, accuracy="y").to_json()
    assert free["dense"]["accuracy"] == 1
    assert free["best"]["accuracy"] < 1
    kept = tuned(model, data, max_error=2.0, accuracy=tmp_path / "y.npy", max_drop=0.0).to_json()
    assert kept["best"]["accuracy"] == 1
    assert "".join(becomes(kept)) in ("-22", "--2")


@pytest.mark.parametrize("objective", ["bytes", "flops"])
def test_bytes_and_operations_are_exact(model: Path, data: Path, machine: Machine, objective: str) -> None:
    found = tuned(model, data, max_error=0.05, minimize=objective).to_json()
    assert machine.races == []
    assert "".join(becomes(found)) == "-22"
    # 64 numbers stand for 256 in two of three layers
    assert found["best"]["ratio"] == pytest.approx((64 + 64 + 256) / (3 * 256))
    assert found["best"]["ci"] == [found["best"]["ratio"]] * 2
    assert found["search"]["method"] == "exact"  # sums of whole numbers: there is nothing left to model
    assert (found["best"]["latency_ratio"], found["noise"]["repeat_std"]) == (None, None)


def test_a_sketch_stands_for_the_data(model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    """The same choice as with the data; its error is an estimate that is not below what the samples give."""
    sketch = tmp_path / "s.npz"
    package.calibrate(model, data=[str(data)], outputs=True, output=sketch)
    both = tuned(model, data, sketch=sketch, max_error=0.05).to_json()
    result = tuned(model, None, sketch=sketch, max_error=0.05, output=tmp_path / "k.onnx")
    found = result.to_json()
    assert "".join(becomes(both)) == "".join(becomes(found)) == "-22"
    assert found["best"]["error"] == pytest.approx(1.3 * found["best"]["predicted_error"])
    x = np.load(data)["x"]
    y, z = (package.Session(path).run({"x": x})["c"].astype(float) for path in (model, tmp_path / "k.onnx"))
    assert found["best"]["error"] / 1.3 == pytest.approx(np.linalg.norm(y - z) / np.linalg.norm(y), rel=0.5)
    assert "errors are not measured" in result.assumptions[0]
    assert "held-out" not in " ".join(map(str, text(found)))
    package.calibrate(model, data=[str(data)], layers="a", output=sketch, force=True)
    assert "the sketch is not of b, c" in tuned(model, data, sketch=sketch, max_error=0.05).assumptions[0]
    package.calibrate(model, data=[str(data)], output=sketch, force=True)
    with pytest.raises(UsageError, match="PL1548"):
        tuned(model, None, sketch=sketch)
    with pytest.raises(UsageError, match="PL1540"):
        tuned(model, None, sketch=sketch, accuracy="y")


def test_layers_by_name(model: Path, data: Path, machine: Machine) -> None:
    found = tuned(model, data, max_error=5.0, layers="b").to_json()
    assert [row["node"] for row in found["best"]["choice"]] == ["b"]
    assert found["best"]["latency_ratio"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("search", ["random", "exhaustive"])
def test_other_searches(model: Path, data: Path, machine: Machine, search: str) -> None:
    """All nine choices but the dense one are verified."""
    found = tuned(model, data, max_error=5.0, layers="b,c", search=search, verify=3).to_json()
    assert found["search"]["method"] == search
    assert "".join(becomes(found)) == "22"
    assert found["search"]["evaluations"] == 8


def test_where_times_do_not_add_up_a_search_goes_on(model: Path, data: Path, machine: Machine) -> None:
    assert tuned(model, data, max_error=0.05).to_json()["search"]["method"] == "exact"
    machine.bonus = 0.8
    found = tuned(model, data, max_error=0.05).to_json()
    assert found["search"]["method"] == "exact + bayes"
    assert found["additive"]["rms"] > 2 * found["noise"]["repeat_std"]
    assert "".join(becomes(found)).count("2") == 1


def test_the_front_and_the_baselines(model: Path, data: Path, machine: Machine) -> None:
    found = tuned(model, data, max_error=0.05).to_json()
    verified = [p for p in found["front"] if p["verified"]]
    assert all(
        p["latency_ratio"] < q["latency_ratio"] or p["error"] < q["error"] for p in verified for q in verified if p != q
    )
    assert {p["verified"] for p in found["front"]} == {True, False}
    best = found["best"]["latency_ratio"]
    assert found["baselines"]["uniform"]["latency_ratio"] == pytest.approx(5 / 6, abs=0.005)
    assert found["baselines"]["random"]["latency_ratio"] >= best - 0.01
    assert found["additive"]["signatures"] == 2  # two layers are read by an activation


def test_nothing_can_be_replaced(pathlift: Cli, model: Path, data: Path) -> None:
    outcome = pathlift("tune", str(model), "--calib", str(data))
    assert outcome.code == 4
    assert outcome.err.startswith("PL0308 no layer can be replaced: a: no pattern is predicted to be faster; b: ")
    outcome = pathlift("tune", str(model), "--calib", str(data), "--patterns", "(1,3,5,1)(1,5,3,1)")
    assert "c: none of the patterns fits its matrix" in outcome.err


def test_bad_input(pathlift: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    x = np.load(data)["x"]
    np.savez(tmp_path / "one.npz", x=x[:1])
    np.savez(tmp_path / "wrong.npz", x=x[:, :3])
    np.savez(tmp_path / "labels.npz", x=x, y=np.zeros(80), z=np.zeros(79, int))
    (tmp_path / "there.onnx").write_bytes(b"")
    for code, arguments in {
        "PL1540": [],
        "PL0470": ["--calib", "none.npz"],
        "PL0479": ["--calib", str(tmp_path / "wrong.npz")],
        "PL1542": ["--calib", str(tmp_path / "one.npz")],
        "PL1543": ["--calib", str(data), "--accuracy", "y"],
        "PL1545": ["--calib", str(data), "--max-drop", "0.1"],
        "PL1546": ["--calib", str(data), "--device", "tpu"],
        "PL1541": ["--calib", str(data), "--max-error", "1e200"],
        "PL0464": ["--calib", str(data), "--layers", "nothing"],
        "PL0460": ["--calib", str(data), "--patterns", "(1,2)"],
        "PL0703": ["--calib", str(data), "-o", str(tmp_path / "there.onnx")],
        "PL1413": ["--calib", str(data), "--log", str(data)],
        "PL0446": ["--calib", str(data), "--chart", "front.txt"],
    }.items():
        outcome = pathlift("tune", str(model), *arguments)
        assert (outcome.code, outcome.err[:6]) == (2, code)
    labels = tmp_path / "y.npy"
    np.save(labels, np.zeros(80, int))
    for code, options in {
        "PL1545": {"max_drop": np.inf},
        "PL1541": {"max_error": 0},
        "PL1413": {"log": labels},
    }.items():
        with pytest.raises(UsageError, match=code):
            tuned(model, data, accuracy=str(labels), force=True, **options)
    assert len(np.load(labels)) == 80
    for array in ("y", "z"):
        with pytest.raises(UsageError, match="PL1543"):
            tuned(model, {"x": x, array: np.load(tmp_path / "labels.npz")[array]}, accuracy=array)


def test_accuracy_is_of_scores(tmp_path: Path, data: Path, machine: Machine) -> None:
    text = TEXT.replace("return %c", "%d = Reshape(%c) {shape=[1, -1, 16]}\n    return %d")
    rng = np.random.default_rng(0)
    save(parse_graph(text, {n: nearly_of_rank_two(rng, 1.0) for n in ("w0", "w1", "w2")}), tmp_path / "m.onnx")
    with pytest.raises(PathliftError, match="PL0309"):
        tuned(tmp_path / "m.onnx", {"x": np.load(data)["x"], "y": np.zeros(80, int)}, accuracy="y")


def test_a_chart(pathlift: Cli, model: Path, data: Path, machine: Machine, tmp_path: Path) -> None:
    outcome = pathlift(
        "tune", str(model), "--calib", str(data), "--patterns", f"{RANK_2};{MONARCH}", "--max-error", "0.05",
        "--chart", str(tmp_path / "front.svg"), "-o", str(tmp_path / "k.onnx"),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "front.svg").read_text().count("<path") > 10
    assert f"wrote {tmp_path / 'front.svg'}" in outcome.out
    assert "outputs off by" in outcome.out


@pytest.mark.slow
def test_real_times(model: Path, data: Path) -> None:
    """Whatever the machine says, the result is consistent; a file of 16 numbers a row is hardly ever faster."""
    result = tuned(model, data, max_error=0.05, budget=3.0)
    found = result.to_json()
    assert result.exit_code in (0, 1, 5)
    assert found["dense"]["latency_ms"] > 0
    assert (result.exit_code == 0) == (found["best"]["ci"][1] < 1 and found["noise"]["repeat_std"] <= 0.05)
