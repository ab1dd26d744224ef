"""Large weights are views of the file: what is read is the same, and nothing that is refused is let through."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from pathlift.frontend.load import load
from pathlift.frontend.read import read_model, weights
from pathlift.ir.errors import InvalidModelError
from pathlift.ir.types import DTYPES


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LARGE", 1)


def model_of(*tensors: TensorProto) -> ModelProto:
    graph = helper.make_graph([], "g", [], [helper.make_empty_tensor_value_info(tensors[0].name)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def values(data: bytes) -> dict[str, np.ndarray]:
    return {str(v.name): v.const_value.numpy() for v in read_model(data).model.graph.initializers.values()}


def holds(model: bytes, tensor: TensorProto) -> bool:
    """Whether the parser still gets the values of a tensor."""
    parsed = ModelProto.FromString(weights.cut(model, "elsewhere"))
    (found,) = (t for t in parsed.graph.initializer if t.name == tensor.name)
    return bool(found.SerializeToString() == tensor.SerializeToString())


@pytest.mark.parametrize("name", [name for name in DTYPES if name != "str"])
def test_every_type_is_read_as_it_was(name: str) -> None:
    wanted = (1 + np.arange(15).reshape(3, 5) % 2).astype(DTYPES[name])
    tensor = numpy_helper.from_array(wanted, "w")
    data = model_of(tensor, numpy_helper.from_array(np.ones(3), "v")).SerializeToString()
    assert not holds(data, tensor)
    found = values(data)
    assert found["w"].dtype == wanted.dtype
    np.testing.assert_array_equal(found["w"], wanted)
    np.testing.assert_array_equal(found["v"], np.ones(3))


def test_what_is_said_of_a_tensor_stays() -> None:
    tensor = numpy_helper.from_array(np.ones(3), "w")
    tensor.doc_string, tensor.data_location = "mine", TensorProto.DEFAULT
    helper.set_model_props(tensor, {"a": "b"})
    data = model_of(tensor).SerializeToString()
    assert not holds(data, tensor)
    (value,) = read_model(data).model.graph.initializers.values()
    assert (value.const_value.doc_string, dict(value.const_value.metadata_props)) == ("mine", {"a": "b"})


def test_parts_of_a_message_add_up() -> None:
    first, second = (model_of(numpy_helper.from_array(np.full(n, n), f"w{n}")) for n in (2, 3))
    rest = ModelProto(graph=GraphProto(initializer=second.graph.initializer))
    found = values(first.SerializeToString() + rest.SerializeToString())
    assert {name: list(array) for name, array in found.items()} == {"w2": [2, 2], "w3": [3, 3, 3]}


def two_places(tensor: TensorProto) -> None:
    tensor.double_data.extend([1.0, 1.0, 1.0])


def elsewhere(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL


def shorter(tensor: TensorProto) -> None:
    tensor.raw_data = tensor.raw_data[:-1]


@pytest.mark.parametrize(("change", "code"), [(two_places, "0124"), (elsewhere, "0134"), (shorter, "0123")])
def test_what_is_wrong_is_still_refused(change: Callable[[TensorProto], None], code: str) -> None:
    tensor = numpy_helper.from_array(np.ones(3), "w")
    change(tensor)
    with pytest.raises(InvalidModelError, match=f"PL{code} tensor 'w'"):
        read_model(model_of(tensor).SerializeToString())


def test_values_that_are_there_twice_are_left_to_the_parser() -> None:
    tensor = numpy_helper.from_array(np.ones(2), "w")
    data = tensor.SerializeToString() + TensorProto(raw_data=np.array([3.0, 4.0]).tobytes()).SerializeToString()
    model = model_of(tensor)
    model.graph.ClearField("initializer")
    message = bytes([GraphProto.INITIALIZER_FIELD_NUMBER << 3 | 2, len(data)]) + data
    graph = bytes([ModelProto.GRAPH_FIELD_NUMBER << 3 | 2, len(message)]) + message
    np.testing.assert_array_equal(values(model.SerializeToString() + graph)["w"], [3, 4])


def test_a_truncated_file_is_refused_wherever_it_ends() -> None:
    data = model_of(numpy_helper.from_array(np.ones(3), "w")).SerializeToString()
    for end in range(len(data)):
        with pytest.raises(InvalidModelError, match=r"PL010[12]"):
            read_model(data[:end])


def test_a_file_cannot_refer_to_itself() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "\0", "offset": "0", "length": "4"}.items():
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(InvalidModelError, match="PL0131"):
        read_model(model_of(tensor).SerializeToString(), base_dir=Path())


def test_a_file_cannot_guess_where_weights_are_put(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []

    def cut(data: bytes, location: str) -> bytes:
        places.append(location)
        return weights.cut(data, location)

    monkeypatch.setattr("pathlift.frontend.read.cut", cut)
    data = model_of(numpy_helper.from_array(np.ones(3), "w")).SerializeToString()
    for _ in range(2):
        read_model(data)
    assert len(set(places)) == 2
    assert all(place.startswith("\0") and len(place) > 32 for place in places)


def test_a_file_of_many_fields_takes_no_longer_than_parsing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_FIELDS", 1000)
    data = model_of(numpy_helper.from_array(np.ones(3), "w")).SerializeToString()
    padded = b"\x08\x0a" * 10**7 + data  # the IR version, again and again
    start = time.process_time()
    assert weights.cut(padded, "elsewhere") == padded
    assert time.process_time() - start < 1
    np.testing.assert_array_equal(values(padded)["w"], np.ones(3))


def test_weights_are_not_copied() -> None:
    data = model_of(numpy_helper.from_array(np.arange(3.0), "w")).SerializeToString()
    graph = load(data)
    (param,) = (graph[key].value for key in graph.params)
    assert param is not None
    assert np.shares_memory(param.numpy(), np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(param.numpy(), [0, 1, 2])
