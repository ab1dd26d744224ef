"""Errors that ONNX Runtime, torch and NumPy really raise, by how they have to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from pathlift.ir.errors import ExecutionError, PathliftError, UnsafeModelError
from pathlift.ir.foreign import foreign, loading, running
from pathlift.runtime.session import onnxruntime_session

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def model(op: str, *inputs: tuple[int, Sequence[int | str]], opset: int = 17, domain: str = "", **attrs: Any) -> bytes:
    """One node that reads x0, x1, …, of these element types and shapes."""
    names = [f"x{i}" for i in range(len(inputs))]
    infos = [helper.make_tensor_value_info(n, *given) for n, given in zip(names, inputs, strict=True)]
    node = helper.make_node(op, names, ["y"], domain=domain, **attrs)
    output = helper.make_tensor_value_info("y", FLOAT if op == "ConstantOfShape" else inputs[0][0], None)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    proto = helper.make_model(helper.make_graph([node], "g", infos, [output]), opset_imports=opsets, ir_version=8)
    return bytes(proto.SerializeToString())


def unknown_input() -> bytes:
    proto = onnx.ModelProto.FromString(model("Relu", (FLOAT, [2])))
    proto.graph.node[0].input[0] = "nowhere"
    return bytes(proto.SerializeToString())


LOADED = {
    "no protobuf": ("PL0190", 3, b"\xff\x01garbage"),
    "an attribute that the op does not have": ("PL0190", 3, model("Squeeze", (FLOAT, [1, 2]), opset=13, axes=[0])),
    "an op that no version has": ("PL0190", 3, model("Foo", (FLOAT, [2]))),
    "types that differ": ("PL0190", 3, model("Add", (FLOAT, [2]), (INT, [2]))),
    "shapes that do not fit": ("PL0190", 3, model("MatMul", (FLOAT, [2, 3]), (FLOAT, [4, 5]))),
    "a value that nothing computes": ("PL0190", 3, unknown_input()),
    "an op of another domain": ("PL0905", 4, model("Foo", (FLOAT, [2]), domain="made.up")),
    "an element type without a kernel": ("PL0905", 4, model("Relu", (TensorProto.INT16, [2]))),
    "an opset of the future": ("PL0902", 4, model("Relu", (FLOAT, [2]), opset=99)),
}
RUN = {
    "an index out of range": ("PL0903", 4, model("Gather", (FLOAT, [2]), (INT, [1])), [np.ones(2, "f"), np.array([7])]),
    "a shape of another size": (
        "PL0903", 4, model("Reshape", (FLOAT, [2]), (INT, [1])), [np.ones(2, "f"), np.array([7])],
    ),
    "a negative extent": ("PL0903", 4, model("ConstantOfShape", (INT, [1])), [np.array([-1])]),
    "extents that do not broadcast": (
        "PL0903", 4, model("Add", (FLOAT, ["a"]), (FLOAT, ["b"])), [np.ones(2, "f"), np.ones(3, "f")],
    ),
    "a result that no memory holds": ("PL0214", 3, model("ConstantOfShape", (INT, [1])), [np.array([10**14])]),
    "feeds of another type": ("PL1420", 2, model("Relu", (FLOAT, [2])), [np.ones(2)]),
    "feeds of another shape": ("PL1420", 2, model("Relu", (FLOAT, [2])), [np.ones(3, "f")]),
    "feeds of another rank": ("PL1420", 2, model("Relu", (FLOAT, [2])), [np.ones((2, 1), "f")]),
}  # fmt: skip
LIBRARIES: dict[str, tuple[str, Callable[[], object]]] = {
    "an index of torch": ("PL0903", lambda: torch.ones(2)[torch.tensor([5])]),
    "shapes of torch": ("PL0903", lambda: torch.ones(2) + torch.ones(3)),
    "shapes of numpy": ("PL0903", lambda: np.ones(2) + np.ones(3)),
    "memory of torch": ("PL0214", lambda: torch.empty(10**15)),
    "memory of numpy": ("PL0214", lambda: np.ones(10**15)),
}


@pytest.mark.parametrize("what", LOADED)
def test_what_cannot_be_loaded(what: str) -> None:
    code, exit_code, data = LOADED[what]
    with pytest.raises(PathliftError) as error:
        onnxruntime_session(data)
    assert (error.value.code, error.value.exit_code) == (code, exit_code)
    assert "ONNXRuntimeError" not in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize("what", RUN)
def test_what_cannot_be_run(what: str) -> None:
    code, exit_code, data, feeds = RUN[what]
    session = onnxruntime_session(data)
    with pytest.raises(PathliftError) as error, running():
        session.run(None, {f"x{i}": x for i, x in enumerate(feeds)})
    assert (error.value.code, error.value.exit_code) == (code, exit_code)


@pytest.mark.parametrize("what", LIBRARIES)
def test_what_torch_and_numpy_fail_on(what: str) -> None:
    code, fail = LIBRARIES[what]
    with pytest.raises(PathliftError) as error, running():
        fail()
    assert error.value.code == code


@pytest.mark.parametrize("defect", [KeyError("x"), TypeError("t"), AttributeError("a"), AssertionError()])
def test_errors_of_a_program_are_nobody_elses(defect: Exception) -> None:
    with pytest.raises(type(defect)), running():
        raise defect
    with pytest.raises(ExecutionError, match="PL0902"), loading():
        raise defect


def test_coded_errors_pass_as_they_are() -> None:
    said = UnsafeModelError("0211", "too large")
    with (
        pytest.raises(UnsafeModelError) as error,
        foreign("try", lambda reason: ExecutionError("0903", reason), programs=True),
    ):
        raise said
    assert error.value is said


def test_a_message_is_short_and_names_the_kind_of_error() -> None:
    with pytest.raises(ExecutionError) as error, running():
        raise ValueError("long " * 1000 + "\n")
    assert "ValueError: long long" in error.value.message
    assert len(error.value.message) < 400


def test_every_error_of_onnxruntime_has_a_code() -> None:
    state = onnxruntime.capi.onnxruntime_pybind11_state
    kinds = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 9
    for kind in kinds:
        with pytest.raises(PathliftError) as error, running():
            raise kind("[ONNXRuntimeError] : 1 : FAIL : it fails")
        assert error.value.exit_code != 70
