"""One ONNX node as a model: loaded, executed here, and compared with ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pathlift.frontend.load import load
from pathlift.frontend.protos import all_nodes
from pathlift.frontend.save import to_onnx
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.types import UNKNOWN
from pathlift.testing import ieee, onnxruntime_session, op_names

Operand = "Dynamic | np.ndarray | None"


@dataclass(frozen=True)
class Dynamic:
    """A graph input, with a value to run on, and the shape to declare if not the value's own."""

    value: np.ndarray
    shape: tuple[Any, ...] | None = None


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Dynamic],
    constants: dict[str, np.ndarray],
    outputs: Sequence[str],
    opset: int = 20,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(x.value.dtype), x.shape if x.shape is not None else x.value.shape
            )
            for name, x in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def agree(model: onnx.ModelProto, inputs: dict[str, Dynamic], rtol: float = 1e-5, **options: Any) -> Graph:
    """Load a model and compare its execution here with ONNX Runtime's."""
    from pathlift.ir.algebras.interpret import run
    from pathlift.ir.algebras.numeric import Numeric

    graph = load(model.SerializeToString(), **options)
    session = onnxruntime_session(model.SerializeToString())
    expected = session.run(None, {name: x.value for name, x in inputs.items()})
    numeric = Numeric()
    found = run(graph, numeric, {name: numeric.tensor(x.value) for name, x in inputs.items()})
    assert list(found) == [o.name for o in model.graph.output]
    for y, wanted in zip(found.values(), expected, strict=True):
        assert tuple(y.shape) == wanted.shape
        scale = (
            max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))) if wanted.dtype.kind == "f" else 1.0
        )
        np.testing.assert_allclose(y.numpy(), wanted, rtol=rtol, atol=rtol * scale)
    for (key, port), wanted in zip(graph.outputs, expected, strict=True):
        declared = graph[key].types[port].shape
        assert declared is None or all(
            not isinstance(d, int) or d == n for d, n in zip(declared, wanted.shape, strict=True)
        )
    agree_on_every_float(model, session, graph, inputs)
    return graph


CHECKED: Counter[tuple[str, ...]] = Counter()
"""How often the same ops have been made of the same operators: a few times are enough."""


def agree_on_every_float(model: onnx.ModelProto, before: Any, graph: Graph, inputs: dict[str, Dynamic]) -> None:
    """Compare a model with how its graph is spelled out, in ONNX Runtime: infinities, NaN, signed zeros, empty axes."""
    kind = (*(node.op_type for node in all_nodes(model)), *op_names(graph))
    CHECKED[kind] += 1
    if CHECKED[kind] > 5 or "Opaque" in kind or UNKNOWN in [graph[key].types[0] for key in graph.inputs]:
        return
    written = to_onnx(parse_graph(print_graph(graph, max_inline=10**6)))
    after = onnxruntime_session(written.SerializeToString())
    values, shapes = ({n: f(x) for n, x in inputs.items()} for f in (lambda x: x.value, lambda x: x.shape or ()))
    for fed in ieee.odd_feeds(values, shapes):
        ieee.assert_kept(before, after, fed, [node.op_type for node in all_nodes(model)])


Check = Callable[..., Graph]


@pytest.fixture(name="check")
def check_fixture() -> Check:
    def check(
        op_type: str,
        *operands: Any,
        expect: str | Sequence[str] | None = None,
        opset: int = 20,
        outputs: int | Sequence[str] = 1,
        rtol: float = 1e-5,
        run: bool = True,
        **attrs: Any,
    ) -> Graph:
        names = [f"x{i}" if x is not None else "" for i, x in enumerate(operands)]
        made = [f"y{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
        node = helper.make_node(op_type, names, made, name="node", **attrs)
        inputs = {n: x for n, x in zip(names, operands, strict=True) if isinstance(x, Dynamic)}
        constants = {n: x for n, x in zip(names, operands, strict=True) if isinstance(x, np.ndarray | np.generic)}
        model = make_model([node], inputs, constants, [n for n in made if n.startswith("y")], opset)
        graph = agree(model, inputs, rtol) if run else load(model.SerializeToString())
        if expect is not None:
            assert op_names(graph) == ([expect] if isinstance(expect, str) else list(expect))
        return graph

    return check


def given(inputs: dict[str, Any]) -> dict[str, Dynamic]:
    return {name: x if isinstance(x, Dynamic) else Dynamic(x) for name, x in inputs.items()}


@pytest.fixture
def model_of() -> Callable[..., onnx.ModelProto]:
    return lambda nodes, inputs, *rest: make_model(nodes, given(inputs), *rest)


@pytest.fixture
def compare() -> Check:
    """Load a model given by its nodes, and compare its execution here with ONNX Runtime's."""

    def compare(nodes: Any, inputs: dict[str, Any], constants: Any, outputs: Any, opset: int = 20) -> Graph:
        return agree(make_model(nodes, given(inputs), constants, outputs, opset), given(inputs))

    return compare


@pytest.fixture
def dyn() -> type[Dynamic]:
    return Dynamic


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
