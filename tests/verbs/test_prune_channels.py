"""``pathlift prune --channels``, and channels that zeros cut off: smaller files that compute what masked ones do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as api
from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Param
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.channel_scores import path_costs
from pathlift.passes.pruning.channel_selection import select_channels
from pathlift.report.pruning import PruneResult
from pathlift.testing.assertions import assert_equivalent
from pathlift.testing.removal import masked

Cli = Callable[..., Any]
WINDOW = {"strides": (1, 1), "dilations": (1, 1)}


def residual(width: int = 4, inner: int = 6) -> Graph:
    """A stream of some channels with two blocks on it, whose path counts and sums of shares disagree."""
    b, rng = Builder(), np.random.default_rng(3)

    def conv(x: str, name: str, *shape: int) -> str:
        w = b.param(rng.standard_normal(shape).astype(np.float32), f"{name}.w")
        bias = b.param(rng.standard_normal(shape[0]).astype(np.float32), f"{name}.b")
        return b.op("Conv", x, w, bias, name=name, pads=(0, 0, 0, 0), groups=1, **WINDOW).node

    b.input("x", ("N", 2, 3, 3))
    h = b.op("Relu", conv("x", "stem", width, 2, 1, 1))
    for i in range(2):
        up = b.op("Relu", conv(h.node, f"up{i}", inner, width, 1, 1))
        h = b.op("Add", conv(up.node, f"down{i}", width, inner, 1, 1), h)
    pooled = b.op("ReduceMean", h, axes=(2, 3), keepdims=False)
    head = b.param(rng.standard_normal((width, 3)).astype(np.float32), "head.w")
    return b.finish(b.op("Gemm", pooled, head, name="head"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(residual(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def weight(graph: Graph, name: str) -> Param:
    param = graph[name].value
    assert param is not None
    return param


def pruned(model: Any, **options: Any) -> PruneResult:
    result = api.prune(model, **options)
    assert isinstance(result, PruneResult)
    return result


def told(cli: Cli, *arguments: object) -> dict[str, Any]:
    outcome = cli("prune", *map(str, arguments), "--format", "json")
    assert outcome.code == 0, outcome.err
    payload: dict[str, Any] = json.loads(outcome.out)["result"]
    return payload


def test_the_file_is_smaller_and_computes_what_the_masked_network_does(
    pathlift: Cli, model: Path, tmp_path: Path
) -> None:
    output, kept = tmp_path / "p.onnx", tmp_path / "k.npz"
    found = told(pathlift, model, "--sparsity", 0.5, "--channels", "-o", output, "--save-masks", kept)
    before, after = load(model), load(output)
    with np.load(kept) as masks:
        zeros = masked(before, masks)
    assert_equivalent(zeros, after)
    for layer in found["layers"]:
        values = [weight(graph, layer["parameter"]) for graph in (before, after)]
        axis = 1 if layer["node"] == "head" else 0
        assert [v.shape[axis] for v in values] == list(layer["channels"].values())
    weights = [sum(weight(graph, x["parameter"]).size for x in found["layers"]) for graph in (before, after)]
    assert found["zeroed"] == weights[0] - weights[1] >= weights[0] / 2
    change = found["channels"]
    assert change["target"] == "weights"
    assert change["bytes"]["after"] == found["bytes"]["dense"] < change["bytes"]["before"]
    # 9 positions of all layers but the last
    heads = [weight(graph, "head.w").size for graph in (before, after)]
    operations = [2 * (9 * (w - head) + head) for w, head in zip(weights, heads, strict=True)]
    assert list(change["flops"].values()) == operations
    norms = [PathNorm().run(graph).norms[0].value or 0.0 for graph in (before, zeros)]
    assert found["certificate"]["path_metric"]["l1"]["value"] == pytest.approx(norms[0] - norms[1], rel=1e-9)
    metadata = json.loads(after.info.metadata["pathlift.prune"])
    assert metadata["channels"] == change


def test_what_is_proved_on_a_domain_is_of_the_masked_network(pathlift: Cli, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.onnx"
    found = told(
        pathlift, model, "--sparsity", 0.3, "--channels", "-o", output, "--domain", "x=0:1", "--budget", 0.2
    )  # fmt: skip
    x = np.random.default_rng(0).random((50, 2, 3, 3), np.float32)
    far = np.abs(api.Session(model)(x) - api.Session(output)(x)).sum(1).max()
    assert far <= found["certificate"]["domain"]["l1"]
    assert found["certificate"]["domain"]["method"] != "interval"  # of two networks of one structure
    outcome = pathlift("prune", str(model), "--sparsity", "0.3", "--channels")
    assert "the smaller network computes the same" in outcome.out
    assert "gain no time" not in outcome.out


def test_targets_and_multiples(pathlift: Cli, model: Path) -> None:
    found = told(pathlift, model, "--sparsity", 0.3, "--channels", "--target", "flops", "--criterion", "magnitude")
    flops = found["channels"]["flops"]
    assert flops["after"] <= 0.7 * flops["before"]
    assert found["channels"]["target"] == "flops"
    found = told(pathlift, model, "--sparsity", 0.2, "--channels", "--multiple", 2)
    assert {x["channels"]["after"] % 2 for x in found["layers"] if x["node"] != "head"} == {0}
    assert found["channels"]["bytes"]["after"] < found["channels"]["bytes"]["before"]


def test_layers_keep_a_share_of_their_channels(pathlift: Cli, model: Path) -> None:
    asked = (model, "--sparsity", 0.35, "--channels", "--criterion", "random")
    shares = [
        min(x["channels"]["after"] / x["channels"]["before"] for x in told(pathlift, *asked, *floor)["layers"])
        for floor in ((), ("--least", 0.7))
    ]
    assert shares[0] < 0.7 <= shares[1]


def test_exact_costs_rank_channels_and_fast_ones_sums(model: Path) -> None:
    groups, found = channel_groups(load(model)), []
    for fast in (False, True):
        gone = select_channels(groups, path_costs(groups, fast=fast), 0.35)
        done = pruned(model, sparsity=0.35, channels=True, fast=fast)
        masks = {name: mask for name, mask in done.pruned.masks.items() if not mask.all()}
        assert masks.keys() == groups.masks(gone).keys()
        assert all(np.array_equal(masks[name], mask) for name, mask in groups.masks(gone).items())
        found.append(gone)
    assert not np.array_equal(found[0], found[1])


def test_layers_that_are_left_out_keep_their_shapes(pathlift: Cli, model: Path) -> None:
    found = told(pathlift, model, "--sparsity", 0.3, "--channels", "--exclude", "up0")
    assert "up0.w" not in {x["parameter"] for x in found["layers"]}
    done = pruned(model, sparsity=0.3, channels=True, exclude="up0")
    assert weight(done.graph, "up0.w").shape == (6, 4, 1, 1)
    assert weight(done.graph, "up1.w").shape < (6, 4, 1, 1)


def gated() -> Graph:
    """Two layers with a softmax between, which path-norms do not cover."""
    b, rng = Builder(), np.random.default_rng(0)

    def gemm(x: Any, name: str, *shape: int) -> Any:
        return b.op("Gemm", x, b.param(rng.standard_normal(shape).astype(np.float32), name), name=f"{name}.gemm")

    h = gemm(b.op("Relu", gemm(b.input("x", ("N", 4)), "a", 4, 6)), "b", 6, 5)
    return b.finish(gemm(b.op("Relu", gemm(b.op("Softmax", h, axis=-1), "c", 5, 6)), "d", 6, 2))


def test_regions_stand_in_where_the_network_is_not_covered() -> None:
    done = pruned(gated(), sparsity=0.3, channels=True)
    assert any("the sum of their weights' shares" in line and "Softmax" in line for line in done.assumptions)
    assert "Softmax" in done.certificate.refused
    assert_equivalent(done.masked, done.graph)
    assert done.sizes.fewer


def test_a_refit_is_of_the_channels_that_stay(pathlift: Cli, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((30, 2, 3, 3), np.float32))
    for criterion in ("path", "wanda"):
        done = pruned(
            model, sparsity=0.4, channels=True, criterion=criterion, calib=tmp_path / "d.npz", compensate=True
        )
        assert_equivalent(done.masked, done.graph, rtol=1e-6)
        assert weight(done.graph, "down0.w").size < 24
        assert done.refit is not None
        assert any(layer.after is not None and layer.before is not None and layer.after < layer.before
                   for layer in done.refit.layers.values())  # fmt: skip


def test_a_sweep_of_channels(pathlift: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlift.models.sweep._ROUNDS", 3)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", x=rng.random((6, 2, 3, 3), np.float32), y=np.arange(6) % 3)
    found = told(pathlift, model, "--channels", "--data", tmp_path / "v.npz", "--sweep", "0.2:0.5:2")
    dense, (some, more) = found["dense"], found["points"]
    assert dense["flops"] > some["flops"] > more["flops"]
    assert dense["file_bytes"] > some["file_bytes"] > more["file_bytes"]
    assert 0.2 <= some["sparsity"] < 0.5 <= more["sparsity"]


# ---- channels that zeros cut off


def test_channels_that_zeros_cut_off_are_gone_unless_they_are_to_stay(
    pathlift: Cli, model: Path, tmp_path: Path
) -> None:
    done = told(pathlift, model, "--sparsity", 0.8, "-o", tmp_path / "p.onnx", "--save-masks", tmp_path / "k.npz")
    kept = told(pathlift, model, "--sparsity", 0.8, "--keep-dead", "-o", tmp_path / "kept.onnx")
    assert kept["channels"] is None
    assert done["channels"]["target"] is None
    assert done["channels"]["bytes"]["after"] < kept["bytes"]["dense"]
    assert done["certificate"] == kept["certificate"]
    assert_equivalent(load(tmp_path / "p.onnx"), load(tmp_path / "kept.onnx"))
    again = told(pathlift, model, "--masks", tmp_path / "k.npz")
    assert again["channels"] == done["channels"]
    assert "(--keep-dead)" in pathlift("prune", str(model), "--sparsity", "0.8").out
    assert "--channels gives smaller tensors" in pathlift("prune", str(model), "--sparsity", "0.8").out


def test_patterns_and_blocks_keep_their_places(model: Path) -> None:
    for structure in ({"pattern": "1:4"}, {"block": "2x2", "sparsity": 0.8}):
        done = pruned(model, **structure)
        assert done.graph is done.masked
        assert not done.sizes.fewer


REFUSED = [
    (["--sparsity", "0.95"], "PL1495"),  # every layer keeps a channel
    (["--sparsity", "0.5", "--include", "up0"], "PL1495"),
    (["--sparsity", "0.5", "--multiple", "0"], "PL1497"),
    (["--sparsity", "0.5", "--least", "1.5"], "PL1497"),
    (["--sparsity", "0.5", "--least", "0.9"], "PL1495"),
    (["--sparsity", "0.5", "--target", "time"], "PL1404"),
    (["--sparsity", "0.5", "--schedule", "0.2,0.5"], "PL1404"),
    (["--sparsity", "0.5", "--scope", "row"], "PL1404"),
    (["--sparsity", "0.5", "--keep-dead"], "PL1404"),
    (["--masks", "m.npz"], "PL1404"),
    (["--sparsity", "0.5", "--criterion", "size"], "PL1408"),
    ([], "PL1409"),
]


@pytest.mark.parametrize(("arguments", "code"), REFUSED)
def test_what_is_refused_writes_nothing(
    pathlift: Cli, model: Path, tmp_path: Path, arguments: list[str], code: str
) -> None:
    outcome = pathlift("prune", str(model), "--channels", *arguments, "-o", str(tmp_path / "p.onnx"))
    assert (outcome.code, outcome.err[:6]) == (2, code)
    assert not (tmp_path / "p.onnx").exists()


def test_a_layer_of_one_channel_keeps_it(pathlift: Cli, tmp_path: Path) -> None:
    save(residual(width=2, inner=1), tmp_path / "thin.onnx")
    outcome = pathlift("prune", str(tmp_path / "thin.onnx"), "--channels", "--sparsity", "0.9")
    assert (outcome.code, outcome.err[:6]) == (2, "PL1495")
    assert "every axis keeps a channel" in outcome.err


@pytest.mark.parametrize("option", [("--target", "flops"), ("--multiple", "8"), ("--least", "0.1"), ("--fast",)])
def test_options_of_channels_need_channels(pathlift: Cli, model: Path, option: tuple[str, ...]) -> None:
    outcome = pathlift("prune", str(model), "--sparsity", "0.5", *option)
    assert (outcome.code, outcome.err[:6]) == (2, "PL1404")
