"""External data is read wherever a tensor may be, from any working folder, in little memory."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.testing.onnx_models import external, info, model, node

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_external_data_is_mapped_from_any_working_folder(mlp, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"head" + FLOATS.tobytes() + b"tail")
    external(mlp.graph.initializer[0], "data/w.bin", offset=4, length=24)
    (tmp_path / "m.onnx").write_bytes(mlp.SerializeToString())
    monkeypatch.chdir(tmp_path)
    read = read_model("m.onnx")
    monkeypatch.chdir("/")
    weight = read.model.graph.initializers["w"].const_value
    assert isinstance(weight, onnx_ir.ExternalTensor)
    assert np.array_equal(weight.numpy(), FLOATS)


def test_external_data_in_attributes_subgraphs_functions_and_sparse_tensors(tmp_path):
    (tmp_path / "w.bin").write_bytes(FLOATS.tobytes())

    def constant(name):
        return node("Constant", "", name, value=external(numpy_helper.from_array(FLOATS), "w.bin"))

    body = helper.make_graph([constant("o")], "b", [], [info("o", None)])
    nodes = [constant("k"), node("Add", "a k", "b")]
    f = helper.make_function("pathlift", "KSLinear", ["a"], ["b"], nodes, [helper.make_opsetid("", 18)])
    pair = helper.make_sparse_tensor(
        external(numpy_helper.from_array(FLOATS.ravel()[1:3], "s"), "w.bin", offset=4),
        numpy_helper.from_array(np.array([0, 2])),
        [3],
    )
    proto = model(
        [node("If", "c", "y", then_branch=body, else_branch=body), node("KSLinear", "y", "z", domain="pathlift")],
        [info("c", (), TensorProto.BOOL)],
        [info("z", None)],
        sparse_initializer=[pair],
    )
    proto.functions.append(f)
    read = read_model(proto.SerializeToString(), base_dir=tmp_path).model
    tensors = [
        read.graph[0].attributes["then_branch"].as_graph()[0].attributes["value"].as_tensor(),
        read.functions["pathlift", "KSLinear", ""][0].attributes["value"].as_tensor(),
    ]
    for tensor in tensors:
        assert np.array_equal(tensor.numpy(), FLOATS)
    assert read.graph.initializers["s"].const_value.numpy().tolist() == [1, 0, 2]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_small_external_tensors_hold_no_file_open(tmp_path):
    (tmp_path / "w.bin").write_bytes(FLOATS.tobytes())
    tensors = [external(numpy_helper.from_array(FLOATS, f"w{i}"), "w.bin") for i in range(50)]
    gc.collect()  # mappings of other tests
    before = len(list(Path("/proc/self/fd").iterdir()))
    read = read_model(model([], [], [], tensors), base_dir=tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert len(read.model.graph.initializers) == 50


def test_three_gigabytes_are_read_in_200_megabytes(tmp_path):
    size = 750_000_000
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * size)
    tensor = TensorProto(name="w", dims=[size // 2, 2], data_type=TensorProto.FLOAT)
    proto = model([node("Gemm", "x w", "y", transB=1)], [info("x")], [info("y", None)], [external(tensor, "w.bin")])
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    script = """
import re, sys
from pathlift.testing.onnx_models import external, info, model, node
from pathlift.frontend.read import read_model
read = read_model(sys.argv[1])
assert "torch" not in sys.modules
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 200_000, f"{run.stdout} kB"
