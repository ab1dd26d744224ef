"""Untouched models, saved as they came: the same bits, and a fixed point of load and save, at every opset."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from torch import Tensor, nn
from torch.nn import functional

import pathlift
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.compare import graphs_equal
from pathlift.ir.spelling import without_spellings
from pathlift.testing.onnx_models import f32, info

NEWEST = onnx.defs.onnx_opset_version()
RNG = np.random.default_rng(0)
W, V, M = f32(RNG, 4, 3, 3, 3), f32(RNG, 3), f32(RNG, 8, 5)
CHANNELS = [np.abs(f32(RNG, 3)) + 0.5 for _ in range(4)]
IMAGE, ROWS, TABLE = (2, 3, 8, 8), (2, 8), (2, 3, 4)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: list[tuple[str, tuple[int, ...], list[Any], dict[str, Any]]] = [
    # operator, shape of its first input, its constants (None: left out), attributes
    ("Conv", IMAGE, [W], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", IMAGE, [W, f32(RNG, 4)], {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}),
    ("ConvTranspose", IMAGE, [f32(RNG, 3, 2, 3, 3)], {"strides": [2, 2], "output_shape": [16, 16]}),
    ("Gemm", ROWS, [M, f32(RNG, 5)], {"alpha": 1.7, "beta": 0.3}),
    ("Gemm", ROWS, [M.T.copy(), f32(RNG, 1)], {"transB": 1, "alpha": 0.1}),
    ("MatMul", ROWS, [M], {}),
    ("BatchNormalization", IMAGE, CHANNELS, {"epsilon": 1e-3}),
    ("InstanceNormalization", IMAGE, CHANNELS[:2], {}),
    ("LayerNormalization", ROWS, [f32(RNG, 8), f32(RNG, 8)], {}),
    ("LRN", IMAGE, [], {"size": 3}),
    ("LRN", IMAGE, [], {"size": 3, "alpha": 1e-4, "bias": 1.0}),
    ("LpNormalization", ROWS, [], {"axis": 1, "p": 2}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "storage_order": 1}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [1, 1], "strides": [3, 3], "ceil_mode": 1}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [2, 2], "count_include_pad": 1}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("GlobalAveragePool", IMAGE, [], {}),
    ("GlobalMaxPool", IMAGE, [], {}),
    ("ReduceMean", IMAGE, [], {"axes": [-1, 2]}),
    ("ReduceMean", IMAGE, [i64(-1, 2)], {"keepdims": 0}),
    ("ReduceL2", ROWS, [], {"axes": [1]}),
    ("TopK", ROWS, [i64(3)], {"axis": 1, "sorted": 1}),
    ("Max", ROWS, [np.float32(0)], {}),
    ("Min", ROWS, [np.float32(6)], {}),
    ("Sub", ROWS, [f32(RNG, 8)], {}),
    ("Div", ROWS, [np.float32(3)], {}),
    ("Pow", ROWS, [np.float32(2)], {}),
    ("Clip", ROWS, [], {"min": -0.5, "max": 0.5}),
    ("Clip", ROWS, [None, np.float32(0.5)], {}),
    ("PRelu", IMAGE, [f32(RNG, 3, 1, 1)], {}),
    ("LeakyRelu", ROWS, [], {}),
    ("Selu", ROWS, [], {}),
    ("ThresholdedRelu", ROWS, [], {"alpha": 1.0}),
    ("Gelu", ROWS, [], {"approximate": "tanh"}),
    ("HardSwish", ROWS, [], {}),
    ("Softmax", ROWS, [], {}),
    ("Softmax", TABLE, [], {"axis": 1}),
    ("Dropout", ROWS, [], {}),
    ("Flatten", IMAGE, [], {"axis": -2}),
    ("Reshape", IMAGE, [i64(0, -1)], {}),
    ("Squeeze", (2, 1, 3), [], {}),
    ("Squeeze", (2, 1, 3), [i64(-2)], {}),
    ("Unsqueeze", ROWS, [], {"axes": [0, 3]}),
    ("Transpose", TABLE, [], {}),
    ("Slice", TABLE, [i64(0), i64(9), i64(-1)], {}),
    ("Slice", TABLE, [], {"starts": [0], "ends": [9], "axes": [1]}),
    ("Gather", TABLE, [np.array(-1)], {"axis": 1}),
    ("Split", ROWS, [i64(3, 5)], {"axis": 1}),
    ("Pad", IMAGE, [i64(0, 0, 1, 1, 0, 0, 1, 1)], {"mode": "constant"}),
    ("Pad", IMAGE, [], {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "reflect"}),
    ("Expand", (2, 1), [i64(2, 3)], {}),
    ("Tile", ROWS, [i64(1, 2)], {}),
    ("Einsum", ROWS, [M], {"equation": "ij, jk"}),
    ("Resize", IMAGE, [None, np.float32([1, 1, 2, 2])], {"mode": "linear", "nearest_mode": "floor"}),
    ("Resize", IMAGE, [None, None, i64(2, 3, 16, 12)], {"mode": "linear", "cubic_coeff_a": -0.5}),
    ("Resize", IMAGE, [None, np.float32([1, 1, 2, 2])], {"mode": "cubic", "nearest_mode": "floor"}),
    ("Resize", IMAGE, [np.float32([1, 1, 2, 2])], {"mode": "nearest"}),
    (
        "Resize",
        IMAGE,
        [np.zeros(0, np.float32), np.float32([1, 1, 2, 2])],
        {"coordinate_transformation_mode": "tf_half_pixel_for_nn"},
    ),
    ("Upsample", IMAGE, [np.float32([1, 1, 2, 2])], {"mode": "linear"}),
    ("DepthToSpace", (2, 4, 3, 3), [], {"blocksize": 2}),
]


def made(case: tuple[str, tuple[int, ...], list[Any], dict[str, Any]], opset: int, batch: int | str) -> ModelProto:
    op_type, shape, constants, attributes = case
    names = ["h", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    outputs = ["y", *(["z"] if op_type in ("Split", "TopK") else [])]
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node(op_type, names, outputs, "node", **attributes)]
    initializers = [numpy_helper.from_array(np.asarray(c), f"c{i}") for i, c in enumerate(constants) if c is not None]
    graph = helper.make_graph(nodes, "g", [info("x", (batch, *shape[1:]))], [info("y", None)], initializers)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=max(4, helper.find_min_ir_version_for(imports)))


def session(model: ModelProto, *, optimized: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def assert_kept(model: ModelProto, feeds: dict[str, np.ndarray]) -> None:
    """Both laws: a saved model computes the same bits, is read as the same graph, and is equivalent."""
    graph = load(model)
    saved, respelled = to_onnx(graph), to_onnx(without_spellings(graph))
    same_opset = saved.opset_import == model.opset_import  # which a pool that is better spelled anew may raise
    assert graphs_equal(load(saved), graph, info=same_opset) == ""
    assert not same_opset or str(load(saved)) == str(graph)
    for optimized in (False, True):
        before, after = (session(m, optimized=optimized).run(None, feeds) for m in (model, saved))
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(b, a)
    for other in (saved, respelled):
        result = pathlift.compare(model, other, modulo=("rescaling",)).equivalence
        assert result.verdict == "equivalent", result.difference


def known(model: ModelProto, feeds: dict[str, np.ndarray]) -> bool:
    """Whether ONNX has the operator by then, and ONNX Runtime, which looks at its schema too, runs the model."""
    try:
        onnx.defs.get_schema(model.graph.node[1].op_type, model.opset_import[0].version)
        session(model, optimized=False).run(None, feeds)
    except (onnx.defs.SchemaError, errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented):
        return False
    return True


def runs(opsets: range | list[int]) -> list[Any]:
    return [pytest.param(case, opsets, id=f"{i}-{case[0]}") for i, case in enumerate(CASES)]


def fed(case: Any) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal(case[1]).astype(np.float32)}


def check(case: Any, opsets: range | list[int], batches: list[Any]) -> int:
    found = 0
    for opset in opsets:
        models = [made(case, opset, batch) for batch in batches]
        if known(models[0], fed(case)):
            found += 1
            for model in models:
                assert_kept(model, fed(case))
    return found


@pytest.mark.parametrize(("case", "opsets"), runs([9, 10, 17, 20]))
def test_an_operator_is_saved_as_it_came(case: Any, opsets: list[int]) -> None:
    assert check(case, [next(n for n in opsets if known(made(case, n, "N"), fed(case)))], ["N"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("case", "opsets"), runs(range(7, NEWEST + 1)))
def test_an_operator_of_any_opset_is_saved_as_it_came(case: Any, opsets: range) -> None:
    assert check(case, opsets, ["N", case[1][0]]) > 0


class Small(nn.Module):
    """Layers that exporters spell in many ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.gelu(self.norm(self.conv(x))), 2, ceil_mode=True)
        x = functional.interpolate(x, scale_factor=2, mode="bilinear").clamp(min=0, max=6)
        x = functional.hardswish(functional.layer_norm(x, (4, 6, 6))).mean((2, 3))
        return functional.softmax(self.linear(x.flatten(1)).view(x.shape[0], -1), dim=-1)


@pytest.mark.slow
@pytest.mark.parametrize(("dynamo", "optimize", "dynamic"), list(itertools.product((False, True), repeat=3)))
def test_exports_are_saved_as_they_came(dynamo: bool, optimize: bool, dynamic: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Small().eval(), torch.randn(2, 3, 6, 6)
    options: dict[str, Any] = {"optimize": optimize} if dynamo else {"do_constant_folding": optimize}
    if dynamic and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
    elif dynamic:
        options["dynamic_axes"] = {"x": {0: "N"}}
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), path, dynamo=dynamo, input_names=["x"], external_data=False, **options)
    assert_kept(onnx.load(path), {"x": x.numpy()})
