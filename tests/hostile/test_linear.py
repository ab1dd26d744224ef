"""Linear operators in all their spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from pathlift.testing.onnx_models import info

W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [None, [1, -2, 3], [[1, -2, 3]], [[2]], -4])
def test_row_15_gemm(make: Any, cli: Any, tmp_path: Path, trans_a: int, trans_b: int, bias: Any) -> None:
    weights = {"w": W if trans_b else W.T} | ({} if bias is None else {"b": np.float32(bias)})
    gemm = make.node("Gemm", ["x", *weights], transA=trans_a, transB=trans_b, alpha=-2.0, beta=0.5)
    path = make.saved(tmp_path, make.model([gemm], weights, shape=[2, 1] if trans_a else [1, 2]))
    constant = 0 if bias is None else 0.5 * np.abs(np.broadcast_to(np.float32(bias), (1, 3))).sum()
    assert cli.value(path) == 2 * np.abs(W).sum() + constant


def test_row_15_weight_on_the_left(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.model([make.node("MatMul", ["w", "x"])], {"w": W}, shape=[2, 5]))
    assert cli.value(path) == 5 * np.abs(W).sum()


@pytest.mark.parametrize(
    ("rank", "attributes"),
    [
        (1, {"pads": [2, 0], "dilations": [2]}),
        (2, {"group": 2, "strides": [2, 1]}),
        (2, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        (2, {"auto_pad": "SAME_LOWER"}),
        (2, {"auto_pad": "VALID"}),
        (2, {"pads": [0, 1, 2, 0], "dilations": [1, 2]}),
        (3, {"pads": [0, 1, 0, 1, 0, 2]}),
    ],
    ids=str,
)
def test_row_16_convolutions(make: Any, cli: Any, tmp_path: Path, rank: int, attributes: dict[str, Any]) -> None:
    import onnxruntime

    groups = attributes.get("group", 1)
    weight = np.random.default_rng(rank).normal(size=(4, 2 // groups, *[3] * rank)).astype(np.float32)
    shape = [1, 2, *[6] * rank]

    def conv(weight: np.ndarray) -> ModelProto:
        return make.model([make.node("Conv", ["x", "w"], **attributes)], {"w": weight}, shape=shape)

    session = onnxruntime.InferenceSession(conv(np.abs(weight)).SerializeToString())
    (magnitudes,) = session.run(None, {"x": np.ones(shape, np.float32)})
    assert cli.value(make.saved(tmp_path, conv(weight))) == pytest.approx(magnitudes.sum(dtype=float), rel=1e-5)


def test_row_16_dynamic_weight(make: Any, cli: Any, tmp_path: Path) -> None:
    proto = make.model([make.node("Conv", ["x", "k"], name="conv3")], shape=["N", 2, 6, 6])
    proto.graph.input.append(info("k", [4, 2, 3, 3]))
    path = make.saved(tmp_path, proto)
    cli.refused(path, 4, "'conv3'", "Conv", verbs=["norm"])
    assert "conv3" in cli("inspect", str(path)).out
