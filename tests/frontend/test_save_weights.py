"""The weights of a saved file: those of the model, byte for byte, and one at a time in memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from pathlift.frontend import save as module
from pathlift.frontend.load import load
from pathlift.frontend.save import save, to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.errors import GraphError, OutputError
from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPES, Array, Param
from pathlift.testing import onnxruntime_session, sample, samples, zoo

PLACES = pytest.mark.parametrize("threshold", [2**30, 0], ids=["inline", "external"])


def holding(**params: Param) -> Graph:
    b = Builder()
    for name, param in params.items():
        b.param(param, name)
    return b.finish(b.op("Relu", b.input("x", (2,))))


def check(graph: Graph, path: Path, threshold: int) -> ModelProto:
    """Save a graph; the file must be what `to_onnx` returns, to the byte, but for the order of fields."""
    save(graph, path, external_threshold=threshold)
    saved, expected = onnx.load(path), to_onnx(graph)
    for tensor in saved.graph.initializer:
        tensor.ClearField("data_location")  # written by onnx once it has read the data
    assert saved.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    return saved


@PLACES
@pytest.mark.parametrize("name", samples())
def test_samples(name: str, threshold: int, tmp_path: Path) -> None:
    check(sample(name), tmp_path / "m.onnx", threshold)


@PLACES
@pytest.mark.parametrize(("name", "image"), [("resnet18", 64), ("gpt2_tiny", None), ("groupsort_mlp", None)])
def test_networks(name: str, image: int | None, threshold: int, tmp_path: Path) -> None:
    graph = load(zoo.export(name, image=image, width=0.125 if image else 1.0))
    check(graph, tmp_path / "m.onnx", threshold)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    assert str(load(tmp_path / "m.onnx")) == str(graph)


@PLACES
@pytest.mark.parametrize("name", [name for name in DTYPES if name != "str"])
def test_numbers(name: str, threshold: int, tmp_path: Path) -> None:
    # So many that packed ones do not fill their last byte, and that they are not small.
    values = (1 + np.arange(4095).reshape(63, 65) % 2).astype(DTYPES[name])
    (tensor,) = check(holding(p=Param.of(values)), tmp_path / "m.onnx", threshold).graph.initializer
    assert numpy_helper.to_array(tensor).dtype == values.dtype
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), values)


@PLACES
def test_strings(threshold: int, tmp_path: Path) -> None:
    param = Param.of(np.array(["a", "é"], dtype=object))
    (tensor,) = check(holding(p=param), tmp_path / "m.onnx", threshold).graph.initializer
    assert list(tensor.string_data) == [b"a", "é".encode()]


LAYOUTS = {
    "scalar": np.array(3.0),
    "empty": np.zeros((3, 0), np.float32),
    "transposed": np.arange(6000, dtype=np.float32).reshape(50, 120).T,
    "every second": np.arange(6000).reshape(50, 120).astype(DTYPES["bf16"])[::2, ::-2],
    "broadcast": np.broadcast_to(np.arange(40, dtype=np.int16), (50, 40)),
    "transposed, of several chunks": np.arange(1500 * 1000, dtype=np.float32).reshape(1500, 1000).T,
    "strings of fixed width": np.array([b"ab", b"c"]),
}


@PLACES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, threshold: int, tmp_path: Path) -> None:
    check(holding(p=Param.of(LAYOUTS[layout])), tmp_path / "m.onnx", threshold)


# Memory.


@PLACES
def test_one_weight_is_in_memory_at_a_time(threshold: int, tmp_path: Path) -> None:
    b, loads, nbytes = Builder(), list[int](), 2**20

    def load_transposed(index: int) -> Array:
        loads.append(index)
        return np.ones((256, 1024), np.float32).T

    h = b.input("x", ("N", 1024))
    for i in range(6):
        h = b.op("Gemm", h, b.param(Param(DTYPES["f32"], (1024, 256), partial(load_transposed, 2 * i)), f"v{i}"))
        h = b.op("Gemm", h, b.param(lazy((256, 1024), partial(loads.append, 2 * i + 1)), f"w{i}"))
    graph = b.finish(h)
    peak = peak_memory(lambda: save(graph, tmp_path / "m.onnx", external_threshold=threshold))
    assert loads == list(range(12))
    assert peak < 2.5 * nbytes, "the weight that is written, and a copy of a transposed one"


def lazy(shape: tuple[int, ...], on_load: Callable[[], object]) -> Param:
    def load() -> Array:
        on_load()
        return np.ones(shape, np.float32)

    return Param(DTYPES["f32"], shape, load)


def peak_memory(task: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@PLACES
@pytest.mark.parametrize("values", [np.ones((3, 2), np.float32), np.ones((2, 3))])
def test_values_that_contradict_the_declaration(values: Array, threshold: int, tmp_path: Path) -> None:
    graph = holding(w=lazy((400, 2), lambda: None), p=Param(DTYPES["f32"], (2, 3), lambda: values))
    with pytest.raises(GraphError, match="PL0510 parameter 'p'"):
        save(graph, tmp_path / "m.onnx", external_threshold=threshold)
    assert os.listdir(tmp_path) == []


# A file of their own.


MATRIX = holding(w=Param.of(np.ones((400, 2), np.float32)))


def test_weights_that_are_tied_count_once(tmp_path: Path) -> None:
    w = Param.of(np.eye(40, dtype=np.float32))
    b = Builder()
    save(b.finish(b.op("Gemm", b.op("Gemm", b.input("x", (1, 40)), b.param(w)), b.param(w))), tmp_path / "m.onnx",
         external_threshold=2 * 40 * 40 * 4 - 1)  # fmt: skip
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_what_protobuf_cannot_hold_goes_to_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    save(MATRIX, path)
    size = path.stat().st_size
    monkeypatch.setattr(module, "MAX_INLINE", size)
    save(MATRIX, path, force=True)
    assert os.listdir(tmp_path) == ["m.onnx"]
    monkeypatch.setattr(module, "MAX_INLINE", size - 1)
    save(MATRIX, path, force=True)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"]


def test_a_model_that_is_too_large_even_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MESSAGE", 100)
    with pytest.raises(OutputError, match="PL0708"):
        save(MATRIX, tmp_path / "m.onnx", external_threshold=0)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_more_than_a_gigabyte(tmp_path: Path) -> None:
    size, depth, path = 4096, 17, tmp_path / "m.onnx"
    b, h = Builder(), "x"
    b.input("x", ("N", size))
    for i in range(depth):
        shift = Param(DTYPES["f32"], (size, size), partial(lambda i: np.roll(np.eye(size, dtype=np.float32), i, 1), i))
        h = b.op("Gemm", h, b.param(shift, f"w{i}"), name=f"h{i}")
    save(b.finish(h), path)
    assert path.with_name("m.onnx.data").stat().st_size == depth * size * size * 4 > 2**30
    assert path.stat().st_size < 2**14
    x = np.random.default_rng(0).standard_normal((2, size), np.float32)
    (y,) = onnxruntime_session(str(path)).run(None, {"x": x})
    np.testing.assert_array_equal(y, np.roll(x, sum(range(depth)), 1))
    assert load(path).params == tuple(f"w{i}" for i in range(depth))
