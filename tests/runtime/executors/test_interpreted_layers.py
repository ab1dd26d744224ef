"""Graphs with Kronecker-sparse layers, which run as interpreted kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pathlift
from pathlift.codegen.cache import Key, Measured, Measurement
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.runtime import steps
from pathlift.runtime.executors import layers
from pathlift.runtime.executors.layers import ks_kernels
from pathlift.runtime.executors.torch import TorchExecutor
from pathlift.testing.kernels import reference

P = Pattern(2, 3, 5, 4)
PLAIN, MERGED = Schedule("dot", Form(), 16, 16, 8), Schedule("dot", Form(precision="tf32"), 16, 16, 8, group=2)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def close(y: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    assert y.shape == expected.shape
    assert float((y.double() - expected).norm()) <= tolerance * float(expected.norm())


def model(feature_major: bool, activation: str, dtype: str = "f32", pattern: Pattern = P, hint: str = "") -> Any:
    rng = np.random.default_rng(0)
    numpy = {"f32": np.float32, "f16": np.float16, "f64": np.float64}[dtype]
    b = Builder()
    x = b.input("x", (P.cols, "N") if feature_major else ("N", P.cols), dtype)
    w, bias = (b.param(rng.standard_normal(s).astype(numpy)) for s in (P.shape, (P.rows,)))
    options = {"pattern": tuple(P), "feature_major": feature_major, "activation": activation}
    return b.finish(b.op("KSLinear", x, w, bias, name="y", **options))


@pytest.mark.parametrize("activation", ["", "Relu", "Gelu"])
@pytest.mark.parametrize("feature_major", [False, True])
def test_a_model_in_a_file(
    feature_major: bool, activation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = model(feature_major, activation)
    save(graph, tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((P.cols, 5) if feature_major else (5, P.cols), np.float32)
    expected = pathlift.Session(tmp_path / "m.onnx", executor="onnxruntime")(x)
    launched: list[Form] = []
    launch = steps._launch
    monkeypatch.setattr(steps, "_launch", lambda *a: launched.append(a[3].form) or launch(*a))
    session = pathlift.Session(tmp_path / "m.onnx", executor="torch")
    for _ in range(2):
        np.testing.assert_allclose(session(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pathlift.Session(graph, executor="torch")(x), expected, rtol=1e-5, atol=1e-5)
    layout: Layout = "features" if feature_major else "rows"
    # A file spells epilogues out; they are fused before it runs.
    assert launched == [Form(reads=layout, writes=layout, bias=True, activation=activation)] * 3
    assert session.remarks == ()


def test_precision_is_that_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = model(False, ""), draw(5, P.cols)
    found: list[str] = []
    launch = steps._launch
    monkeypatch.setattr(steps, "_launch", lambda *a: found.append(a[3].form.precision) or launch(*a))
    for precision in (None, "ieee", "tf32", "tf32x3"):
        pathlift.Session(graph, executor="torch", precision=precision)(x)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    pathlift.Session(graph, executor="torch")(x)
    assert found == ["tf32x3", "ieee", "tf32", "tf32x3", "tf32"]
    with pytest.raises(UsageError, match="PL1430 there is no precision 'high'"):
        pathlift.Session(graph, precision="high")  # type: ignore[arg-type]  # no precision of products


def test_models_in_float64_keep_their_program() -> None:
    executor = TorchExecutor(model(False, "Relu", "f64"))
    assert executor._kernels == {}
    half = TorchExecutor(model(False, "Relu", "f16"))
    assert len(half._kernels) == 1
    x = draw(5, P.cols).half()
    expected = pathlift.Session(model(False, "Relu", "f16"), executor="onnxruntime")(x)
    np.testing.assert_allclose(half.run({"x": x})["y"], expected, rtol=2e-2, atol=2e-2)


def test_a_node_with_a_residual() -> None:
    x, w, bias, residual = draw(5, P.cols), draw(*P.shape), draw(P.rows), draw(5, P.rows)
    (compute,) = ks_kernels(model(False, ""), None).values()
    options: Any = {"pattern": tuple(P), "activation": "Relu"}
    close(compute(x, w, bias, residual, **options), reference(x, [w], bias, residual, "Relu"))
    close(compute(x, w, None, residual, **options), reference(x, [w], None, residual, "Relu"))
    y = compute(x.T, w, bias, residual.T, feature_major=True, **options)
    close(y.T, reference(x, [w], bias, residual, "Relu"))


def test_a_model_with_a_residual() -> None:
    b = Builder()
    rng = np.random.default_rng(0)
    x, r = b.input("x", ("N", P.cols), "f32"), b.input("r", ("N", P.rows), "f32")
    w, bias = (b.param(rng.standard_normal(s).astype(np.float32)) for s in (P.shape, (P.rows,)))
    graph = b.finish(b.op("KSLinear", x, w, bias, r, pattern=tuple(P), activation="Relu", name="y"))
    feeds = [rng.standard_normal((4, n), np.float32) for n in (P.cols, P.rows)]
    expected, found = (pathlift.Session(graph, executor=e)(*feeds) for e in ("onnxruntime", "torch"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_a_graph_carries_is_used_where_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key((P,), Form(bias=True), 8, "sm_90", "3.9.0")
    hint, other = Measurement(PLAIN, 1e-6), Measurement(MERGED, 1e-6)
    known = Measured(None)
    monkeypatch.setattr(layers, "measured", lambda: known)
    hinted = layers._Hinted({replace(key, triton=""): hint})
    assert hinted.get(key) is hint
    assert hinted.get(replace(key, samples=16)) is None
    known.put(key, other)
    assert hinted.get(key) is other


def test_factors_that_are_fed_are_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, b = list[bool](), Builder()
    monkeypatch.setattr(layers, "ks_linear", lambda x, factors, **options: seen.append(options["frozen"]) or x)
    x = b.input("x", ("N", P.cols), "f32")
    held, fed = b.param(np.zeros(P.shape, np.float32)), b.input("w", P.shape, "f32")
    layers_of = [b.op("KSLinear", x, w, pattern=tuple(P)) for w in (held, fed)]
    found = ks_kernels(b.finish(*layers_of), None)
    for y in layers_of:
        found[y.node](draw(1, P.cols), draw(*P.shape), pattern=tuple(P))
    assert seen == [True, False]


OUTER, INNER = Pattern(1, 12, 6, 2), Pattern(2, 6, 9, 1)


def pair(*, read_twice: bool = False) -> Graph:
    """Two layers of one product, with nodes of their own for bias, residual and activation."""
    b, rng = Builder(), np.random.default_rng(0)

    def param(*shape: int) -> Value:
        return b.param(rng.standard_normal(shape).astype(np.float32))

    x, r = b.input("x", ("N", INNER.cols), "f32"), b.input("r", ("N", OUTER.rows), "f32")
    h = b.op("KSLinear", x, param(*INNER.shape), name="h", pattern=tuple(INNER))
    y = b.op("KSLinear", h, param(*OUTER.shape), pattern=tuple(OUTER))
    y = b.op("Relu", b.op("Add", b.op("Add", y, param(OUTER.rows)), r), name="y")
    b.output(*([y, h] if read_twice else [y]))
    return b.finish()


def test_a_product_of_three_layers_runs_as_one() -> None:
    b, rng = Builder(), np.random.default_rng(0)
    x = b.input("x", ("N", INNER.cols), "f32")
    h, ps = x, (INNER, OUTER, Pattern(1, 5, 24, 1))
    for p in ps:
        h = b.op("KSLinear", h, b.param(rng.standard_normal(p.shape).astype(np.float32)), pattern=tuple(p))
    graph, feed = b.finish(h), draw(3, INNER.cols)
    found, expected = (pathlift.Session(graph, executor=e)(feed.numpy()) for e in ("torch", "onnxruntime"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("read_twice", [False, True])
def test_a_product_runs_as_one(read_twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, calls, honest = pair(read_twice=read_twice), list[tuple[int, Any]](), layers.ks_linear

    def counted(x: Any, factors: Any, **options: Any) -> Any:
        calls.append((len(factors), options["activation"]))
        return honest(x, factors, **options)

    monkeypatch.setattr(layers, "ks_linear", counted)
    feeds = {"x": draw(7, INNER.cols), "r": draw(7, OUTER.rows)}
    found = pathlift.Session(graph, executor="torch").run(feeds)
    expected = pathlift.Session(graph, executor="onnxruntime").run({k: v.numpy() for k, v in feeds.items()})
    assert calls == ([(1, ""), (1, "Relu")] if read_twice else [(2, "Relu")])
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=1e-5, atol=1e-5)
