"""``pathlift ks fit``: budgets, refusals, data, and what ONNX Runtime makes of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pathlift
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern, product
from pathlift.ir.types import Array, Param
from pathlift.passes.kronecker.ks_fit import ApproximateLayers
from pathlift.passes.layers.dense import dense_layers
from pathlift.passes.sketches.moments import second_moments

PAIR = [Pattern(1, 32, 8, 8), Pattern(4, 16, 64, 1)]  # 256×256
TEXT = "(1,32,8,8)(4,16,64,1)"
RNG = np.random.default_rng(0)


def factors(rng: np.random.Generator = RNG) -> list[Array]:
    return [rng.standard_normal(p.shape) / p.c**0.5 for p in PAIR]


def network(noise: float = 0.0) -> Graph:
    """Two Gemms, one 1×1 convolution, one 3×3; their matrices are products of factors, plus noise."""
    rng, b = np.random.default_rng(1), Builder()

    def matrix() -> Array:
        w = product(factors(rng))
        return (w + noise * rng.standard_normal(w.shape)).astype(np.float32)

    flat: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    x = b.input("x", ("N", 256, 2, 2))
    w = b.param(matrix().reshape(256, 256, 1, 1), "mix.weight")
    h = b.op("Conv", x, w, b.param(np.ones(256, np.float32), "mix.bias"), name="mixed", **flat)
    look = b.param(np.full((256, 256, 3, 3), 1e-3, np.float32), "look.weight")
    h = b.op("Conv", h, look, strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1))
    h = b.op("Relu", b.op("ReduceMean", h, axes=(2, 3), keepdims=False))
    h = b.op(
        "Gelu",
        b.op("Gemm", h, b.param(matrix(), "fc1.weight"), b.param(np.ones(256, np.float32), "fc1.bias"), trans_w=True),
    )
    return b.finish(b.op("Gemm", h, b.param(np.ascontiguousarray(matrix().T), "fc2.weight"), name="y"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ks") / "m.onnx"
    pathlift.save(network(), path)
    return str(path)


@pytest.mark.parametrize("text", [TEXT, "(4,16,64,1)(1,32,8,8)", "(1,32,8,8) · (4,16,64,1)"])
def test_exact_products_are_found_in_either_order(model: str, text: str, tmp_path: Path) -> None:
    found = pathlift.ks_fit(model, layers="fc*, mix", patterns=text, output=tmp_path / "k.onnx")
    layers = found.to_json()["layers"]
    assert [layer["patterns"] for layer in layers] == [[list(p) for p in PAIR]] * 3
    assert all(layer["error"] < 1e-6 and layer["operator_error"] < 1e-6 for layer in layers)
    assert found.output_errors["y"] < 1e-6
    x = np.random.default_rng(0).standard_normal((3, 256, 2, 2), dtype=np.float32)
    before, after = pathlift.Session(model)(x), pathlift.Session(tmp_path / "k.onnx")(x)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    nodes = [node for node in onnx.load(tmp_path / "k.onnx").graph.node if node.domain == "pathlift"]
    assert {node.op_type for node in nodes} == {"KSLinear"}
    assert len(nodes) == 6


def test_features_first(model: str, tmp_path: Path) -> None:
    found = pathlift.ks_fit(model, layers="fc*", patterns=TEXT, feature_major=True, output=tmp_path / "k.onnx")
    ops = [found.graph[key].op for key in found.graph.order]
    assert ops.count("KSLinear") == 4
    assert ops.count("Transpose") == 2
    x = np.random.default_rng(0).standard_normal((3, 256, 2, 2), dtype=np.float32)
    before, after = pathlift.Session(model)(x), pathlift.Session(tmp_path / "k.onnx")(x)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())


@pytest.fixture
def cli(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The command line; its own name is the package's here."""
    found: Callable[..., Any] = request.getfixturevalue("pathlift")
    return found


def test_budgets_and_reasons(model: str, cli: Callable[..., Any]) -> None:
    def layers(*arguments: str) -> list[dict[str, Any]]:
        outcome = cli("ks", "fit", model, "--format", "json", *arguments)
        assert outcome.code == 0
        return json.loads(outcome.out)["result"]["layers"]  # type: ignore[no-any-return]  # json says Any

    (kept,) = layers("--layers", "fc1", "--patterns", TEXT, "--budget", "flops=0.05")
    assert "operations" in kept["reason"]
    (kept,) = layers("--layers", "fc1", "--patterns", "(4,64,64,1)", "--budget", "error=0.3")
    assert "error" in kept["reason"]
    assert kept["error"] > 0.3
    (done,) = layers("--layers", "fc1", "--budget", "error=0.3")
    assert done["replaced"] == (done["error"] <= 0.3 and done["predicted_speedup"] > 1)
    (done,) = layers("--layers", "fc1", "--budget", "flops=0.4,error=1")
    assert done["flops_ratio"] <= 0.4
    assert done["error"] <= done["bound"] + 1e-6
    assert done["predicted_speedup"] > 1


def test_layers_too_small_to_win_stay_dense(digits: Path) -> None:
    found = pathlift.ks_fit(digits, budget="error=1", samples=1)
    assert not found.to_json()["replaced"]
    assert all(layer.reason for layer in found.approximation.layers.values())


def test_what_cannot_be_replaced_is_said(model: str) -> None:
    found = pathlift.ks_fit(model, layers="look*,fc1", patterns=TEXT)
    assert "larger than 1×1" in str(found.approximation.skipped)
    again = pathlift.ks_fit(found.graph, layers="fc1*", patterns=TEXT)
    assert "already" in str(again.approximation.skipped)


def test_the_same_seed_gives_the_same_factors(model: str) -> None:
    a, b = (
        pathlift.ks_fit(model, layers="fc1", patterns="(2,16,8,8)(2,64,128,1)", solver="als", seed=3) for _ in range(2)
    )
    weights = [{k: g.graph[k].value.numpy().tobytes() for k in g.graph.params} for g in (a, b)]  # type: ignore[union-attr]  # a parameter has a value
    assert weights[0] == weights[1]


def correlated(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(9).standard_normal((256, 16))
    return (rng.standard_normal((count, 16)) @ mix.T + 0.1 * rng.standard_normal((count, 256))).astype(np.float32)


def test_data_makes_the_outputs_better(tmp_path: Path) -> None:
    rng, b = np.random.default_rng(0), Builder()
    graph = b.finish(
        b.op(
            "Gemm", b.input("x", ("N", 256)), b.param(rng.standard_normal((256, 256)).astype(np.float32), "w"), name="y"
        )
    )
    np.savez(tmp_path / "data.npz", x=correlated(500, 1))
    plain, fitted = (pathlift.ks_fit(graph, patterns=TEXT, calib=c) for c in (None, tmp_path / "data.npz"))
    x = correlated(200, 2)
    expected = pathlift.Session(graph)(x)
    errors = [
        np.linalg.norm(pathlift.Session(f.graph)(x) - expected) / np.linalg.norm(expected) for f in (plain, fitted)
    ]
    assert errors[1] < 0.7 * errors[0]
    (layer,) = fitted.approximation.layers.values()
    assert layer.weighted_error == pytest.approx(errors[1], rel=0.2)
    assert fitted.data == "calibration"
    assert fitted.output_errors["y"] == pytest.approx(layer.weighted_error, rel=0.2)


@pytest.mark.parametrize(("batch", "used"), [("N", 1000), (300, 900)])
def test_output_errors_are_of_all_the_data(batch: str | int, used: int) -> None:
    """The data is sorted: the first batches look like none of the others."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1000, 64)).astype(np.float32)
    x[:300] = rng.standard_normal(64)
    b, weight = Builder(), rng.standard_normal((64, 64)).astype(np.float32)
    graph = b.finish(b.op("Gemm", b.input("x", (batch, 64)), b.param(weight, "w"), name="y"))
    fitted = pathlift.ks_fit(graph, patterns="(1,16,16,4)(4,16,16,1)", calib={"x": x})
    (layer,), (dense,) = fitted.approximation.layers.values(), dense_layers(graph, "*")[0]
    kept = x[:used].astype(np.float64) @ dense.weight().T
    approximated = x[:used].astype(np.float64) @ product(layer.factors).astype(np.float64).T
    true = np.linalg.norm(kept - approximated) / np.linalg.norm(kept)
    assert fitted.output_errors["y"] == pytest.approx(true, rel=1e-5)
    assert fitted.samples == used
    assert any("left out" in line for line in fitted.assumptions) == (used < len(x))


def test_outputs_that_are_not_finite_have_no_finite_error(cli: Callable[..., Any], tmp_path: Path) -> None:
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", 4)), b.param(np.eye(4, dtype=np.float32), "w"))
    graph = b.finish(b.op("Add", h, b.param([0.0, np.nan, 0.0, 0.0]), name="y"))
    pathlift.opt(graph, output=tmp_path / "m.onnx")
    outcome = cli("ks", "fit", str(tmp_path / "m.onnx"), "--patterns", "(1,2,2,2)(2,2,2,1)", "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["result"]["end_to_end"]["relative_error"] == {"y": None}


def test_moments_are_those_of_what_layers_read() -> None:
    graph = network()
    x = np.random.default_rng(0).standard_normal((70, 256, 2, 2), dtype=np.float32)
    layers = dense_layers(graph, "mix,fc1")[0]
    batches = [{"x": x[:64]}, {"x": x[64:]}]
    found = second_moments(graph, layers, batches)
    rows = np.moveaxis(x, 1, -1).reshape(-1, 256).astype(np.float64)
    np.testing.assert_allclose(found["mixed"], rows.T @ rows / len(rows), rtol=1e-5, atol=1e-8)
    assert sorted(found) == sorted(layer.key for layer in layers)


def test_nan_weights_are_refused_by_name(model: str) -> None:
    graph = pathlift.load(model)
    builder = graph.edit()
    builder.replace_node(Value("fc1.weight"), value=Param.of(np.full((256, 256), np.nan, np.float32)))
    with pytest.raises(pathlift.PathliftError, match="PL0180"):
        pathlift.ks_fit(builder.finish(), layers="fc1", patterns=TEXT)


def test_zero_weights() -> None:
    b = Builder()
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 256)), b.param(np.zeros((256, 256), np.float32), "w"), name="y"))
    (layer,) = pathlift.ks_fit(graph, patterns=TEXT).approximation.layers.values()
    assert (layer.error, layer.reason) == (0.0, "")


REFUSED = [
    (["--patterns", "(1,2,3)"], "PL0460"),
    (["--patterns", "(0,1,1,1)"], "PL0461"),
    (["--patterns", "(1,5,5,1)"], "PL0463"),
    (["--layers", "nope"], "PL0464"),
    (["--patterns", TEXT, "--solver", "x"], "PL0465"),
    (["--device", "abacus"], "PL0467"),
    (["--samples", "0"], "PL0439"),
    (["--budget", "flops=2"], "PL0468"),
    (["--budget", "speed=2"], "PL0468"),
    (["--calib", "none.npz"], "PL0470"),
]


@pytest.mark.parametrize(("arguments", "code"), REFUSED)
def test_refusals(arguments: list[str], code: str, model: str, cli: Callable[..., Any]) -> None:
    layers = [] if "--layers" in arguments else ["--layers", "fc1"]
    outcome = cli("ks", "fit", model, *layers, *arguments)
    assert outcome.code == 2
    assert code in outcome.err


def test_data_that_does_not_fit(model: str, tmp_path: Path) -> None:
    good = np.zeros((2, 256, 2, 2), np.float32)
    for arrays, code in (
        ({"y": good}, "PL0477"),
        ({"x": good[:0]}, "PL0477"),
        ({"x": good[:, :3]}, "PL0479"),
        ({"x": good + np.nan}, "PL0479"),
        ({"x": np.array(["a", "b"])}, "PL0479"),
    ):
        with pytest.raises(pathlift.PathliftError, match=code):
            pathlift.ks_fit(model, layers="fc1", patterns=TEXT, calib=arrays)


def test_in_a_pipeline(model: str) -> None:
    found = pathlift.opt(model, 'ks-fit{layers=fc1,patterns="(1,32,8,8)(4,16,64,1)"},ks-epilogue')
    assert "KSLinear" in str(found.graph)
    assert ApproximateLayers(layers="fc1").run(pathlift.load(model)).witness.describe()
