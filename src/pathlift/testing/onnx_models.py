"""Small ONNX models in a line each, for tests of what reads them.

>>> from pathlift.testing.onnx_models import info, model, node
>>> proto = model([node("Neg", "x", "h"), node("Relu", "h", "y")], [info("x")], [info("y")])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from pathlift.ir.types import Array

__all__ = ["external", "f32", "info", "model", "node"]


def node(op_type: str, inputs: str = "", outputs: str = "y", **attributes: Any) -> NodeProto:
    """Return a node; names are separated by spaces, and ``_`` is one that is left out."""
    read, made = (["" if name == "_" else name for name in text.split()] for text in (inputs, outputs))
    return helper.make_node(op_type, read, made, **attributes)


def info(
    name: str, shape: Sequence[int | str | None] | None = ("N", 2), dtype: int = TensorProto.FLOAT
) -> ValueInfoProto:
    """Return the declaration of a tensor; a shape of ``None`` is unknown."""
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto] = (),
    outputs: Iterable[ValueInfoProto] = (),
    initializers: Iterable[TensorProto] = (),
    *,
    opsets: Iterable[tuple[str, int]] = (("", 18),),
    ir_version: int = 10,
    **graph: Any,
) -> ModelProto:
    """Return a model; `graph` are further fields of its graph. Nothing is checked."""
    made = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers), **graph)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    return helper.make_model(made, opset_imports=imports, ir_version=ir_version)


def external(tensor: TensorProto, location: str = "w.bin", **entries: Any) -> TensorProto:
    """Let a tensor's values lie in another file, at ``offset`` and of ``length``, and return it."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def f32(rng: np.random.Generator, *shape: int) -> Array:
    """Return normally distributed numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)
