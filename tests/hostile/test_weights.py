"""Weights and shapes: numbers that are none, quantized, tied and sparse ones, lying and symbolic extents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


@pytest.mark.parametrize("bad", [[np.nan], [np.inf, -np.inf]])
def test_row_10_nan_and_inf_in_weights(make: Any, cli: Any, tmp_path: Path, bad: list[float]) -> None:
    weight = W.copy()
    weight.reshape(-1)[: len(bad)] = bad
    path = make.saved(tmp_path, make.model([make.node("Gemm", ["x", "w"], transB=1)], {"w": weight}))
    cli.refused(path, 3, "'w'", str(len(bad)), verbs=["norm"])
    kept = numpy_helper.to_array(cli.carried(path).graph.initializer[0])
    np.testing.assert_array_equal(kept, weight)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_row_11_float_weights_do_not_overflow(make: Any, cli: Any, tmp_path: Path, dtype: Any) -> None:
    weight = np.full((8, 2), 60000, dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cast = make.node("Cast", ["x"], ["c"], to=kind)
    path = make.saved(tmp_path, make.model([cast, make.node("MatMul", ["c", "w"])], {"w": weight.T}))
    assert cli.value(path) == weight.astype(np.float64).sum()


@pytest.mark.parametrize(
    ("kind", "lowest"),
    [
        (TensorProto.INT8, -128),
        (TensorProto.UINT8, 255),
        (TensorProto.INT4, -8),
        (TensorProto.UINT4, 15),
        (TensorProto.FLOAT8E4M3FN, -448),
        (TensorProto.FLOAT8E5M2, 57344),
    ],
)
def test_row_11_quantized_weights_are_converted_first(
    make: Any, cli: Any, tmp_path: Path, kind: int, lowest: float
) -> None:
    proto = make.model(
        [make.node("DequantizeLinear", ["q", "s"], ["w"]), make.node("MatMul", ["x", "w"])], {"s": np.float32(0.5)}
    )
    proto.graph.initializer.append(helper.make_tensor("q", kind, [2, 3], [lowest] * 6))
    assert cli.value(make.saved(tmp_path, proto)) == 6 * abs(lowest) * 0.5


def test_row_12_quantized_weights_are_exact_and_activations_never_silent(make: Any, cli: Any, tmp_path: Path) -> None:
    weights = {"q": np.int8([[-128, 1], [0, 127]]), "s": np.float32([0.5, 0.25]), "z": np.int8([1, 0])}
    dequantize = make.node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0)
    product = make.node("MatMul", ["x", "w"])
    exact = np.abs((weights["q"].astype(float) - [[1], [0]]) * [[0.5], [0.25]]).sum()
    assert cli.value(make.saved(tmp_path, make.model([dequantize, product], weights))) == exact

    weights |= {"t": np.float32(0.1), "u": np.uint8(3)}
    gate = [
        make.node("QuantizeLinear", ["x", "t", "u"], ["i"]),
        make.node("DequantizeLinear", ["i", "t", "u"], ["r"], "back"),
    ]
    path = make.saved(tmp_path, make.model([*gate, dequantize, make.node("MatMul", ["r", "w"])], weights))
    outcome = cli("norm", str(path), "--format", "json")
    if outcome.code == 0:  # rounding is no path: then not under the name of a path-norm, and said
        envelope = json.loads(outcome.out)
        assert not envelope["result"]["norms"][0]["is_path_norm"]
        assert envelope["assumptions"]
    else:
        cli.refused(path, 4, "my_QuantizeLinear", verbs=["norm"])
    cli.carried(path)


def test_row_12_integer_operators_are_carried(make: Any, cli: Any, tmp_path: Path) -> None:
    weights = {
        "s": np.float32(0.1), "z": np.uint8(3), "w": np.int8([[1, -2], [3, 4]]), "ws": np.float32(0.5), "wz": np.int8(0)
    }  # fmt: skip
    nodes = [
        make.node("QuantizeLinear", ["x", "s", "z"], ["i"]),
        make.node("QLinearMatMul", ["i", "s", "z", "w", "ws", "wz", "s", "z"], ["o"]),
        make.node("DequantizeLinear", ["o", "s", "z"]),
    ]
    path = make.saved(tmp_path, make.model(nodes, weights))
    cli.refused(path, 4, "my_Q", verbs=["norm"])
    cli.carried(path)


def test_row_13_shared_initializers(make: Any, cli: Any, tmp_path: Path) -> None:
    square = np.float32([[1, -2], [3, 0.5]])
    nodes = [
        make.node("MatMul", ["x", "w"], ["h"], "a"),
        make.node("Relu", ["h"], ["r"]),
        make.node("MatMul", ["r", "w"], name="b"),
    ]
    path = make.saved(tmp_path, make.model(nodes, {"w": square}))
    assert cli.value(path) == (np.abs(square) @ np.abs(square)).sum()
    assert [t.name for t in cli.carried(path).graph.initializer] == ["w"]


def test_row_17_dynamic_and_missing_extents(make: Any, cli: Any, tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 1, 1), np.float32)
    path = make.saved(tmp_path, make.model([make.node("Conv", ["x", "w"])], {"w": kernel}, shape=["N", 1, "H", None]))
    cli.refused(path, 2, "H", "x.3", "--shape", verbs=["norm"])
    assert cli.value(path, "--shape", "H=3,x.3=5") == 15
    assert cli.value(path, "--shape", "N=7,H=3,x.3=5") == 15  # the norm does not depend on the batch


def tensor_of(make: Any, dims: Sequence[int]) -> ModelProto:
    proto = make.linear()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    return proto


@pytest.mark.parametrize("dims", [[-3, 2], [3, 3], [2**40, 2**40], [2**31, 2**32, 0, 7], [3]])
def test_row_18_lying_dimensions(make: Any, cli: Any, tmp_path: Path, dims: list[int]) -> None:
    cli.refused(make.saved(tmp_path, tensor_of(make, dims)), 3, "'w'")


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand"])
def test_row_18_bombs(make: Any, cli: Any, tmp_path: Path, op: str) -> None:
    sizes = np.int64([2**12, 2**12, 2**12])
    made = make.node(op, ["n"] if op == "ConstantOfShape" else ["one", "n"], ["b"])
    path = make.saved(
        tmp_path, make.model([made, make.node("Add", ["x", "b"])], {"n": sizes, "one": np.float32([1])}, shape=[1])
    )
    assert path.stat().st_size < 300
    cli.refused(path, 3, f"'my_{op}'", verbs=["norm"])
    # A constant of 64 MB is fine until the user says otherwise.
    small = make.model(
        [made, make.node("Add", ["x", "b"])], {"n": np.int64([2**8, 2**8]), "one": np.float32([1])}, shape=[1]
    )
    path = make.saved(tmp_path, small)
    assert cli("norm", str(path)).code == 0
    outcome = cli("norm", str(path), "--memory-limit", "100kB")
    assert (outcome.code, outcome.out) == (3, "")
    cli.one_line(outcome.err, f"'my_{op}'")


def test_row_18_extents_of_the_users_own(make: Any, cli: Any, tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 1, 1), np.float32)
    path = make.saved(tmp_path, make.model([make.node("Conv", ["x", "w"])], {"w": kernel}, shape=["N", 1, "H", "H"]))
    outcome = cli("norm", str(path), "--shape", "H=1000000000")
    assert (outcome.code, outcome.out) == (3, "")
    cli.one_line(outcome.err, "'my_Conv'", "--memory-limit")


def test_row_18_zero_size(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.model([make.node("Relu", ["x"])], shape=["N", 0]))
    assert cli.value(path) == 0
    assert json.loads(cli("norm", str(path), "--format", "json").out)["result"]["norms"][0]["log10"] is None


def test_row_22_sparse_initializer(make: Any, cli: Any, tmp_path: Path) -> None:
    proto = make.linear()
    del proto.graph.initializer[:]
    indices = np.int64([0, 1, 2, 4, 5])  # row-major
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(W[W != 0], "w"), numpy_helper.from_array(indices), list(W.shape)
    )
    proto.graph.sparse_initializer.append(sparse)
    path = make.saved(tmp_path, proto)
    assert cli.value(path, warns="sparse tensors are read as dense ones") == np.abs(W).sum()
    written = cli.carried(path)
    assert len(written.graph.initializer) + len(written.graph.sparse_initializer) == 1
