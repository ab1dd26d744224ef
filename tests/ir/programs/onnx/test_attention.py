"""Attention: numbers that mean something else than their absence, and masks that are too short."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pathlift.frontend.load import load
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.types import Array
from pathlift.passes.tape.record import input_shapes, record

SHAPES = {"q": (1, 2, 3, 4), "k": (1, 2, 5, 4), "v": (1, 2, 5, 2)}


def attention(mask: Array | None = None, **attributes: Any) -> onnx.ModelProto:
    inputs = [*SHAPES] if mask is None else [*SHAPES, "mask"]
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (*SHAPES.items(), ("y", None))]
    parameters = [] if mask is None else [numpy_helper.from_array(mask.astype(np.float32), "mask")]
    node = helper.make_node("Attention", inputs, ["y"], **attributes)
    graph = helper.make_graph([node], "g", ends[:3], ends[3:], parameters)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize(
    "attributes", [{"scale": 0.0}, {"scale": 0.7}, {"softcap": 0.5}, {"softcap": -0.5}, {"is_causal": 1}, {}], ids=str
)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_what_onnx_says(attributes: dict[str, Any], masked: bool) -> None:
    rng = np.random.default_rng(0)
    model = attention(rng.normal(size=(3, 5)) if masked else None, **attributes)
    x = {name: rng.uniform(-2, 2, shape).astype(np.float32) for name, shape in SHAPES.items()}
    (expected,) = ReferenceEvaluator(model).run(["y"], x)
    network = load(model)
    tape = record(network, input_shapes(network))
    y = tape.run([torch.from_numpy(x[name]).double() for name in tape.inputs])[tape.outputs["y"]]
    np.testing.assert_allclose(y, np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_a_mask_of_fewer_columns_is_refused() -> None:
    # What it leaves out is hidden; broadcast, one column would show all.
    network = load(attention(np.zeros((3, 1))))
    with pytest.raises(UnsupportedError, match=r"PL0304.*as many columns as there are keys"):
        record(network, input_shapes(network))
