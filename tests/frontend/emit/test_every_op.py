"""Every op of the IR as ONNX nodes, at every opset and in every precision, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper

from pathlift.frontend.emit import EMISSIONS
from pathlift.frontend.emit.pointwise import same
from pathlift.frontend.emit.versions import NEWEST
from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.ops import OPS
from pathlift.ir.types import DTYPES, is_float
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, sample, samples


def at_opset(graph: Graph, opset: int) -> Graph:
    return Graph(graph.nx, graph.outputs, replace(graph.info, opsets={"": opset}))


def with_dtype(graph: Graph, dtype: str) -> Graph:
    b = Builder(graph.info)
    for key in graph:
        node = graph[key]
        match node.op:
            case "Input":
                b.input(key, node.types[0].shape, dtype)
            case "Param":
                b.param(node.value.numpy().astype(DTYPES[dtype]) if is_float(node.value.dtype) else node.value, key)
            case _:
                reads = [None if v is None else graph.name_of(v) for v in graph.inputs_of(key)]
                b.node(node.op, *reads, names=node.names, **node.attrs)
    return b.finish(*map(graph.name_of, graph.outputs))


def check(name: str, model: ModelProto) -> None:
    # Before opset 22, ONNX's shape inference counts a window that its operators, and ONNX Runtime, drop.
    onnx.checker.check_model(model, full_check=not name.endswith("dropped_window") or versions(model)[""] >= 22)


def versions(model: ModelProto) -> dict[str, int]:
    return {entry.domain: entry.version for entry in model.opset_import}


def first_opset(op_type: str) -> int:
    history = onnx.defs.get_all_schemas_with_history()
    return min(schema.since_version for schema in history if (schema.name, schema.domain) == (op_type, ""))


def refused(model: ModelProto) -> set[str]:
    """The operators of a model that read or return a type which ONNX does not declare for them."""
    inlined = onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model))
    return set(refused_in(inlined.graph, versions(inlined), {}))


def refused_in(graph: GraphProto, version: dict[str, int], outer: dict[str, int]) -> Iterator[str]:
    types = outer | {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    for node in graph.node:
        schema = onnx.defs.get_schema(node.op_type, version[node.domain], node.domain)
        declared = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        for names, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for name, parameter in zip(names, [*formal, *formal[-1:] * len(names)], strict=False):
                kind = f"tensor({TensorProto.DataType.Name(types.get(name, 0)).lower()})"
                if name in types and kind not in declared.get(parameter.type_str, [kind]):
                    yield node.op_type
        for attribute in node.attribute:
            yield from refused_in(attribute.g, version, types)


def test_every_op_is_written() -> None:
    assert set(EMISSIONS) == set(OPS)


@pytest.mark.parametrize("version", [13, 17, 18, 20, 22])
@pytest.mark.parametrize("name", samples())
def test_same_as_onnxruntime(name: str, version: int) -> None:
    graph = at_opset(sample(name), version)
    model = to_onnx(graph)
    # Sizes of a Resize need every extent, and that of a batch is not known: only opset 18 can leave it out.
    needed = {"Opaque": 18, "Resize/linear": 18, "Resize/align_corners": 18}.get(name, 13)
    operators = (first_opset(node.op_type) for node in model.graph.node if not node.domain)
    assert versions(model)[""] == max(version, needed, *operators)
    check(name, model)
    assert_same_as_onnxruntime(graph)


@pytest.mark.parametrize("version", range(13, NEWEST + 1))
@pytest.mark.parametrize("name", samples())
def test_valid_at_every_opset(name: str, version: int) -> None:
    check(name, to_onnx(at_opset(sample(name), version)))


@pytest.mark.parametrize("version", [13, 22])
@pytest.mark.parametrize("dtype", ["f16", "f64", "bf16"])
@pytest.mark.parametrize("name", [name for name in samples() if name != "Opaque"])
def test_valid_in_every_precision(name: str, dtype: str, version: int) -> None:
    model = to_onnx(at_opset(with_dtype(sample(name), dtype), version))
    missing = refused(model)
    if missing:
        # Nothing but the operator that the op is may lack a type: in place of any other, one that has it could stand.
        assert missing == {"If" if name.startswith("KSLinear") else name.split("/")[0]}
        with pytest.raises((onnx.checker.ValidationError, onnx.shape_inference.InferenceError)):
            onnx.checker.check_model(model, full_check=True)
    else:
        check(name, model)


@pytest.mark.parametrize("dtype", ["f16", "f64"])
@pytest.mark.parametrize(
    "name",
    [
        "Gemm",
        "Clip/offset",
        "Pad/value",
        "Gelu/tanh",
        "HardSwish",
        "FakeQuantize",
        "ReduceMean",
        "Sub",
        "Split",
    ],
)
def test_other_precisions_in_onnxruntime(name: str, dtype: str) -> None:
    graph = with_dtype(sample(name), dtype)
    assert_same_as_onnxruntime(graph, rtol=4e-3 if dtype == "f16" else 1e-6)


@pytest.mark.parametrize("name", OPS)
def test_defaults_are_onnx_s_own(name: str) -> None:
    if EMISSIONS[name] is same:
        schema = onnx.defs.get_schema(name, max_inclusive_version=13)
        for attribute, declared in OPS[name].attributes.items():
            theirs = schema.attributes[attribute]
            assert declared.required or np.float32(declared.default) == helper.get_attribute_value(theirs.default_value)


@pytest.mark.parametrize("version", [13, 18, 22])
@pytest.mark.parametrize("name", samples())
def test_round_trip(name: str, version: int) -> None:
    graph = at_opset(sample(name), version)
    read = load(to_onnx(graph))
    assert_equivalent(graph, read, rtol=1e-6)
    assert str(load(to_onnx(read))) == str(read)
    if name not in SPELLED_ANEW and (version >= 22 or not name.endswith("dropped_window")):
        assert str(read).partition("\n")[2] == str(graph).partition("\n")[2]


# Loading prefers other words for the same: axes that count from the front, Relu, letters, reasons, no epilogues, no
# `ceil_mode` where it adds no window.
SPELLED_ANEW = {"Einsum", "ReduceSum", "Clip/relu", "TopK", "Opaque", "AveragePool/include_pad"}
SPELLED_ANEW |= {f"{pool}/{variant}" for pool in ("AveragePool", "MaxPool") for variant in ("ceil", "dropped_window")}
SPELLED_ANEW |= {f"KSLinear/{variant}" for variant in ("bias", "blocks", "feature_major", "gelu")}
SPELLED_ANEW |= {f"KSLinear/{variant}" for variant in ("residual", "residual_feature_major", "residual_constant")}
