"""``pathlift prune``: its JSON, its text, what it proves, the files it writes and those it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as api
from pathlift.frontend.load import load
from pathlift.passes.path_norm.path_norm import PathNorm

Cli = Callable[..., Any]


def result(cli: Cli, *arguments: str) -> dict[str, Any]:
    outcome = cli("prune", *arguments, "--format", "json")
    assert outcome.code == 0, outcome.err
    payload: dict[str, Any] = json.loads(outcome.out)["result"]
    return payload


def test_a_file_is_pruned_and_says_so(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    output, masks = tmp_path / "p.onnx", tmp_path / "m.npz"
    told = result(pathlift, str(digits), "--sparsity", "0.8", "-o", str(output), "--save-masks", str(masks))
    assert (told["criterion"], told["sparsity_requested"], told["sparsity"]) == ("path", 0.8, 12173 / 15216)
    assert [(x["node"], x["total"]) for x in told["layers"]] == [
        ("stem", 144), ("body", 2304), ("hidden", 12288), ("classes", 480)
    ]  # fmt: skip
    assert sum(x["zeroed"] for x in told["layers"]) == told["zeroed"] == 12173
    assert (told["output"], told["masks"]) == (str(output), str(masks))
    saved = load(output)
    with np.load(masks) as kept:
        for layer in told["layers"]:
            values = saved[layer["parameter"]].value.numpy()  # type: ignore[union-attr]  # a parameter has a value
            assert ((values == 0) == ~kept[layer["parameter"]]).all()
    metadata = json.loads(saved.info.metadata["pathlift.prune"])
    assert metadata["certificate"] == told["certificate"]
    assert (metadata["criterion"], metadata["sparsity"]) == ("path", told["sparsity"])
    image = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    ran = api.Session(output)(image)
    assert np.isfinite(ran).all()
    again = result(pathlift, str(digits), "--masks", str(masks))
    assert (again["criterion"], again["layers"]) == ("masks", told["layers"])


def test_the_cost_is_the_norm_that_is_lost(pathlift: Cli, digits: Path) -> None:
    found = api.prune(digits, sparsity=0.3)
    before, after = (PathNorm().run(graph).norms[0].value for graph in (load(digits), found.graph))
    assert before is not None
    assert after is not None
    metric = found.to_json()["certificate"]["path_metric"]
    assert metric["is_path_metric"]
    assert metric["l1"]["value"] == pytest.approx(before - after, rel=1e-9)
    assert metric["relative"] == pytest.approx(1 - after / before, rel=1e-9)


def test_a_bound_on_a_domain(pathlift: Cli, digits: Path) -> None:
    told = result(pathlift, str(digits), "--sparsity", "0.2", "--domain", "image=0:1", "--budget", "0.5")
    domain = told["certificate"]["domain"]
    assert 0 < domain["sampled_max_l1"] <= domain["l1"] < told["certificate"]["path_metric"]["l1"]["value"]
    assert domain["inputs"] == {"image": {"low": 0.0, "high": 1.0}}


def test_the_text(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("prune", str(digits), "--pattern", "2:4")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["layer", "weights", "zero", "share"]
    assert lines[1].split()[:4] == ["body", "2,304", "1,152", "50.0"]
    assert "stem stays as it is: its 1 inputs are no multiple of 4" in lines
    assert "7,536 of 15,072 weights are zero (50 %), by path" in lines
    assert any(line.startswith("‖Φ(θ) − Φ(θ')‖₁ = ") for line in lines)


def test_what_outputs_differ_by_has_its_domain(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("prune", str(digits), "--sparsity", "0.2", "--domain", "image=0:1", "--budget", "0.3")
    lines = outcome.out.splitlines()
    (unit,) = (line for line in lines if line.startswith("outputs differ by at most "))
    assert unit.endswith(" in sum where ‖x‖∞ ≤ 1")
    (own,) = (line for line in lines if line.startswith("with image in [0, 1], they differ by at most "))
    told = result(pathlift, str(digits), "--sparsity", "0.2")["certificate"]["path_metric"]["l1"]
    assert told["upper"] <= float(unit.split()[5]) <= told["upper"] * 1.001
    assert float(own.split()[10]) < float(unit.split()[5])


def test_what_says_nothing_new_is_left_out(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("prune", str(digits), "--sparsity", "0")
    assert "gain no time" not in outcome.out
    assert "sparse initializers" not in outcome.out


def test_biases_have_no_channels(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("prune", str(digits), "--sparsity", "0.9", "--biases", "--criterion", "magnitude")
    assert outcome.code == 0, outcome.err
    assert " → " in outcome.out
    assert sum(line.startswith("hidden ") for line in outcome.out.splitlines()) == 2


def test_a_kronecker_sparse_file(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "k.onnx"
    told = result(pathlift, str(digits), "--pattern", "ks:4", "--include", "hidden", "-o", str(output))
    assert told["sparsity"] == 0.75
    found = pathlift("ks", "detect", str(output), "--format", "json")
    (layer,) = json.loads(found.out)["result"]["layers"]
    assert (layer["node"], layer["density"]) == ("hidden", 0.25)


def test_a_layer_of_which_nothing_is_left_is_told(digits: Path) -> None:
    found = api.prune(digits, sparsity=0.99, criterion="magnitude", schedule=(0.5, 0.99), include="stem,hidden")
    assert [w for w in found.warnings if "nothing is left" in w] == [
        f"nothing is left of '{x.node}' ({x.parameter})" for x in found.pruned.layers if x.zeroed == x.total
    ]


def test_nothing_is_proved_where_path_metrics_do_not_reach(tmp_path: Path) -> None:
    from pathlift.ir.builder import Builder

    b = Builder()
    x = b.op("Gemm", b.input("x", ("N", 4)), b.param(np.eye(4, dtype=np.float32) + 1, "w"))
    y = b.op("Gemm", b.op("Softmax", x, axis=-1), b.param(np.eye(4, dtype=np.float32) + 1, "v"))
    found = api.prune(b.finish(y), sparsity=0.5)
    told = found.to_json()["certificate"]
    assert told["path_metric"] is None
    assert "Softmax" in told["refused"]
    assert any("supported region" in line for line in found.assumptions)


def test_a_refit_is_told_and_kept(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    data = {"image": np.random.default_rng(0).random((40, 1, 8, 8), np.float32), "y": np.arange(40) % 10}
    np.savez(tmp_path / "d.npz", **data)
    calib = ("--calib", str(tmp_path / "d.npz"), "--sparsity", "0.6")
    for criterion in ("wanda", "taylor"):
        told = result(pathlift, str(digits), *calib, "--criterion", criterion, "--compensate")
        assert all(x["after"] < x["before"] for x in told["compensation"])
        assert told["certificate"]["path_metric"]["case"] == "theta-and"
        assert told["sparsity"] == pytest.approx(0.6, abs=0.01)
    assert "refitted" in pathlift("prune", str(digits), *calib, "--compensate").out


@pytest.mark.parametrize(
    ("arrays", "code"),
    [({"image": np.full((2, 1, 8, 8), np.nan, np.float32)}, "PL0479"),
     ({"image": np.zeros((2, 1, 8, 8), np.float32), "y": np.zeros(3, int)}, "PL1482"),
     ({"image": np.zeros((2, 1, 8, 8), np.float32), "y": np.array([0, 99])}, "PL1482")],
)  # fmt: skip
def test_data_that_does_not_fit(pathlift: Cli, digits: Path, tmp_path: Path, arrays: dict[str, Any], code: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    options = ("--calib", str(tmp_path / "d.npz"), "--criterion", "taylor", "-o", str(tmp_path / "p.onnx"))
    outcome = pathlift("prune", str(digits), "--sparsity", "0.5", *options)
    assert (outcome.code, outcome.err[:6]) == (2, code)
    assert not (tmp_path / "p.onnx").exists()


def test_sparse_files_and_their_sizes(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, options in (("dense", ()), ("sparse", ("--sparse",))):
        file = tmp_path / f"{name}.onnx"
        told = result(pathlift, str(digits), "--sparsity", "0.9", "-o", str(file), *options)
        assert told["file_bytes"] == file.stat().st_size
        assert told["sparse"] == bool(options)
        sizes[name] = told["file_bytes"]
    assert sizes["dense"] - sizes["sparse"] == pytest.approx(told["bytes"]["dense"] - told["bytes"]["sparse"], abs=500)
    assert "gain no time" in pathlift("prune", str(digits), "--sparsity", "0.9").out


REFUSED = [
    (["--sparsity", "0.5", "--compensate"], "PL1407"),
    (["--sparsity", "0.5", "--criterion", "wanda"], "PL1407"),
    ([], "PL1409"),
    (["--sparsity", "1"], "PL1409"),
    (["--sparsity", "0.5", "--pattern", "2:4"], "PL1404"),
    (["--sparsity", "0.5", "--criterion", "size"], "PL1408"),
    (["--sparsity", "0.5", "--include", "nope"], "PL1403"),
    (["--masks", "none.npz"], "PL0470"),
]


@pytest.mark.parametrize(("arguments", "code"), REFUSED)
def test_what_is_refused_writes_nothing(
    pathlift: Cli, digits: Path, tmp_path: Path, arguments: list[str], code: str
) -> None:
    outcome = pathlift("prune", str(digits), *arguments, "-o", str(tmp_path / "p.onnx"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(code)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [("-o", "p.onnx", "--save-masks", "./p.onnx"), ("--save-masks", "m.onnx"), ("--save-masks", "d.npz"),
     ("-o", "d.npz")],
)  # fmt: skip
def test_nothing_is_written_twice_or_over_what_is_read(
    pathlift: Cli, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(digits.read_bytes())
    np.savez("d.npz", image=np.zeros((2, 1, 8, 8), np.float32))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = pathlift("prune", "m.onnx", "--sparsity", "0.5", "--calib", "d.npz", "--force", *options)
    assert (outcome.code, outcome.err[:6]) == (2, "PL1413")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_that_exist_stay(pathlift: Cli, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_text("mine")
    masks = tmp_path / "m.npz"
    outcome = pathlift(
        "prune", str(digits), "--sparsity", "0.5", "-o", str(tmp_path / "p.onnx"), "--save-masks", str(masks)
    )
    assert outcome.code == 2
    assert (tmp_path / "p.onnx").read_text() == "mine"
    assert not masks.exists()
