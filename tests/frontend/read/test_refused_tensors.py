"""Tensors that lie about their size, or are larger than any memory, are refused before they are made."""

import tracemalloc

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import PathliftError, UnsafeModelError, UnsupportedError
from pathlift.testing.onnx_models import info, model, node

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


BOOL = TensorProto.BOOL


CONDITION = info("c", (), BOOL)


def tensor(dims=(2, 3), data_type=TensorProto.FLOAT, name="w", **data):
    return model([], [], [], [TensorProto(name=name, dims=dims, data_type=data_type, **data)])


RAW = FLOATS.tobytes()


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (tensor(data_type=0, raw_data=RAW), "0121"),
        (tensor(data_type=999, raw_data=RAW), "0121"),
        (tensor(data_type=-1, raw_data=RAW), "0121"),
        (tensor((-2, 3), raw_data=RAW), "0122"),
        (tensor((-2, -3), raw_data=RAW), "0122"),
        (tensor((1,) * 65, raw_data=RAW[:4]), "0122"),
        (tensor(raw_data=RAW[:-1]), "0123"),
        (tensor(raw_data=RAW + b"\0"), "0123"),
        (tensor((0, 3), raw_data=RAW), "0123"),
        (tensor(), "0123"),
        (tensor(float_data=[1.0] * 5), "0123"),
        (tensor(float_data=[1.0] * 7), "0123"),
        (tensor(data_type=TensorProto.COMPLEX64, float_data=[1.0] * 6), "0123"),
        (tensor(data_type=TensorProto.INT4, int32_data=[1] * 6), "0123"),
        (tensor((1,), TensorProto.UINT8, int32_data=[256]), "0123"),
        (tensor((1,), TensorProto.UINT32, uint64_data=[2**32]), "0123"),
        (tensor((1,), TensorProto.STRING), "0123"),
        (tensor(int32_data=[1] * 6), "0124"),
        (tensor(raw_data=RAW, float_data=[1.0] * 6), "0124"),
        (tensor((1,), TensorProto.STRING, raw_data=b"a"), "0124"),
        (tensor(raw_data=RAW, segment=TensorProto.Segment(begin=0, end=6)), "0124"),
    ],
)
def test_lying_tensors(refused, made, code):
    refused(made, code, "'w'")


@pytest.mark.parametrize("dims", [(2**40,), (2**32, 2**32), (2**62,) * 4, (0, 2**62)])
@pytest.mark.parametrize("data_type", [TensorProto.FLOAT, TensorProto.INT4, TensorProto.STRING])
def test_absurd_tensors(refused, dims, data_type):
    refused(tensor(dims, data_type), "0211", "'w'", str(dims[-1]), error=UnsafeModelError)


def test_the_memory_limit_is_the_callers(refused):
    refused(tensor(raw_data=RAW), "0211", error=UnsafeModelError, memory_limit=23)
    with pytest.raises(PathliftError, match="PL0212"):
        read_model(__file__, memory_limit=23)
    assert read_model(tensor(raw_data=RAW).SerializeToString(), memory_limit=24)


def test_tensors_of_attributes_and_subgraphs_are_checked(refused):
    lying = TensorProto(dims=[3], data_type=TensorProto.FLOAT, raw_data=b"1234")
    body = helper.make_graph([node("Constant", "", "o", value=lying, name="k")], "branch", [], [info("o")])
    inner = node("If", "c", "y", then_branch=body, else_branch=body)
    refused(model([inner], [CONDITION], [info("y")]), "0123", "'value'", "'k'")


def sparse(indices, dims=(2, 3), values=(5.0, 7.0)):
    made = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"),
        numpy_helper.from_array(np.array(indices), "i"),
        dims,
    )
    return model([], sparse_initializer=[made])


@pytest.mark.parametrize(
    "indices", [[0, 6], [-1, 0], [0, 0], [[0, 1], [0, 1]], [[0, 1], [0, 3]], [[0, 1], [0, -1]], [0], [[0], [1]]]
)
def test_malformed_sparse_tensors(refused, indices):
    refused(sparse(indices), "0125", "'w'")


def test_sparse_bombs_are_not_allocated(refused):
    tracemalloc.start()
    refused(sparse([0, 1], (2**40, 2**40)), "0211", "'w'", error=UnsafeModelError)
    made = sparse([0, 1], (2**20,))
    for index in range(50):
        more = made.graph.sparse_initializer.add()
        more.CopyFrom(made.graph.sparse_initializer[0])
        more.values.name = f"w{index}"
    refused(made, "0211", error=UnsafeModelError, memory_limit=2**23)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_sparse_attributes_of_other_operators_are_unsupported(refused):
    pair = sparse([0, 1]).graph.sparse_initializer[0]
    made = model([node("Mine", "", "y", domain="org.mine", s=pair, name="n")], [], [info("y")])
    refused(made, "0391", "'n'", error=UnsupportedError)
