"""Every operator that ONNX knows, at every version of its schema: a node that is not one of it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema

from pathlift.frontend.load import load
from pathlift.frontend.read.schemas import EXPERIMENTAL, check_node
from pathlift.ir.errors import InvalidModelError
from pathlift.testing import onnxruntime_session
from pathlift.testing.onnx_models import info, model, node

Option = OpSchema.FormalParameterOption
VALUES: dict[str, Any] = {
    "FLOAT": 1.0,
    "INT": 1,
    "STRING": "a",
    "TENSOR": numpy_helper.from_array(np.zeros(1, np.float32), "t"),
    "GRAPH": helper.make_graph([], "g", [], []),
    "SPARSE_TENSOR": onnx.SparseTensorProto(),
    "TYPE_PROTO": helper.make_tensor_type_proto(TensorProto.FLOAT, None),
}
SCHEMAS = [s for s in onnx.defs.get_all_schemas_with_history() if not s.deprecated]


def value(type_: str) -> Any:
    return VALUES[type_] if type_ in VALUES else [VALUES[type_.removesuffix("S")]]


def attribute(name: str, type_: str) -> AttributeProto:
    return helper.make_attribute(name, value(type_))


def minimal(schema: OpSchema) -> NodeProto:
    """Return a node with nothing but what a schema asks for."""
    made = helper.make_node(
        schema.name,
        [f"x{i}" for i in range(schema.min_input)],
        [f"y{i}" for i in range(max(schema.min_output, 1))],
        name="it",
        domain=schema.domain,
    )
    needed = {n: a.type.name for n, a in schema.attributes.items() if a.required}
    if schema.name == "Constant":
        needed = {"value": "TENSOR"}
    made.attribute.extend(attribute(n, t) for n, t in needed.items())
    return made


def refusal(made: NodeProto, schema: OpSchema) -> str:
    with pytest.raises(InvalidModelError) as caught:
        check_node(made, schema.since_version)
    assert all(word in str(caught.value) for word in ("'it'", schema.name, f"opset {schema.since_version}"))
    return str(caught.value)


def each(check: Callable[[OpSchema], None]) -> None:
    assert len(SCHEMAS) > 600
    for schema in SCHEMAS:
        check(schema)


def test_minimal_nodes_are_accepted() -> None:
    each(lambda schema: check_node(minimal(schema), schema.since_version))


def test_left_over_attributes() -> None:
    def check(schema: OpSchema) -> None:
        made = minimal(schema)
        made.attribute.append(attribute("left_over", "INT"))
        text = refusal(made, schema)
        assert text.startswith("PL0160")
        assert "'left_over'" in text
        assert all(name in text for name in schema.attributes)

    each(check)


def test_attributes_of_other_versions() -> None:
    """What another version of an operator has is no attribute of this one."""
    seen = 0
    for schema in SCHEMAS:
        others = [s for s in SCHEMAS if (s.name, s.domain) == (schema.name, schema.domain)]
        for name, declared in {n: a for s in others for n, a in s.attributes.items()}.items():
            if name not in schema.attributes and schema.name != "Constant":
                made = minimal(schema)
                made.attribute.append(attribute(name, declared.type.name))
                assert refusal(made, schema).startswith("PL0160")
                seen += 1
    assert seen > 200


def test_attributes_of_another_type() -> None:
    def check(schema: OpSchema) -> None:
        for name, declared in schema.attributes.items():
            made = minimal(schema)
            kept = [a for a in made.attribute if a.name != name and schema.name != "Constant"]
            del made.attribute[:]
            made.attribute.extend(
                [*kept, attribute(name, "FLOATS" if declared.type.name in ("FLOAT", "INT") else "INT")]
            )
            text = refusal(made, schema)
            assert text.startswith("PL0161")
            assert repr(name) in text

    each(check)


def test_missing_attributes() -> None:
    def check(schema: OpSchema) -> None:
        full = minimal(schema)
        for missing in full.attribute:
            made = NodeProto()
            made.CopyFrom(full)
            del made.attribute[:]
            made.attribute.extend(a for a in full.attribute if a != missing)
            text = refusal(made, schema)
            assert text.startswith("PL0165" if schema.name == "Constant" else "PL0162")
            assert schema.name == "Constant" or repr(missing.name) in text

    each(check)


def test_counts_of_inputs_and_outputs() -> None:
    def check(schema: OpSchema) -> None:
        for fewest, most, names in ((schema.min_input, schema.max_input, "input"), (schema.min_output, 0, "output")):
            most = most or schema.max_output
            for count in (fewest - 1, most + 1):
                if 0 <= count < 1000:
                    made = minimal(schema)
                    del getattr(made, names)[:]
                    getattr(made, names).extend(f"v{i}" for i in range(count))
                    assert refusal(made, schema).startswith("PL0163")

    each(check)


def test_names_that_cannot_be_left_out() -> None:
    def check(schema: OpSchema) -> None:
        for formal, names in ((schema.inputs, "input"), (schema.outputs, "output")):
            for i, parameter in enumerate(formal):
                made = minimal(schema)
                getattr(made, names).extend(f"v{k}" for k in range(len(getattr(made, names)), i + 1))
                getattr(made, names)[i] = ""
                if parameter.option == Option.Single:
                    assert refusal(made, schema).startswith("PL0163")
                elif parameter.option == Option.Optional:
                    check_node(made, schema.since_version)

    each(check)


def test_operators_of_other_opsets() -> None:
    for schema in onnx.defs.get_all_schemas_with_history():
        first = schema.deprecated or not onnx.defs.has(schema.name, schema.since_version - 1, schema.domain)
        at = schema.since_version - (not schema.deprecated)
        if first and at and schema.name not in ("Constant", *EXPERIMENTAL):
            with pytest.raises(InvalidModelError, match=rf"PL0164.*opset {at}.*{schema.name}"):
                check_node(minimal(schema), at)


@pytest.mark.parametrize("fields", [{}, {"value_int": 1, "value_float": 1.0}])
def test_a_constant_has_one_value(refused: Any, fields: dict[str, Any]) -> None:
    refused(model([node("Constant", "", "y", name="it", **fields)], [], [info("y", None)]), "0165", "'it'")


CARRIED = {
    "private": ("Relu", 18, {"__note": 1}),
    "unknown": ("Affine", 7, {"alpha": 1.0, "beta": 0.0}),
    "experimental": ("ThresholdedRelu", 7, {}),
    "fused": ("LayerNormalization", 13, {"axis": -1}),
    "other_domain": ("Binarizer", 18, {"threshold": 0.5}),
}


@pytest.mark.parametrize("name", CARRIED)
def test_what_a_runtime_reads_stays(name: str) -> None:
    op_type, opset, attributes = CARRIED[name]
    inputs = "x x" if op_type == "LayerNormalization" else "x"
    made = node(op_type, inputs, "y", domain="ai.onnx.ml" if name == "other_domain" else "", **attributes)
    proto = model([made], [info("x")], [info("y", None)], opsets=[("", opset), ("ai.onnx.ml", 1)], ir_version=8)
    load(proto)
    onnxruntime_session(proto.SerializeToString())


def test_values_of_a_constant_are_read_at_any_opset() -> None:
    nodes = [node("Constant", "", "c", value_float=2.0), node("Mul", "x c", "y")]
    proto = model(nodes, [info("x")], [info("y", None)], opsets=[("", 9)])
    onnxruntime_session(proto.SerializeToString())
    load(proto)


BAD = node("Softmax", "x", "b", name="it", dim=1)
RETURN = [helper.make_empty_tensor_value_info("b")]


def branches() -> onnx.ModelProto:
    branch = helper.make_graph([BAD], "branch", [], RETURN)
    nodes = [node("If", "c", "y", then_branch=branch, else_branch=branch)]
    return model(nodes, [info("x"), info("c", (), TensorProto.BOOL)], [info("y", None)])


def function(opset: int, outer: int, made: NodeProto = BAD) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", opset)]
    body = helper.make_function("mine", "F", ["x"], ["b"], [made], imports)
    called = [node("F", "x", "y", domain="mine")]
    proto = model(called, [info("x")], [info("y", None)], opsets=[("", outer), ("mine", 1)])
    proto.functions.append(body)
    return proto


def test_every_scope(refused: Any) -> None:
    refused(branches(), "0160", "'it'", "'dim'")
    refused(function(18, 18), "0160", "'it'", "'dim'")


def test_every_scope_has_its_opset(refused: Any) -> None:
    squeeze = node("Squeeze", "x", "b", name="it", axes=[0])
    load(function(12, 12, squeeze))
    with pytest.raises(InvalidModelError, match="PL0160"):
        load(function(13, 12, squeeze))
    with pytest.raises(Exception, match="PL0394"):  # well-formed, and not inlined
        load(function(12, 13, squeeze))


@pytest.mark.parametrize("domain,name", [("mine", "F"), ("", "Softmax")])
def test_functions_of_the_file_have_what_they_like(domain: str, name: str) -> None:
    proto = function(18, 18, node("Neg", "x", "b"))
    for part, field in ((proto.functions[0], "name"), (proto.graph.node[0], "op_type")):
        part.domain = domain
        setattr(part, field, name)
    proto.graph.node[0].attribute.append(helper.make_attribute("anything", 1))
    load(proto)


def test_references_have_the_type_of_the_schema(refused: Any) -> None:
    made = node("Softmax", "x", "b", name="it")
    made.attribute.add(name="axis", type=AttributeProto.INT, ref_attr_name="a")
    proto = function(18, 18, made)
    proto.functions[0].attribute.append("a")
    proto.graph.node[0].attribute.append(helper.make_attribute("a", 0))
    load(proto)
    proto.functions[0].node[0].attribute[0].type = AttributeProto.FLOAT
    refused(proto, "0161", "'it'", "'axis'")
