"""Sparse initializers: smaller files that ONNX Runtime runs to the same bits, and that are read back as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pathlift as api
from pathlift.frontend.emit.sparse import is_smaller, sparse_bytes, stored_bytes
from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, Param
from pathlift.passes.pruning.prune import Prune

DIGITS = Path(__file__).parents[3] / "examples" / "digits.onnx"


def thin(shape: tuple[int, ...], dtype: Any = np.float32, share: float = 0.1) -> Array:
    rng = np.random.default_rng(0)
    return np.where(rng.random(shape) < share, rng.standard_normal(shape), 0).astype(dtype)


def sparse_names(path: Path) -> list[str]:
    return [tensor.values.name for tensor in onnx.load(path).graph.sparse_initializer]


def saved(graph: Graph, folder: Path) -> tuple[Path, Path]:
    dense, sparse = folder / "dense.onnx", folder / "sparse.onnx"
    save(graph, dense)
    save(graph, sparse, sparse=True)
    return dense, sparse


def test_a_pruned_network_is_smaller_and_computes_the_same(tmp_path: Path) -> None:
    graph = Prune(sparsity=0.9, scope="layer").run(load(DIGITS)).graph
    dense, sparse = saved(graph, tmp_path)
    assert set(sparse_names(sparse)) == {"stem.weight", "body.weight", "hidden.weight", "classes.weight"}
    assert sparse.stat().st_size < 0.5 * dense.stat().st_size
    image = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    assert (api.Session(dense)(image) == api.Session(sparse)(image)).all()
    again = load(sparse)
    for key in graph.params:
        # A parameter has a value.
        assert again[key].value.numpy().tobytes() == graph[key].value.numpy().tobytes(), key  # type: ignore[union-attr]  # a parameter has a value
    onnx.checker.check_model(onnx.load(sparse))


def network(weight: Array) -> Graph:
    b = Builder()
    names = {np.dtype(np.float16): "f16", np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
    return b.finish(b.op("Gemm", b.input("x", ("N", 16), names[weight.dtype]), b.param(weight, "w"), name="y"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_every_type_and_zeros_alone(tmp_path: Path, dtype: Any, share: float) -> None:
    graph = network(thin((16, 8), dtype, share))
    dense, sparse = saved(graph, tmp_path)
    assert sparse_names(sparse) == ["w"]
    x = np.random.default_rng(1).random((3, 16)).astype(dtype)
    assert (api.Session(dense)(x) == api.Session(sparse)(x)).all()
    # A parameter has a value.
    assert load(sparse)["w"].value.numpy().tobytes() == graph["w"].value.numpy().tobytes()  # type: ignore[union-attr]  # a parameter has a value


def test_negative_zeros_are_zeros(tmp_path: Path) -> None:
    weight = thin((16, 8))
    _, sparse = saved(network(np.where(weight == 0, np.float32(-0.0), weight)), tmp_path)
    assert sparse_names(sparse) == ["w"]
    # A parameter has a value.
    assert load(sparse)["w"].value.numpy().tobytes() == weight.tobytes()  # type: ignore[union-attr]  # a parameter has a value


def test_what_is_no_smaller_stays_dense(tmp_path: Path) -> None:
    weight = np.zeros(120, np.float32)
    weight[:40] = 1  # 12 bytes for each of a third are what all of them take
    assert not is_smaller(Param.of(weight))
    weight[0] = 0
    assert is_smaller(Param.of(weight))
    assert sparse_bytes(Param.of(weight)) == stored_bytes(Param.of(weight), sparse=True) == 39 * 12
    assert stored_bytes(Param.of(weight), sparse=False) == 480
    assert not is_smaller(Param.of(np.zeros(9, np.int64)))
    assert not is_smaller(Param.of(np.zeros((), np.float32)))


def test_what_a_caller_may_replace_stays_dense(tmp_path: Path) -> None:
    builder = network(thin((16, 8))).edit()
    builder.info = replace(builder.info, ir_version=8, overridable=("w",))
    _, sparse = saved(builder.finish(), tmp_path)
    assert sparse_names(sparse) == []


def test_others_may_be_beside_the_file(tmp_path: Path) -> None:
    b = Builder()
    x = b.op("Gemm", b.input("x", ("N", 16)), b.param(thin((16, 64)), "thin"))
    graph = b.finish(b.op("Gemm", x, b.param(np.ones((64, 64), np.float32), "full"), name="y"))
    save(graph, tmp_path / "m.onnx", sparse=True, external_threshold=1)
    assert sparse_names(tmp_path / "m.onnx") == ["thin"]
    assert (tmp_path / "m.onnx.data").stat().st_size == 64 * 64 * 4
    x = np.ones((1, 16), np.float32)
    np.testing.assert_allclose(api.Session(tmp_path / "m.onnx")(x), np.full((1, 64), thin((16, 64)).sum()), rtol=1e-4)
