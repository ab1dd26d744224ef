"""Mutated files end in a coded error or in a model, soon; the seeds are fixed, so a failure can be repeated."""

import faulthandler
import random
import time
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from pathlift.frontend.read import read_model
from pathlift.ir.errors import PathliftError

MEMORY_LIMIT = 2**24
SECONDS_PER_INPUT = 5.0


def info(name, shape=("N", 4), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name, *shape):
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def model(nodes, inputs, outputs, initializers=(), functions=(), **more):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers), **more)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1), helper.make_opsetid("pathlift", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


def convolution():
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=1),
        helper.make_node("BatchNormalization", ["c", "b", "b", "b", "b"], ["n"], epsilon=1e-3),
        helper.make_node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["p"], ["s"], start=0, end=1),
        helper.make_node("Concat", ["s", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["p", "t"], ["r"]),
        helper.make_node("Gemm", ["r", "w", ""], ["y"], transB=1, alpha=0.5),
    ]
    rest = helper.make_tensor("rest", TensorProto.INT64, [1], [-1])
    tensors = [weight("k", 2, 1, 3, 3), weight("b", 2), weight("w", 3, 8), rest]
    return model(nodes, [info("x", ("N", 1, 4, 4))], [info("y", ("N", 3))], tensors)


def control_flow():
    def branch(op):
        nodes = [helper.make_node(op, ["x"], [f"{op}_h"]), helper.make_node("Add", [f"{op}_h", "x"], [f"{op}_o"])]
        return helper.make_graph(nodes, op, [], [info(f"{op}_o")], [weight(f"{op}_w", 4)])

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Relu", ["v"], ["w"])],
        "body",
        [info("i", (), TensorProto.INT64), info("go", (), TensorProto.BOOL), info("v")],
        [info("again", (), TensorProto.BOOL), info("w")],
    )
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=branch("Relu"), else_branch=branch("Neg")),
        helper.make_node("Loop", ["", "c", "z"], ["y"], body=body),
        helper.make_node("SequenceConstruct", ["x", "y"], ["q"]),
    ]
    outputs = [info("y"), helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None)]
    return model(nodes, [info("x"), info("c", (), TensorProto.BOOL)], outputs)


def functions():
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    defaults = [helper.make_attribute("slope", 0.1)]
    inner = helper.make_function("f", "Inner", ["a"], ["b"], [leaky], imports, attribute_protos=defaults)
    calls = [helper.make_node("Inner", ["a"], ["h"], domain="f"), helper.make_node("Inner", ["h"], ["b"], domain="f")]
    outer = helper.make_function("f", "Outer", ["a"], ["b"], calls, imports)
    body = [helper.make_node("MatMul", ["a", "l"], ["h"]), helper.make_node("MatMul", ["h", "r"], ["b"])]
    kept = helper.make_function("pathlift", "KSLinear", ["a", "l", "r"], ["b"], body, imports)
    nodes = [
        helper.make_node("Outer", ["x"], ["h"], domain="f"),
        helper.make_node("KSLinear", ["h", "l", "l"], ["y"], domain="pathlift"),
    ]
    return model(nodes, [info("x")], [info("y")], [weight("l", 4, 4)], [inner, outer, kept])


def many_tensors():
    sparse = helper.make_sparse_tensor(weight("sp", 2), numpy_helper.from_array(np.array([1, 5]), "i"), [2, 3])
    tensors = [
        helper.make_tensor("s", TensorProto.STRING, [2], [b"a", b"b"]),
        helper.make_tensor("h", TensorProto.FLOAT16, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("i4", TensorProto.INT4, [3], [1, -2, 3]),
        helper.make_tensor("d", TensorProto.DOUBLE, [2], [1.0, 2.0]),
        helper.make_tensor("u", TensorProto.UINT32, [2], [1, 2]),
    ]
    pair = helper.make_sparse_tensor(weight("", 1), numpy_helper.from_array(np.array([[0, 1]])), [2, 2])
    nodes = [
        helper.make_node("Constant", [], ["k"], sparse_value=pair),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Dropout", ["x", "", ""], ["z", ""]),
    ]
    outputs = [info("y", (3,)), info("z"), info("k", (2, 2))]
    return model(nodes, [info("x")], outputs, tensors, sparse_initializer=[sparse])


def external():
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [info("x")], [info("y")], [weight("w", 4, 4)])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "8", "length": "64"}.items():
        tensor.external_data.add(key=key, value=value)
    return made


SEEDS = [made().SerializeToString() for made in (convolution, control_flow, functions, many_tensors, external)]


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice([0, 1, 2, 7, 8, 10, 18, 127, 128, 255])


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 40)]


def repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 200)] * rng.choice([1, 1, 30])


def splice(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(SEEDS)
    start, length = rng.randrange(len(other)), rng.randrange(1, 120)
    at = rng.randrange(len(data))
    data[at : at + rng.choice([0, length])] = other[start : start + length]


def lengthen(data: bytearray, rng: random.Random) -> None:
    """Write a huge number where a length, a dimension or a version may be."""
    at = rng.randrange(len(data))
    data[at : at + 1] = rng.choice(
        [b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\x80\x80\x80\x80\x10", b"\xe8\x07"]
    )


# Those that keep lengths get past the parser more often.
MUTATIONS = [*[flip] * 5, *[overwrite] * 4, truncate, remove, repeat, splice, lengthen]


def shuffle_fields(message, rng: random.Random) -> None:
    """Change a parsed message, so that the outcome always gets past the parser."""
    reached = [message]
    while (
        nested := [v for f, value in reached[-1].ListFields() if f.type == f.TYPE_MESSAGE for v in _each(f, value)]
    ) and (len(reached) < 3 or rng.random() < 0.7):
        reached.append(rng.choice(nested))
    target = rng.choice(reached[1:] or reached)
    field, value = rng.choice(target.ListFields() or [(None, None)])
    if field is None:
        return
    if rng.random() < 0.3:
        target.ClearField(field.name)
    elif field.is_repeated:
        _shuffle_list(field, value, rng)
    elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        setattr(target, field.name, rng.choice([value[:-1], value + value, value[:0], *_names(field, rng)]))
    elif field.type in (field.TYPE_INT32, field.TYPE_INT64):
        setattr(target, field.name, rng.choice([0, -1, 1, value + 1, value - 1, 2**31 - 1, -(2**31), 65]))
    elif field.type == field.TYPE_ENUM:
        setattr(target, field.name, rng.choice(field.enum_type.values).number)


def _names(field, rng):
    names = ["x", "y", "h", "w", "Relu", "Concat", "If", "f", "pathlift", "../w.bin", "", "\0", "-1"]
    chosen = rng.choice(names)
    return [chosen if field.type == field.TYPE_STRING else chosen.encode()]


def _each(field, value):
    return value if field.is_repeated else [value]


def _shuffle_list(field, values, rng: random.Random) -> None:
    at = rng.randrange(len(values))
    if rng.random() < 0.4:
        del values[at]
    elif field.type == field.TYPE_MESSAGE:
        values.append(values[at])
    elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
        values[at] = _names(field, rng)[0]
    elif field.type in (field.TYPE_INT32, field.TYPE_INT64):
        values[at] = rng.choice([0, -1, 1, 2**31 - 1, -(2**31), values[at] + 1])
    else:
        values.append(values[at])


def bytewise(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def fieldwise(rng: random.Random) -> bytes:
    made = onnx.ModelProto.FromString(rng.choice(SEEDS))
    for _ in range(rng.choice([1, 1, 2, 4])):
        shuffle_fields(made, rng)
    return made.SerializeToString()


def survive(mutate, seeds: range, folder) -> Counter[str]:
    """Read what `mutate` makes of each seed and count the outcomes."""
    (folder / "w.bin").write_bytes(bytes(72))
    outcomes: Counter[str] = Counter()
    faulthandler.enable()  # a crash of a library should at least say where
    for seed in seeds:
        data = mutate(random.Random(seed))
        message = ""
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_model(data, base_dir=folder, memory_limit=MEMORY_LIMIT)
            outcomes["read"] += 1
        except PathliftError as error:
            message = str(error)
            outcomes[error.code] += 1
        except BaseException as error:
            error.add_note(f"{mutate.__name__}, seed {seed}")
            raise
        assert len(message.splitlines()) <= 1
        assert len(message) < 2000
        assert time.process_time() - start < SECONDS_PER_INPUT, f"{mutate.__name__}, seed {seed}"
    return outcomes


@pytest.mark.parametrize("data", SEEDS)
def test_the_seeds_are_valid(data, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(72))
    assert set(read_model(data, base_dir=tmp_path).warnings) <= {"sparse tensors are read as dense ones"}


@pytest.mark.parametrize("mutate", [bytewise, fieldwise])
def test_mutations(mutate, tmp_path):
    outcomes = survive(mutate, range(1500), tmp_path)
    assert outcomes["read"] > 100, outcomes  # else it is not the checks that are being tested
    assert len(outcomes) > 15, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("mutate", [bytewise, fieldwise])
@pytest.mark.parametrize("part", range(4))
def test_many_mutations(mutate, part, tmp_path):
    survive(mutate, range(10_000 * (part + 1), 10_000 * (part + 2)), tmp_path)
