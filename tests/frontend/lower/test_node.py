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
