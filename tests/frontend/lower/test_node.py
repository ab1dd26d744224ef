"""Attributes of a node as its lowering sees them: what they may say, and that they do not contradict it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.errors import InvalidModelError
from pathlift.testing.onnx_models import f32


@pytest.mark.parametrize(
    "op_type,attrs,name",
    [
        ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME"}, "auto_pad"),
        ("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "same_upper"}, "auto_pad"),
        ("DepthToSpace", {"blocksize": 2, "mode": "CDR"}, "mode"),
        ("SpaceToDepth", {"blocksize": 2, "mode": "CDR"}, "mode"),
        ("Gelu", {"approximate": "erf"}, "approximate"),
    ],
)
def test_words_that_an_operator_does_not_know(
    check: Any, dyn: Any, rng: np.random.Generator, op_type: str, attrs: dict[str, Any], name: str
) -> None:
    value = attrs.get(name)
    with pytest.raises(InvalidModelError, match=rf"PL0153 node 'node' \({op_type}\).* its {name} is '{value}'"):
        check(op_type, dyn(f32(rng, 1, 4, 4, 4)), opset=28, run=False, **attrs)


def test_no_word_is_the_default(check: Any, dyn: Any, rng: np.random.Generator) -> None:
    check("MaxPool", dyn(f32(rng, 1, 4, 4, 4)), kernel_shape=[2, 2], auto_pad="", expect="MaxPool")


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_a_kernel_that_is_not_the_weight_s(check: Any, dyn: Any, rng: np.random.Generator, op_type: str) -> None:
    operands = dyn(f32(rng, 1, 4, 4, 4)), f32(rng, 4, 4, 2, 3)
    check(op_type, *operands, kernel_shape=[2, 3], expect=op_type)
    with pytest.raises(InvalidModelError, match=rf"PL0153 node 'node' \({op_type}\).*kernel_shape \[3, 2\]"):
        check(op_type, *operands, kernel_shape=[3, 2], run=False)


@pytest.mark.parametrize(
    "op_type,opset,operands,attrs",
    [
        ("Softmax", 11, [], {"axis": 3}),
        ("LogSoftmax", 7, [], {"axis": 4}),
        ("Gather", 20, [np.array([0])], {"axis": 3}),
        ("Gather", 20, [np.array([0])], {"axis": -4}),
        ("Split", 13, [], {"axis": -4}),
        ("TopK", 20, [np.array([1])], {"axis": 3}),
        ("Slice", 9, [], {"starts": [0], "ends": [1], "axes": [-4]}),
        ("Slice", 20, [np.array([0]), np.array([1]), np.array([-4])], {}),
        ("Pad", 20, [np.array([0, 1]), None, np.array([3])], {}),
        ("ReduceMax", 13, [], {"axes": [-4, 0]}),
        ("Resize", 20, [None, np.ones(1, np.float32)], {"axes": [3]}),
    ],
)
def test_axes_out_of_range(
    check: Any, dyn: Any, rng: np.random.Generator, op_type: str, opset: int, operands: Any, attrs: Any
) -> None:
    outputs = ["y", "i"] if op_type == "TopK" else ["y"]
    with pytest.raises(InvalidModelError, match=rf"PL0153 node 'node' \({op_type}\).*axis -?\d is out of range"):
        check(op_type, dyn(f32(rng, 2, 2, 2)), *operands, opset=opset, outputs=outputs, run=False, **attrs)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_equal_parts_are_equal(check: Any, dyn: Any, rng: np.random.Generator, opset: int) -> None:
    with pytest.raises(InvalidModelError, match=r"PL0153.*5 does not split into 2 equal parts"):
        check("Split", dyn(f32(rng, 5)), opset=opset, outputs=2, run=False)


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "MaxPool", "AveragePool"])
@pytest.mark.parametrize("mode", ["VALID", "SAME_UPPER", "SAME_LOWER"])
def test_two_ways_of_padding_at_once(check: Any, dyn: Any, rng: np.random.Generator, op_type: str, mode: str) -> None:
    operands = [f32(rng, 4, 4, 2, 2)] if op_type.startswith("Conv") else []
    for pads, expect in (([1, 0, 0, 0], "Opaque"), ([0, 0, 0, 0], op_type)):
        attrs: Any = {"kernel_shape": [2, 2], "auto_pad": mode, "pads": pads}
        check(op_type, dyn(f32(rng, 1, 4, 4, 4)), *operands, expect=expect, run=False, **attrs)


def test_an_aspect_ratio_that_is_kept_has_no_scales(check: Any, dyn: Any, rng: np.random.Generator) -> None:
    attrs: Any = {"keep_aspect_ratio_policy": "not_larger", "run": False}
    check("Resize", dyn(f32(rng, 1, 1, 2, 2)), None, np.float32([1, 1, 2, 2]), expect="Opaque", **attrs)
