"""Batch normalization in inference and in training, as the file's opset tells them apart, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator
STATISTICS = ["mean", "var", "saved_mean", "saved_var"]


def frozen(rng: Rng) -> list[np.ndarray]:
    return [f32(rng, 3), f32(rng, 3), f32(rng, 3), np.abs(f32(rng, 3)) + 0.1]


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_batch_normalization(check: Any, dyn: Any, rng: Rng, opset: int, shape: Any) -> None:
    params = frozen(rng)
    check("BatchNormalization", dyn(f32(rng, *shape)), *params, epsilon=1e-3, opset=opset, expect="BatchNormalization")
    check("BatchNormalization", dyn(f32(rng, *shape)), *map(dyn, params), opset=opset, expect="Opaque")


@pytest.mark.parametrize("opset", [7, 8, 9, 12, 13])
@pytest.mark.parametrize("names", [["y", *STATISTICS], ["y", *STATISTICS[:-1], "y_var"]])
def test_outputs_mean_training_before_opset_14(check: Any, dyn: Any, rng: Rng, opset: int, names: list[str]) -> None:
    graph = check(
        "BatchNormalization", dyn(f32(rng, 2, 3, 4)), *frozen(rng), opset=opset, outputs=names, expect="Opaque"
    )
    assert graph["y"].attrs["reason"] == "training mode"
    # Statistics that something reads are those of the batch, whatever the user assumes.
    assert ("--assume-eval" in str(graph["y"].attrs.get("hint"))) == (names[-1] != "y_var")


@pytest.mark.parametrize("opset", [14, 15])
@pytest.mark.parametrize("training", [0, 1])
def test_an_attribute_means_training_from_opset_14(check: Any, dyn: Any, rng: Rng, opset: int, training: int) -> None:
    outputs, wanted = (["y", "mean", "var"], "Opaque") if training else (["y"], "BatchNormalization")
    attrs: dict[str, Any] = {"opset": opset, "outputs": outputs, "expect": wanted, "training_mode": training}
    check("BatchNormalization", dyn(f32(rng, 2, 3, 4)), *frozen(rng), **attrs)


def test_outputs_without_a_name_are_none(check: Any, dyn: Any, rng: Rng) -> None:
    attrs: Any = {"opset": 9, "outputs": ["y", "", "", "", ""], "run": False}  # ONNX Runtime crashes
    check("BatchNormalization", dyn(f32(rng, 2, 3, 4)), *frozen(rng), expect="BatchNormalization", **attrs)


def test_statistics_of_inference_are_not_read(check: Any, dyn: Any, rng: Rng) -> None:
    attrs: Any = {"opset": 15, "outputs": ["y", "y_mean", "y_var"], "run": False}  # ONNX Runtime refuses them
    graph = check("BatchNormalization", dyn(f32(rng, 2, 3, 4)), *frozen(rng), expect="Opaque", **attrs)
    assert graph["y"].attrs["reason"] == "its statistics are used"


def test_statistics_of_a_batch_are_not_those_of_inference(model_of: Any, rng: Rng) -> None:
    constants = dict(zip("gbmv", frozen(rng), strict=True))
    nodes = [node("BatchNormalization", "x g b m v", "y m1 v1 m2 v2")]
    graph = load(model_of(nodes, {"x": f32(rng, 2, 3)}, constants, ["y", "m1"], 9), assume_eval=True)
    assert graph["y"].attrs["reason"] == "its statistics are used"


def test_statistics_per_position(check: Any, dyn: Any, rng: Rng) -> None:
    params = [np.abs(f32(rng, 3, 4)) + 0.1 for _ in range(4)]
    attrs: Any = {"opset": 7, "spatial": 0, "expect": "Opaque"}
    assert check("BatchNormalization", dyn(f32(rng, 2, 3, 4)), *params, **attrs)["y0"].attrs["reason"] == (
        "statistics per position"
    )


@pytest.mark.parametrize("opset", [13, 20])
def test_assume_eval(model_of: Any, rng: Rng, opset: int) -> None:
    attrs, names = ({"training_mode": 1}, "n m1 v1") if opset >= 14 else ({}, "n m1 v1 m2 v2")
    nodes = [node("BatchNormalization", "x g b m v", names, **attrs), node("Dropout", "n ratio mode", "y")]
    constants = {name: f32(rng, 3) for name in "gbmv"} | {"ratio": np.float32(0.5).reshape(()), "mode": np.array(True)}
    model = model_of(nodes, {"x": f32(rng, 2, 3)}, constants, ["y"], opset).SerializeToString()
    assert op_names(load(model)) == ["Opaque", "Opaque"]
    assert op_names(load(model, assume_eval=True)) == ["BatchNormalization", "Identity"]
