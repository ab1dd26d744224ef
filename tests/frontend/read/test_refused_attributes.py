"""Attributes and types that contradict themselves are refused."""

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, numpy_helper

from pathlift.ir.errors import UnsupportedError
from pathlift.testing.onnx_models import info, model

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def attribute(relu):
    """Make a model whose node has one more attribute."""

    def make(**fields):
        made = relu()
        made.graph.node[0].attribute.add(name="alpha", **fields)
        return made

    return make


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"f": 1.0},
        {"type": AttributeProto.FLOAT, "i": 1},
        {"type": AttributeProto.FLOAT, "f": 1.0, "ints": [1]},
        {"type": AttributeProto.TENSOR},
        {"type": AttributeProto.GRAPH},
        {"type": AttributeProto.FLOAT, "ref_attr_name": "beta"},
    ],
)
def test_malformed_attributes(attribute, refused, fields):
    refused(attribute(**fields), "0117", "'act'", "'alpha'")


def test_repeated_and_unnamed_attributes(attribute, refused):
    made = attribute(type=AttributeProto.FLOAT, f=1.0)
    made.graph.node[0].attribute.add(name="alpha", type=AttributeProto.FLOAT, f=2.0)
    refused(made, "0117", "'alpha'")
    made.graph.node[0].attribute[0].name = ""
    refused(made, "0117")


def test_unknown_attribute_type_is_not_dropped(attribute, refused):
    data = attribute(type=AttributeProto.FLOAT, f=1.0).SerializeToString()
    tag = b"\xa0\x01\x01"  # field 20, type = 1
    assert data.count(tag) == 1
    refused(data.replace(tag, b"\xa0\x01\x63"), "0117", "no type")


def test_string_attributes_that_are_not_utf8(attribute, refused):
    refused(attribute(type=AttributeProto.STRINGS, strings=[b"\xff"]), "0105", "'alpha'")


def test_malformed_types(refused, relu):
    refused(model([], [info("x", dtype=999)]), "0118", "'x'", "999")
    refused(model([], [info("x", (1,) * 65)]), "0118", "'x'", "65")
    made = relu()
    made.graph.input[0].type.sequence_type.SetInParent()
    refused(made, "0118", "'x'")


def test_types_without_representation_are_unsupported(refused, relu):
    made = relu()
    made.graph.value_info.add(name="m").type.opaque_type.name = "own"
    refused(made, "0392", "'m'", error=UnsupportedError)


def test_tensors_that_contradict_their_declaration(refused):
    weight = numpy_helper.from_array(FLOATS, "w")
    refused(model([], [info("w", (3, 2))], [], [weight]), "0119", "'w'")
    refused(model([], [info("w", (2, 3), TensorProto.DOUBLE)], [], [weight]), "0119", "'w'")
