"""The committed digits.onnx is the accurate, self-contained classifier that its metadata says it is."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(EXAMPLES / "digits.onnx", load_external_data=False)


def accuracy(path: Path) -> float:
    _, images, _, labels = runpy.run_path(str(EXAMPLES / "train_digits.py"))["digits"]()
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images.numpy()})
    return float(np.mean(logits.argmax(1) == labels.numpy()))


def test_file_is_valid_small_and_self_contained(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert (EXAMPLES / "digits.onnx").stat().st_size < 200_000
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert "digits" in model.doc_string


def test_file_has_what_path_norms_are_about(model: onnx.ModelProto) -> None:
    ops = {node.op_type for node in model.graph.node}
    assert ops >= {"Conv", "BatchNormalization", "Relu", "Add", "TopK", "MaxPool", "Gemm"}


def test_accuracy_on_held_out_digits_is_the_one_in_the_metadata(model: onnx.ModelProto) -> None:
    noted = {entry.key: entry.value for entry in model.metadata_props}
    measured = accuracy(EXAMPLES / "digits.onnx")
    assert measured >= 0.97
    assert measured == pytest.approx(float(noted["test_accuracy"]), abs=1e-4)


@pytest.mark.slow
def test_the_script_makes_such_a_file(tmp_path: Path) -> None:
    output = tmp_path / "digits.onnx"
    runpy.run_path(str(EXAMPLES / "train_digits.py"))["main"](output)
    assert accuracy(output) >= 0.97
