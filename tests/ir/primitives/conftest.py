"""Random tensors, and what is held against a primitive: its own shape rule, and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from pathlift.ir.primitives.base import LinearMap
from pathlift.testing import onnxruntime_session
from pathlift.testing.onnx_models import info, model


@pytest.fixture(scope="session")
def tensor() -> Callable[..., torch.Tensor]:
    """Make a random tensor of a shape."""
    rng = np.random.default_rng(0)
    return lambda *shape: torch.from_numpy(rng.standard_normal(shape))


@pytest.fixture(scope="session")
def check() -> Callable[..., None]:
    """The result is as expected, and its shape is what the primitive says."""

    def check(f: Any, expected: Any, *xs: torch.Tensor) -> None:
        got = f(*xs)
        shapes = [x.shape for x in xs]
        claimed = (
            f.shape(shapes[0], shapes[1] if len(xs) > 1 else None) if isinstance(f, LinearMap) else f.shape(*shapes)
        )
        assert tuple(got.shape) == tuple(claimed) == tuple(np.shape(expected))
        np.testing.assert_allclose(got.numpy(), np.asarray(expected), rtol=1e-5, atol=1e-5)

    return check


@pytest.fixture(scope="session")
def onnx_run() -> Callable[..., np.ndarray | None]:
    """Run one ONNX node; ``None`` is what ONNX Runtime refuses."""

    def run(op: str, x: torch.Tensor, *others: np.ndarray, opset: int = 19, **attrs: Any) -> np.ndarray:
        names = [f"c{i}" for i in range(len(others))]
        constants = [numpy_helper.from_array(c, n) for n, c in zip(names, others, strict=True)]
        proto = model(
            [helper.make_node(op, ["x", *names], ["y"], **attrs)],
            [info("x", x.shape)],
            [],
            constants,
            opsets=[("", opset)],
            ir_version=9,
        )
        proto.graph.output.append(helper.make_empty_tensor_value_info("y"))
        try:
            session = onnxruntime_session(proto.SerializeToString())
            (y,) = session.run(None, {"x": x.numpy().astype(np.float32)})
        except Exception:
            return None
        return y

    return run
