"""Questions to a written model, and opaque nodes to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import DTYPES, TensorType


@pytest.fixture
def op_types() -> Callable[[Graph], list[str]]:
    """The operators that a graph is written in."""
    return lambda graph: [node.op_type for node in to_onnx(graph).graph.node]


@pytest.fixture
def opset() -> Callable[[Graph], int]:
    """The version of the default opset that a graph is written for."""
    return lambda graph: next(entry.version for entry in to_onnx(graph).opset_import if not entry.domain)


@pytest.fixture
def opaque() -> Callable[..., Any]:
    """Add an opaque node to a builder."""

    def add(
        b: Builder, proto: NodeProto, *inputs: Any, version: int, captures: tuple[str, ...] = (), **more: Any
    ) -> Any:
        attrs = {"op_type": proto.op_type, "domain": proto.domain, "version": version, "reason": "it is opaque"}
        types = more.pop("types", [TensorType(DTYPES["f32"], None)] * len(proto.output))
        data = proto.SerializeToString()
        names = more.pop("names", list(proto.output))
        return b.node("Opaque", *inputs, names=names, types=types, proto=data, captures=captures, **attrs, **more)

    return add


@pytest.fixture
def body() -> Callable[[str, list[NodeProto], str], onnx.GraphProto]:
    """Make a subgraph of one output."""
    return lambda name, nodes, output: helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    )
