"""Loading as a whole: sources, laziness, speed, and no torch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pathlift.frontend.load import load, load_with_report
from pathlift.ir.errors import InvalidModelError, UsageError


@pytest.fixture
def model(model_of: Any) -> onnx.ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    return model_of(nodes, {"x": np.ones((2, 3), np.float32)}, {"w": np.ones((3, 4), np.float32)}, ["y"])


def test_sources(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    graphs = [load(s) for s in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), model.SerializeToString(), model)]
    assert {tuple(graph) for graph in graphs} == {("x", "w", "h", "y")}
    _, read = load_with_report(tmp_path / "m.onnx")
    assert read.sha256 == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()


def test_parsed_models_too_large_to_serialize(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    small = load(model)
    monkeypatch.setattr("pathlift.frontend.read.PROTOBUF_LIMIT", 0)
    before = model.SerializeToString()
    graph, read = load_with_report(model)
    assert (tuple(graph), read.sha256) == (tuple(small), None)
    assert model.SerializeToString() == before
    model.ClearField("opset_import")
    with pytest.raises(InvalidModelError, match="PL0102 not a complete ONNX model: a ModelProto without opset_import"):
        load(model)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="PL0470 "):
        load(tmp_path / "missing.onnx")
    with pytest.raises(InvalidModelError, match="PL0102 "):
        load(b"")


def test_weights_are_not_read(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    graph = load(tmp_path / "m.onnx")
    (tmp_path / "m.data").unlink()  # it was not even opened
    with pytest.raises(InvalidModelError, match="cannot read tensor 'w'"):
        graph["w"].value.numpy()


def test_torch_is_not_imported(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    code = "import sys; from pathlift.frontend.load import load; load(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.onnx")], check=True)


@pytest.mark.slow
def test_ten_thousand_nodes(model_of: Any) -> None:
    nodes, constants = [], {}
    for i in range(5000):
        constants[f"w{i}"] = np.ones((4, 4), np.float32)
        nodes.append(helper.make_node("MatMul", [f"x{2 * i}", f"w{i}"], [f"x{2 * i + 1}"]))
        nodes.append(helper.make_node("Relu", [f"x{2 * i + 1}"], [f"x{2 * i + 2}"]))
    data = model_of(nodes, {"x0": np.ones((2, 4), np.float32)}, constants, ["x10000"]).SerializeToString()
    start = time.process_time()
    assert len(load(data)) == 15001
    assert time.process_time() - start < 20  # a square of their number takes minutes
