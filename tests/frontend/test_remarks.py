"""Remarks of a file beside its network: said again, field by field, or a warning that it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from pathlift.frontend.load import load, load_with_report
from pathlift.frontend.save import save, to_onnx
from pathlift.ir.text import print_graph
from pathlift.ir.types import Param
from pathlift.testing.onnx_models import info, model, node

LEFT_OUT = {
    "ModelProto.training_info": "warned of",
    "ModelProto.configuration": "warned of",
    "NodeProto.device_configurations": "warned of",
    "GraphProto.sparse_initializer": "warned of",
    "TensorProto.segment": "no tool writes it, and a tensor in pieces is refused",
    **dict.fromkeys(
        [f"TensorProto.{kind}_data" for kind in ("float", "int32", "string", "int64", "double", "uint64", "external")],
        "another encoding of the same values",
    ),
    "TensorProto.data_location": "another encoding of the same values",
    "Tensor.elem_type": "covered by the loop over types",
    "TypeProto.map_type": "in tests of types that are no tensors'",
    "TypeProto.opaque_type": "refused",
    "TypeProto.sparse_tensor_type": "carried like a sequence",
    "AttributeProto.ref_attr_name": "of functions, which are inlined",
    "AttributeProto.sparse_tensor": "refused but in Constant",
    "AttributeProto.sparse_tensors": "refused",
    "AttributeProto.tp": "of opaque nodes, like all other attributes",
    "AttributeProto.type_protos": "of opaque nodes, like all other attributes",
    **dict.fromkeys(
        (
            "FunctionProto.attribute",
            "FunctionProto.attribute_proto",
            "FunctionProto.overload",
            "FunctionProto.value_info",
        ),
        "of functions that are carried as they are",
    ),
}
"""Fields that are not compared here, and why."""


def remark(message: Any, text: str) -> Any:
    """Add a doc string and metadata."""
    message.doc_string = f"{text} doc"
    message.metadata_props.add(key=f"{text} key", value="1")
    return message


def full() -> ModelProto:
    """Return a model that fills every field there is, but those that are left out."""
    x, y, h, w, u = (
        info("x", ("N", 2)),
        info("y", ("N", 2)),
        info("h", ("N", 2)),
        info("w", (2, 2)),
        info("u", ("N", 2)),
    )
    s = onnx.ValueInfoProto(name="s")
    s.type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2])))
    o = onnx.ValueInfoProto(name="o")
    o.type.CopyFrom(helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2])))
    for value in (x, y, h, w, u, s):
        remark(value, value.name).type.denotation = f"{value.name} denotation"
    for value in (x, y, h):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.denotation = f"{value.name}{axis}"
    body = helper.make_graph([node("Neg", "h", "n")], "body", [], [info("n", ("N", 2))])
    values: dict[str, Any] = {"f": 0.5, "i": 3, "s": "text", "fs": [0.5], "is": [3], "ss": ["text"], "g": body}
    values |= {"t": numpy_helper.from_array(np.ones(2, np.float32)), "gs": [body]}
    values |= {"ts": [numpy_helper.from_array(np.ones(2, np.float32))]}
    custom = helper.make_node("Custom", ["h"], ["u"], name="custom", domain="com.example", overload="v2", **values)
    for attribute in custom.attribute:
        attribute.doc_string = "of an attribute"
    call = helper.make_node("Mine", ["u"], ["y"], name="call", domain="pathlift")
    nodes = [remark(node("MatMul", "x w", "h", name="product"), "node"), custom, call]
    weights = numpy_helper.from_array(np.float32([[1, 2], [3, 4]]), "w")
    scale = numpy_helper.from_array(np.float32(0.5), "scale")
    made = model(
        nodes,
        [x, s, o],
        [y],
        [remark(weights, "tensor"), scale],
        opsets=[("", 18), ("com.example", 2), ("pathlift", 1)],
    )
    made.graph.value_info.extend([w, h, u])
    annotation = made.graph.quantization_annotation.add(tensor_name="h")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    made.producer_name, made.producer_version, made.domain, made.model_version = "us", "1", "org", 7
    remark(made, "model")
    remark(made.graph, "graph")
    function = helper.make_function(
        "pathlift", "Mine", ["a"], ["b"], [node("Relu", "a", "b", name="r")], [helper.make_opsetid("", 18)]
    )
    made.functions.append(remark(function, "function"))
    return made


def fields(message: Message) -> Iterator[str]:
    """Yield the fields that are set, at any depth."""
    for field, value in message.ListFields():
        yield f"{message.DESCRIPTOR.name}.{field.name}"
        if field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                yield from fields(part)


def known(descriptor: Any, seen: set[str]) -> Iterator[str]:
    """Yield the fields of a kind of message, and of those it may hold."""
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            yield f"{descriptor.name}.{field.name}"
            if field.message_type is not None and f"{descriptor.name}.{field.name}" not in LEFT_OUT:
                yield from known(field.message_type, seen)


def test_every_field_is_filled_or_left_out_for_a_reason() -> None:
    every = set(known(ModelProto.DESCRIPTOR, set()))
    assert every - set(fields(full())) - set(LEFT_OUT) == set()


def test_every_field_is_saved_as_it_came() -> None:
    given = full()
    for name, graph in (("loaded", load(given)), ("loaded again", load(to_onnx(load(given))))):
        saved = to_onnx(graph)
        saved.graph.value_info.sort(key=lambda v: v.name)
        given.graph.value_info.sort(key=lambda v: v.name)
        assert differences(given, saved) == [], name
        assert differences(saved, given) == [], name


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Name the fields of one message that another has not, or otherwise."""
    found = []
    for field, value in a.ListFields():
        other, here = getattr(b, field.name), f"{where}.{field.name}"
        if field.type != field.TYPE_MESSAGE:
            found += [] if value == other else [f"{here}: {value!r}, {other!r}"]
        elif not field.is_repeated:
            found += differences(value, other, here)
        elif len(value) != len(other):
            found.append(f"{here}: {len(value)} and {len(other)}")
        else:
            for i, pair in enumerate(zip(value, other, strict=True)):
                found += differences(*pair, f"{here}[{i}]")
    return found


@pytest.mark.parametrize("threshold", [2**30, 0])
def test_files_say_it_too(tmp_path: Any, threshold: int) -> None:
    given = full()
    big = numpy_helper.from_array(np.zeros((2, 2, 99, 9), np.float32), "big")
    given.graph.initializer.append(remark(big, "big"))
    save(load(given), tmp_path / "m.onnx", external_threshold=threshold)
    saved = {t.name: t for t in onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer}
    for name in ("w", "big"):
        assert saved[name].doc_string == f"{'tensor' if name == 'w' else 'big'} doc"
        assert len(saved[name].metadata_props) == 1


def test_scales_are_said_only_of_what_they_were_said_of() -> None:
    graph = load(full())
    assert len(to_onnx(graph).graph.quantization_annotation) == 1
    b = graph.edit()
    b.replace_node("w", value=Param.of(np.float32([[2, 4], [6, 8]])))
    assert len(to_onnx(b.finish()).graph.quantization_annotation) == 0


def test_what_a_pass_says_of_a_parameter_is_not_undone() -> None:
    graph = load(full())
    b = graph.edit()
    origin = graph["w"].origin
    b.replace_node("w", origin=origin.merged(type(origin)((), "more")))
    (w,) = (v for v in to_onnx(b.finish()).graph.value_info if v.name == "w")
    assert w.doc_string == "w doc\ntensor doc\nmore"


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [
        (lambda m: m.training_info.add(), "training information is ignored"),
        (lambda m: m.configuration.add(name="two", num_devices=2), "what is said about devices is ignored"),
        (
            lambda m: m.graph.node[0].device_configurations.add(configuration_id="two"),
            "what is said about devices is ignored",
        ),
    ],
)
def test_what_is_not_kept_is_warned_of(spoil: Any, warning: str) -> None:
    given = model([node("Relu", "x")], [info("x")], [info("y")])
    spoil(given)
    assert warning in load_with_report(given)[1].warnings


def test_sparse_tensors_are_warned_of() -> None:
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [1]),
        [2],
    )
    given = model([node("Add", "x w")], [info("x")], [info("y")], sparse_initializer=[sparse])
    assert "sparse tensors are read as dense ones" in load_with_report(given)[1].warnings


def test_attributes_of_lowered_nodes_keep_their_doc_strings() -> None:
    given = model([node("LeakyRelu", "x", alpha=0.5)], [info("x")], [info("y")])
    given.graph.node[0].attribute[0].doc_string = "slope"
    assert to_onnx(load(given)).graph.node[0].attribute[0].doc_string == "slope"
    assert given.graph.node[0].attribute[0].type == AttributeProto.FLOAT


@pytest.mark.parametrize(("read", "said"), [("N", "M"), (None, "B"), ("unk__1", "unk__2"), (3, "M")])
def test_extents_have_the_names_of_the_file(read: str | int | None, said: str) -> None:
    nodes = [node("Relu", "x", "h"), node("Neg", "h", "y")]
    given = model(nodes, [info("x", (read, 2))], [info("y", (said, 2))], opsets=[("", 17)])
    given.graph.value_info.append(info("h", (said, 2)))
    graph = load(given)
    saved = to_onnx(graph)
    # What is proved to be a number is written as one.
    kept = {"dim_param": said} if read != 3 else {"dim_value": 3}
    for entry in (*saved.graph.output, *saved.graph.value_info):
        dim = entry.type.tensor_type.shape.dim[0]
        assert {d.name: value for d, value in dim.ListFields()} == kept
    assert print_graph(load(saved)) == print_graph(graph)
    b = graph.edit()
    b.connect(b.value("y").node, 0, b.op("Abs", "h", name="a"))
    changed = to_onnx(b.finish()).graph
    names = {v.name: v.type.tensor_type.shape.dim[0].dim_param for v in (*changed.output, *changed.value_info)}
    assert names["y"] == ("" if read == 3 else said)  # callers know it
    assert names["h"] != said


def test_annotations_inside_subgraphs_are_warned_of() -> None:
    body = helper.make_graph([node("Relu", "x", "z")], "body", [], [info("z", ("N", 2))])
    body.quantization_annotation.add(tensor_name="z")
    branches = node("If", "c", "y", then_branch=body, else_branch=body)
    given = model([branches], [info("x", ("N", 2)), info("c", (), TensorProto.BOOL)], [info("y", ("N", 2))])
    assert "quantization annotations inside subgraphs are ignored" in load_with_report(given)[1].warnings
