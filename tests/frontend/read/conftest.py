"""Small valid models, and what it means that one is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import InvalidModelError, PathliftError
from pathlift.testing.onnx_models import info, model, node


@pytest.fixture
def refused() -> Callable[..., None]:
    """Call ``refused(source, code, *words)``: reading ends in one line with that code and those words."""

    def check(
        source: Any, code: str, *words: str, error: type[PathliftError] = InvalidModelError, **options: Any
    ) -> None:
        if isinstance(source, onnx.ModelProto):
            source = source.SerializeToString()
        with pytest.raises(error) as caught:
            read_model(source, **options)
        assert caught.value.code == f"PL{code}", str(caught.value)
        assert type(caught.value) is error
        for word in words:
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)

    return check


@pytest.fixture
def mlp() -> onnx.ModelProto:
    """A dense layer with the weights 0 to 5, and a ReLU."""
    w = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w")
    return model([node("MatMul", "x w", "h"), node("Relu", "h", "y")], [info("x")], [info("y", ("N", 3))], [w])


@pytest.fixture
def relu() -> Callable[..., onnx.ModelProto]:
    """Make a valid model of one node, with some of its fields set."""

    def make(**changes: Any) -> onnx.ModelProto:
        made = model([node("Relu", "x", "y", name="act")], [info("x")], [info("y")])
        for field, value in changes.items():
            setattr(made, field, value)
        return made

    return make
