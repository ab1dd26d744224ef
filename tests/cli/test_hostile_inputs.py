"""Hard and hostile model files through the command line: one test per kind of input, ``row_NN`` as in the design.

What is refused is refused by every verb, in one coded line that names the culprit, and nothing is written. What is
supported gives the figure that a few lines of numpy give.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Cli = Callable[..., Any]
Weights = dict[str, np.ndarray]
EVIL = "\x1b[31m<script>alert(1)</script>\x1b]0;owned\x07\n$(touch pwned)\u202e"
W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), name: str | None = None, **attributes: Any):
    return helper.make_node(op, list(inputs), list(outputs), name=f"my_{op}" if name is None else name, **attributes)


def typed(name: str, shape: Sequence[int | str | None] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def graph(
    nodes: Sequence[NodeProto], weights: Weights | None = None, shape: Any = ("N", 2), outputs: Sequence[Any] = ("y",)
) -> GraphProto:
    """A graph of one input ``x``; outputs are names, or typed."""
    ends = [helper.make_empty_tensor_value_info(o) if isinstance(o, str) else o for o in outputs]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    return helper.make_graph(list(nodes), "g", [typed("x", shape)], ends, initializers)


def model(*args: Any, opset: int = 21, ir_version: int = 10, domains: Sequence[str] = (), **fields: Any) -> ModelProto:
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph(*args, **fields), opset_imports=imports, ir_version=ir_version)


def linear(**fields: Any) -> ModelProto:
    """y = x Wᵀ; its path-norm is that of W."""
    return model([node("Gemm", ["x", "w"], transB=1)], {"w": W}, **fields)


def saved(folder: Path, proto: ModelProto | bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def one_line(error: str, *names: str) -> None:
    assert error.startswith("PL0") or error.startswith("warning: ")
    *notes, line = error.splitlines()
    assert all(note.startswith("warning: ") for note in notes)
    assert line[:2] == "PL"
    assert line[2:6].isdigit()
    assert "Traceback" not in error
    assert not set("\x1b\x07\u202e") & set(error)
    for name in names:
        assert name in line, line


def refused(cli: Cli, path: Path, code: int, *names: str, verbs: Sequence[str] = ("inspect", "norm", "opt")) -> None:
    """Every verb, in both formats, ends with `code` and one line that has all `names`; nothing is written."""
    before = contents(path.parent)
    for verb in verbs:
        output = ["-o", str(path.parent / "written.onnx")] if verb == "opt" else []
        for form in ("text", "json"):
            outcome = cli(verb, str(path), *output, "--format", form)
            assert (outcome.code, outcome.out) == (code, ""), (verb, form, outcome)
            one_line(outcome.err, *names)
    assert contents(path.parent) == before


def value(cli: Cli, path: Path, *flags: str, warns: str = "") -> float:
    """The first norm, as JSON gives it; stderr is empty but for a warning that has `warns`."""
    outcome = cli("norm", str(path), "--format", "json", *flags)
    assert outcome.code == 0, outcome.err
    assert (warns in outcome.err) if warns else not outcome.err
    norm = json.loads(outcome.out)["result"]["norms"][0]
    assert norm["upper_log10"] is None or norm["log10"] <= norm["upper_log10"]
    text = cli("norm", str(path), *flags).out.lower()
    assert not any(bad in text.split() for bad in ("inf", "nan", "-inf"))
    return norm["value"]


def carried(cli: Cli, path: Path) -> ModelProto:
    """What `opt` without passes writes, a valid model again."""
    assert cli("inspect", str(path)).code == 0
    output = path.parent / "out.onnx"
    outcome = cli("opt", str(path), "-o", str(output), "--force")
    assert outcome.code == 0, outcome.err
    written = onnx.load(output)
    onnx.checker.check_model(written)
    return written


# Rows 1 and 2: not a model


@pytest.mark.parametrize("data", [b"not protobuf at all", b"\xff" * 100, linear().SerializeToString()[:-9]])
def test_row_01_garbage_and_truncation(pathlift: Cli, tmp_path: Path, data: bytes) -> None:
    refused(pathlift, saved(tmp_path, data), 3, f"{len(data)} bytes")


@pytest.mark.parametrize("missing", ["", "ir_version", "graph", "opset_import"])
def test_row_02_empty_file_and_required_fields(pathlift: Cli, tmp_path: Path, missing: str) -> None:
    proto = linear()
    if missing:
        proto.ClearField(missing)
    refused(pathlift, saved(tmp_path, proto if missing else b""), 3)


# Rows 3 and 4: external data


def externally(tensor: TensorProto, location: str, **entries: Any) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(entry))
    return tensor


@pytest.mark.parametrize(
    ("stored", "entries"),
    [
        (None, {}),
        (W.tobytes()[:-1], {}),
        (W.tobytes(), {"offset": 1}),
        (W.tobytes(), {"length": 10**15}),
        (W.tobytes(), {"offset": 2**63 - 1}),
        (W.tobytes(), {"length": "-1"}),
    ],
    ids=["missing", "short", "shifted", "absurd-length", "absurd-offset", "negative"],
)
def test_row_03_external_data_that_is_not_there(
    pathlift: Cli, tmp_path: Path, stored: bytes | None, entries: dict[str, Any]
) -> None:
    if stored is not None:
        (tmp_path / "w.bin").write_bytes(stored)
    proto = linear()
    externally(proto.graph.initializer[0], "w.bin", **entries)
    refused(pathlift, saved(tmp_path, proto), 3, "'w'")


def in_initializer(location: str) -> ModelProto:
    proto = linear()
    externally(proto.graph.initializer[0], location)
    return proto


def in_attribute(location: str) -> ModelProto:
    constant = node("Constant", [], ["w"], value=externally(numpy_helper.from_array(W, "w"), location))
    return model([constant, node("Gemm", ["x", "w"], transB=1)])


def in_subgraph(location: str) -> ModelProto:
    def branch() -> GraphProto:
        weight = externally(numpy_helper.from_array(W, "w"), location)
        ends = [helper.make_empty_tensor_value_info("b")]
        return helper.make_graph([node("Gemm", ["x", "w"], ["b"], transB=1)], "branch", [], ends, [weight])

    return model([node("If", ["c"], then_branch=branch(), else_branch=branch())], {"c": np.array(True)})


def in_function(location: str) -> ModelProto:
    constant = node("Constant", [], ["w"], value=externally(numpy_helper.from_array(W, "w"), location))
    body = [constant, node("Gemm", ["a", "w"], ["b"], transB=1)]
    proto = model([node("F", ["x"], domain="mine")], domains=["mine"])
    proto.functions.append(helper.make_function("mine", "F", ["a"], ["b"], body, [helper.make_opsetid("", 21)]))
    return proto


@pytest.mark.parametrize("way", ["parent", "absolute", "symlink", "folder-symlink", "hardlink"])
@pytest.mark.parametrize("place", [in_initializer, in_attribute, in_subgraph, in_function])
def test_row_04_external_data_out_of_the_folder(
    pathlift: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, place: Callable[[str], ModelProto]
) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret" / "w.bin"
    folder.mkdir()
    secret.parent.mkdir()
    secret.write_bytes(W.tobytes())
    if way == "symlink":
        (folder / "w.bin").symlink_to(secret)
    elif way == "folder-symlink":
        (folder / "sub").symlink_to(secret.parent)
    elif way == "hardlink":
        os.link(secret, folder / "w.bin")
    location = {"parent": "../secret/w.bin", "absolute": str(secret), "folder-symlink": "sub/w.bin"}.get(way, "w.bin")
    path = saved(folder, place(location))
    refused(pathlift, path, 3, "'w'" if place in (in_initializer, in_subgraph) else "'my_Constant'", verbs=["norm"])
    monkeypatch.chdir(folder)  # a bare file name must not weaken the checks
    outcome = pathlift("norm", "m.onnx")
    assert (outcome.code, outcome.out) == (3, "")


def test_row_04_bytes_have_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlift import PathliftError, norm

    (tmp_path / "w.bin").write_bytes(W.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathliftError, match="base_dir") as refusal:
        norm(in_initializer("w.bin").SerializeToString())
    assert refusal.value.exit_code == 3


# Rows 5 to 9: graphs


def test_row_05_cycle(pathlift: Cli, tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "b"], ["a"], "first"), node("Relu", ["a"], ["b"], "second"), node("Relu", ["b"])]
    refused(pathlift, saved(tmp_path, model(nodes)), 3, "cycle", "'first'", "'second'")


def test_row_06_unsorted_nodes(pathlift: Cli, tmp_path: Path) -> None:
    nodes = [node("Relu", ["h"]), node("Gemm", ["x", "w"], ["h"], transB=1)]
    path = saved(tmp_path, model(nodes, {"w": W}))
    assert value(pathlift, path, warns="warning: ") == np.abs(W).sum()
    assert value(pathlift, path, "-q") == np.abs(W).sum()


@pytest.mark.parametrize("second", ["h", "x", "w"])
def test_row_07_duplicate_value_names(pathlift: Cli, tmp_path: Path, second: str) -> None:
    nodes = [node("Gemm", ["x", "w"], ["h"]), node("Relu", ["h"], [second], "again"), node("Relu", ["h"])]
    refused(pathlift, saved(tmp_path, model(nodes, {"w": W.T})), 3, f"'{second}'", "'again'")


@pytest.mark.parametrize("name", ["", "same"])
def test_row_08_duplicate_and_empty_node_names(pathlift: Cli, tmp_path: Path, name: str) -> None:
    nodes = [node("Gemm", ["x", "w"], ["h"], name, transB=1), node("Relu", ["h"], name=name)]
    path = saved(tmp_path, model(nodes, {"w": W}))
    assert value(pathlift, path, "--per-layer") == np.abs(W).sum()
    first, last = carried(pathlift, path).graph.node
    assert last.name == name
    # Tools go by unique names: the first gets one of its own, and keeps the user's as metadata.
    assert first.name == name or (first.name != last.name and name in first.metadata_props[0].value)


def test_row_09_undefined_input(pathlift: Cli, tmp_path: Path) -> None:
    refused(pathlift, saved(tmp_path, model([node("Add", ["x", "ghost"])])), 3, "'my_Add'", "'ghost'")


# Rows 10 and 11: numbers


@pytest.mark.parametrize("bad", [[np.nan], [np.inf, -np.inf]])
def test_row_10_nan_and_inf_in_weights(pathlift: Cli, tmp_path: Path, bad: list[float]) -> None:
    weight = W.copy()
    weight.reshape(-1)[: len(bad)] = bad
    path = saved(tmp_path, model([node("Gemm", ["x", "w"], transB=1)], {"w": weight}))
    refused(pathlift, path, 3, "'w'", str(len(bad)), verbs=["norm"])
    kept = numpy_helper.to_array(carried(pathlift, path).graph.initializer[0])
    np.testing.assert_array_equal(kept, weight)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_row_11_float_weights_do_not_overflow(pathlift: Cli, tmp_path: Path, dtype: Any) -> None:
    weight = np.full((8, 2), 60000, dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cast = node("Cast", ["x"], ["c"], to=kind)
    path = saved(tmp_path, model([cast, node("MatMul", ["c", "w"])], {"w": weight.T}))
    assert value(pathlift, path) == weight.astype(np.float64).sum()


@pytest.mark.parametrize(
    ("kind", "lowest"),
    [
        (TensorProto.INT8, -128),
        (TensorProto.UINT8, 255),
        (TensorProto.INT4, -8),
        (TensorProto.UINT4, 15),
        (TensorProto.FLOAT8E4M3FN, -448),
        (TensorProto.FLOAT8E5M2, 57344),
    ],
)
def test_row_11_quantized_weights_are_converted_first(pathlift: Cli, tmp_path: Path, kind: int, lowest: float) -> None:
    proto = model([node("DequantizeLinear", ["q", "s"], ["w"]), node("MatMul", ["x", "w"])], {"s": np.float32(0.5)})
    proto.graph.initializer.append(helper.make_tensor("q", kind, [2, 3], [lowest] * 6))
    assert value(pathlift, saved(tmp_path, proto)) == 6 * abs(lowest) * 0.5


# Row 12: quantized models


def test_row_12_quantized_weights_are_exact_and_activations_never_silent(pathlift: Cli, tmp_path: Path) -> None:
    weights = {"q": np.int8([[-128, 1], [0, 127]]), "s": np.float32([0.5, 0.25]), "z": np.int8([1, 0])}
    dequantize = node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0)
    product = node("MatMul", ["x", "w"])
    exact = np.abs((weights["q"].astype(float) - [[1], [0]]) * [[0.5], [0.25]]).sum()
    assert value(pathlift, saved(tmp_path, model([dequantize, product], weights))) == exact

    weights |= {"t": np.float32(0.1), "u": np.uint8(3)}
    gate = [node("QuantizeLinear", ["x", "t", "u"], ["i"]), node("DequantizeLinear", ["i", "t", "u"], ["r"], "back")]
    path = saved(tmp_path, model([*gate, dequantize, node("MatMul", ["r", "w"])], weights))
    outcome = pathlift("norm", str(path), "--format", "json")
    if outcome.code == 0:  # rounding is no path: then not under the name of a path-norm, and said
        envelope = json.loads(outcome.out)
        assert not envelope["result"]["norms"][0]["is_path_norm"]
        assert envelope["assumptions"]
    else:
        refused(pathlift, path, 4, "my_QuantizeLinear", verbs=["norm"])
    carried(pathlift, path)


def test_row_12_integer_operators_are_carried(pathlift: Cli, tmp_path: Path) -> None:
    weights = {
        "s": np.float32(0.1), "z": np.uint8(3), "w": np.int8([[1, -2], [3, 4]]), "ws": np.float32(0.5), "wz": np.int8(0)
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["i"]),
        node("QLinearMatMul", ["i", "s", "z", "w", "ws", "wz", "s", "z"], ["o"]),
        node("DequantizeLinear", ["o", "s", "z"]),
    ]
    path = saved(tmp_path, model(nodes, weights))
    refused(pathlift, path, 4, "my_Q", verbs=["norm"])
    carried(pathlift, path)


# Row 13: tied weights


def test_row_13_shared_initializers(pathlift: Cli, tmp_path: Path) -> None:
    square = np.float32([[1, -2], [3, 0.5]])
    nodes = [node("MatMul", ["x", "w"], ["h"], "a"), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w"], name="b")]
    path = saved(tmp_path, model(nodes, {"w": square}))
    assert value(pathlift, path) == (np.abs(square) @ np.abs(square)).sum()
    assert [t.name for t in carried(pathlift, path).graph.initializer] == ["w"]


# Row 14: versions


@pytest.mark.parametrize(
    ("opset", "ir_version", "as_input"),
    # IR 3 lists initializers among the inputs
    [(7, 3, True), *((*versions, listed) for versions in ((9, 4), (13, 7), (21, 10)) for listed in (True, False))],
)
def test_row_14_versions(pathlift: Cli, tmp_path: Path, opset: int, ir_version: int, as_input: bool) -> None:
    bias = np.float32([1, 1, 1])
    nodes = [node("Gemm", ["x", "w", "b"], transB=1)]
    proto = model(nodes, {"w": W, "b": bias}, opset=opset, ir_version=ir_version, outputs=[typed("y", ["N", 3])])
    if as_input:
        proto.graph.input.extend([typed("w", W.shape), typed("b", bias.shape)])
    path = saved(tmp_path, proto)
    said = "input 'w' has a default value" if as_input and ir_version > 3 else ""
    assert value(pathlift, path, warns=said) == np.abs(W).sum() + 3
    carried(pathlift, path)


@pytest.mark.parametrize("fields", [{"opset": 999}, {"ir_version": 999}, {"opset": 6}, {"ir_version": 2}])
def test_row_14_unknown_versions(pathlift: Cli, tmp_path: Path, fields: dict[str, int]) -> None:
    refused(pathlift, saved(tmp_path, linear(**fields)), 3, *map(str, fields.values()))


# Rows 15 and 16: linear operators


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [None, [1, -2, 3], [[1, -2, 3]], [[2]], -4])
def test_row_15_gemm(pathlift: Cli, tmp_path: Path, trans_a: int, trans_b: int, bias: Any) -> None:
    weights = {"w": W if trans_b else W.T} | ({} if bias is None else {"b": np.float32(bias)})
    gemm = node("Gemm", ["x", *weights], transA=trans_a, transB=trans_b, alpha=-2.0, beta=0.5)
    path = saved(tmp_path, model([gemm], weights, shape=[2, 1] if trans_a else [1, 2]))
    constant = 0 if bias is None else 0.5 * np.abs(np.broadcast_to(np.float32(bias), (1, 3))).sum()
    assert value(pathlift, path) == 2 * np.abs(W).sum() + constant


def test_row_15_weight_on_the_left(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, model([node("MatMul", ["w", "x"])], {"w": W}, shape=[2, 5]))
    assert value(pathlift, path) == 5 * np.abs(W).sum()


@pytest.mark.parametrize(
    ("rank", "attributes"),
    [
        (1, {"pads": [2, 0], "dilations": [2]}),
        (2, {"group": 2, "strides": [2, 1]}),
        (2, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        (2, {"auto_pad": "SAME_LOWER"}),
        (2, {"auto_pad": "VALID"}),
        (2, {"pads": [0, 1, 2, 0], "dilations": [1, 2]}),
        (3, {"pads": [0, 1, 0, 1, 0, 2]}),
    ],
    ids=str,
)
def test_row_16_convolutions(pathlift: Cli, tmp_path: Path, rank: int, attributes: dict[str, Any]) -> None:
    import onnxruntime

    groups = attributes.get("group", 1)
    weight = np.random.default_rng(rank).normal(size=(4, 2 // groups, *[3] * rank)).astype(np.float32)
    shape = [1, 2, *[6] * rank]

    def conv(weight: np.ndarray) -> ModelProto:
        return model([node("Conv", ["x", "w"], **attributes)], {"w": weight}, shape=shape)

    session = onnxruntime.InferenceSession(conv(np.abs(weight)).SerializeToString())
    (magnitudes,) = session.run(None, {"x": np.ones(shape, np.float32)})
    assert value(pathlift, saved(tmp_path, conv(weight))) == pytest.approx(magnitudes.sum(dtype=float), rel=1e-5)


def test_row_16_dynamic_weight(pathlift: Cli, tmp_path: Path) -> None:
    proto = model([node("Conv", ["x", "k"], name="conv3")], shape=["N", 2, 6, 6])
    proto.graph.input.append(typed("k", [4, 2, 3, 3]))
    path = saved(tmp_path, proto)
    refused(pathlift, path, 4, "'conv3'", "Conv", verbs=["norm"])
    assert "conv3" in pathlift("inspect", str(path)).out


# Rows 17 and 18: shapes


def test_row_17_dynamic_and_missing_extents(pathlift: Cli, tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 1, 1), np.float32)
    path = saved(tmp_path, model([node("Conv", ["x", "w"])], {"w": kernel}, shape=["N", 1, "H", None]))
    refused(pathlift, path, 2, "H", "x.3", "--shape", verbs=["norm"])
    assert value(pathlift, path, "--shape", "H=3,x.3=5") == 15
    assert value(pathlift, path, "--shape", "N=7,H=3,x.3=5") == 15  # the norm does not depend on the batch


def tensor_of(dims: Sequence[int]) -> ModelProto:
    proto = linear()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    return proto


@pytest.mark.parametrize("dims", [[-3, 2], [3, 3], [2**40, 2**40], [2**31, 2**32, 0, 7], [3]])
def test_row_18_lying_dimensions(pathlift: Cli, tmp_path: Path, dims: list[int]) -> None:
    refused(pathlift, saved(tmp_path, tensor_of(dims)), 3, "'w'")


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand"])
def test_row_18_bombs(pathlift: Cli, tmp_path: Path, op: str) -> None:
    sizes = np.int64([2**12, 2**12, 2**12])
    made = node(op, ["n"] if op == "ConstantOfShape" else ["one", "n"], ["b"])
    path = saved(tmp_path, model([made, node("Add", ["x", "b"])], {"n": sizes, "one": np.float32([1])}, shape=[1]))
    assert path.stat().st_size < 300
    refused(pathlift, path, 3, f"'my_{op}'", verbs=["norm"])
    # A constant of 64 MB is fine until the user says otherwise.
    small = model([made, node("Add", ["x", "b"])], {"n": np.int64([2**8, 2**8]), "one": np.float32([1])}, shape=[1])
    path = saved(tmp_path, small)
    assert pathlift("norm", str(path)).code == 0
    outcome = pathlift("norm", str(path), "--memory-limit", "100kB")
    assert (outcome.code, outcome.out) == (3, "")
    one_line(outcome.err, f"'my_{op}'")


def test_row_18_extents_of_the_users_own(pathlift: Cli, tmp_path: Path) -> None:
    kernel = np.ones((1, 1, 1, 1), np.float32)
    path = saved(tmp_path, model([node("Conv", ["x", "w"])], {"w": kernel}, shape=["N", 1, "H", "H"]))
    outcome = pathlift("norm", str(path), "--shape", "H=1000000000")
    assert (outcome.code, outcome.out) == (3, "")
    one_line(outcome.err, "x", "--shape")


def test_row_18_zero_size(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, model([node("Relu", ["x"])], shape=["N", 0]))
    assert value(pathlift, path) == 0
    assert json.loads(pathlift("norm", str(path), "--format", "json").out)["result"]["norms"][0]["log10"] is None


# Row 19: control flow


def branch(weight: str) -> GraphProto:
    nodes = [node("MatMul", ["x", weight], ["b"], f"by_{weight}")]
    return helper.make_graph(nodes, weight, [], [helper.make_empty_tensor_value_info("b")])


def test_row_19_if(pathlift: Cli, tmp_path: Path) -> None:
    weights = {"w": W.T, "v": 2 * W.T, "c": np.array(False)}
    nodes = [node("If", ["c"], name="choice", then_branch=branch("w"), else_branch=branch("v"))]
    assert value(pathlift, saved(tmp_path, model(nodes, weights))) == 2 * np.abs(W).sum()
    del weights["c"]
    proto = model(nodes, weights, outputs=[typed("y", ["N", 3])])
    proto.graph.input.append(typed("c", [], TensorProto.BOOL))
    path = saved(tmp_path, proto)
    refused(pathlift, path, 4, "'choice'", "If", verbs=["norm"])
    assert carried(pathlift, path).graph.node[0].op_type == "If"


def test_row_19_loop_and_scan(pathlift: Cli, tmp_path: Path) -> None:
    nodes = [node("Identity", ["go"], ["on"], "keep"), node("Relu", ["a"], ["b"])]
    body = helper.make_graph(
        nodes,
        "body",
        [typed("i", [], TensorProto.INT64), typed("go", [], TensorProto.BOOL), typed("a", ["N", 2])],
        [typed("on", [], TensorProto.BOOL), typed("b", ["N", 2])],
    )
    path = saved(
        tmp_path, model([node("Loop", ["", "", "x"], name="again", body=body)], outputs=[typed("y", ["N", 2])])
    )
    refused(pathlift, path, 4, "'again'", "Loop", verbs=["norm"])
    assert carried(pathlift, path).graph.node[0].op_type == "Loop"

    body = helper.make_graph([node("Relu", ["a"], ["b"])], "body", [typed("a", [2])], [typed("b", [2])])
    path = saved(
        tmp_path,
        model(
            [node("Scan", ["x"], name="sweep", body=body, num_scan_inputs=1)],
            shape=[3, 2],
            outputs=[typed("y", [3, 2])],
        ),
    )
    refused(pathlift, path, 4, "'sweep'", "Scan", verbs=["norm"])
    assert carried(pathlift, path).graph.node[0].op_type == "Scan"


# Row 20: training mode


def test_row_20_training_batch_norm(pathlift: Cli, tmp_path: Path) -> None:
    gemm, statistics = node("Gemm", ["x", "w"], ["h"], transB=1), ["running_mean", "running_var"]
    norm = node("BatchNormalization", [*"hsbmv"], ["y", *statistics], "norm", training_mode=1, epsilon=0.0)
    constants = {"s": [2, 2, 2], "b": [0, 0, 0], "m": [0, 0, 0], "v": [1, 1, 1]}
    weights = {"w": W, **{name: np.float32(c) for name, c in constants.items()}}
    path = saved(tmp_path, model([gemm, norm], weights))
    refused(pathlift, path, 4, "'norm'", "BatchNormalization", "--assume-eval", verbs=["norm"])
    assert value(pathlift, path, "--assume-eval") == 2 * np.abs(W).sum()


@pytest.mark.parametrize("outputs", [["y"], ["y", "mask"]])
def test_row_20_training_dropout(pathlift: Cli, tmp_path: Path, outputs: list[str]) -> None:
    nodes = [node("Gemm", ["x", "w"], ["h"], transB=1), node("Dropout", ["h", "r", "t"], outputs, "drop")]
    path = saved(tmp_path, model(nodes, {"w": W, "r": np.float32(0.5), "t": np.array(True)}))
    refused(pathlift, path, 4, "'drop'", "Dropout", "--assume-eval", verbs=["norm"])
    assert value(pathlift, path, "--assume-eval") == np.abs(W).sum()


# Row 21: size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_row_21_inspect_of_3_gb_reads_no_weights(tmp_path: Path) -> None:
    side, count = 8192, 12
    proto = model(
        [node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"h{i + 1}"]) for i in range(count)],
        shape=["N", side],
        outputs=[f"h{count}"],
    )
    for i in range(count):
        tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[side, side])
        proto.graph.initializer.append(externally(tensor, "w.bin", offset=4 * i * side**2, length=4 * side**2))
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(4 * count * side**2)  # sparse: takes no space
    program = """
import sys
from pathlift.cli.frame import run

code = run(["inspect", sys.argv[1]])
(peak,) = (int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code, peak, "torch" in sys.modules, file=sys.stderr)
"""
    command = [sys.executable, "-c", program, str(saved(tmp_path, proto))]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    code, peak, torch = process.stderr.split()
    assert (code, torch) == ("0", "False")
    assert int(peak) < 200_000  # kB
    assert "3.22 GB" in process.stdout


# Rows 22 to 24: what libraries lose


def test_row_22_sparse_initializer(pathlift: Cli, tmp_path: Path) -> None:
    proto = linear()
    del proto.graph.initializer[:]
    indices = np.int64([0, 1, 2, 4, 5])  # row-major
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(W[W != 0], "w"), numpy_helper.from_array(indices), list(W.shape)
    )
    proto.graph.sparse_initializer.append(sparse)
    path = saved(tmp_path, proto)
    assert value(pathlift, path) == np.abs(W).sum()
    written = carried(pathlift, path)
    assert len(written.graph.initializer) + len(written.graph.sparse_initializer) == 1


def test_row_23_unknown_domain(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, model([node("Mystery", ["x"], domain="com.acme")], domains=["com.acme"]))
    refused(pathlift, path, 4, "'my_Mystery'", "Mystery", verbs=["norm"])
    output = tmp_path / "out.onnx"
    assert pathlift("opt", str(path), "-o", str(output)).code == 0
    kept = onnx.load(output).graph.node[0]
    assert (kept.op_type, kept.domain) == ("Mystery", "com.acme")


def test_row_23_model_local_functions(pathlift: Cli, tmp_path: Path) -> None:
    body = [node("MatMul", ["a", "w"], ["h"], "product"), node("Relu", ["h"], ["b"])]
    proto = model([node("Layer", ["x", "w1"], domain="mine")], {"w1": W.T}, domains=["mine"])
    imports = [helper.make_opsetid("", 21)]
    proto.functions.append(helper.make_function("mine", "Layer", ["a", "w"], ["b"], body, imports))
    assert value(pathlift, saved(tmp_path, proto), "--per-layer") == np.abs(W).sum()


def test_row_24_unusual_values_are_carried(pathlift: Cli, tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w"], transB=1),
        node("SequenceConstruct", ["x", "x"], ["s"]),
        node("Identity", ["text"], ["t"]),
        node("MaxPool", ["image"], ["p", ""], kernel_shape=[2, 2]),
    ]
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    outputs = ["y", sequence, typed("t", [2], TensorProto.STRING), "p"]
    weights = {"w": W, "unused": np.float32([1]), "image": np.ones((1, 1, 4, 4), np.float32)}
    proto = model(nodes, weights, outputs=outputs)
    proto.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [2], [b"a", "\u00e9".encode()]))
    written = carried(pathlift, saved(tmp_path, proto))
    assert [o.name for o in written.graph.output] == ["y", "s", "t", "p"]
    assert {t.name for t in written.graph.initializer} >= {"w", "unused", "text"}


def test_row_24_zero_outputs(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, model([node("Relu", ["x"], ["h"])], outputs=[]))
    outcome = pathlift("inspect", str(path), "--format", "json")
    assert outcome.code in (0, 3)
    if outcome.code == 0:
        assert value(pathlift, path) == 0
    else:
        one_line(outcome.err)


# Rows 26 to 28: writing


def test_row_26_outputs_that_cannot_be_written(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, linear())
    old = tmp_path / "old.onnx"
    old.write_bytes(b"precious")
    (tmp_path / "folder").mkdir()
    before = contents(tmp_path)
    for output in ("old.onnx", "folder", "missing/out.onnx", "old.onnx/out.onnx"):
        outcome = pathlift("opt", str(path), "-o", str(tmp_path / output))
        assert (outcome.code, outcome.out) == (2, "")
        one_line(outcome.err, output.split("/")[0])
    assert contents(tmp_path) == before
    assert pathlift("opt", str(path), "-o", str(old), "--force").code == 0
    assert value(pathlift, old) == np.abs(W).sum()


def test_row_26_the_model_itself_is_a_valid_output(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, linear())
    assert pathlift("opt", str(path), "-o", str(path)).code == 2
    assert pathlift("opt", str(path), "-o", str(path), "--force").code == 0
    assert value(pathlift, path) == np.abs(W).sum()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_row_26_read_only_places(pathlift: Cli, tmp_path: Path) -> None:
    path = saved(tmp_path, linear())
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    outcome = pathlift("opt", str(path), "-o", str(locked / "out.onnx"))
    assert (outcome.code, outcome.out) == (2, "")
    one_line(outcome.err, "out.onnx", "read-only")


def test_row_26_the_disk_fills(pathlift: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = saved(tmp_path, linear())
    old = tmp_path / "old.onnx"
    old.write_bytes(b"precious")
    monkeypatch.setattr(os, "fsync", full)
    outcome = pathlift("opt", str(path), "-o", str(old), "--force")
    assert (outcome.code, outcome.out) == (70, "")
    one_line(outcome.err, "No space left on device")
    assert old.read_bytes() == b"precious"
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "old.onnx"}


@pytest.mark.parametrize("op", ["Gemm", "Mystery"])
def test_row_27_malicious_names(pathlift: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op: str) -> None:
    monkeypatch.chdir(tmp_path)
    proto = model([node(op, ["x", EVIL], [EVIL + "y"], name=EVIL)], {EVIL: W.T}, outputs=[EVIL + "y"])
    path = saved(tmp_path, proto)
    for verb in (["inspect"], ["norm", "--per-layer"], ["opt"], ["norm", "--shape", f"{EVIL}=1"]):
        outcome = pathlift(*verb, str(path))
        assert outcome.code in (0, 2, 3, 4)
        assert not set("\x1b\x07\u202e") & set(outcome.out + outcome.err)
        assert len(outcome.err.splitlines()) <= 1
    envelope = json.loads(pathlift("inspect", str(path), "--format", "json").out)
    assert envelope["result"]["outputs"][0]["name"] == EVIL + "y"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
@pytest.mark.parametrize("moment", ["os.fsync", "os.replace"])
def test_row_28_interrupted_while_saving(tmp_path: Path, number: signal.Signals, code: int, moment: str) -> None:
    path, output = saved(tmp_path, linear()), tmp_path / "out.onnx"
    output.write_bytes(b"precious")
    program = f"""
import os, sys, time
from pathlift.cli import main

def pause(*arguments):
    print("saving", file=sys.stderr, flush=True)
    time.sleep(60)

{moment} = pause
main()
"""
    command = [sys.executable, "-c", program, "opt", str(path), "-o", str(output), "--force"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "saving\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert output.read_bytes() == b"precious"
    left = {p.name for p in tmp_path.iterdir()} - {"m.onnx", "out.onnx"}
    assert not left if number != signal.SIGKILL else all(name.startswith(".pathlift-") for name in left)


def test_as_a_process(tmp_path: Path) -> None:
    """The same through the interpreter: exit codes, streams, and no traceback."""
    (tmp_path / "zero").mkdir()
    cases = [
        (saved(tmp_path, linear()), 0, ""),
        (saved(tmp_path / "zero", b""), 3, "PL01"),
        (tmp_path / "nothing.onnx", 2, "PL0470"),
    ]
    for path, code, start in cases:
        command = [sys.executable, "-m", "pathlift", "inspect", str(path), "--format", "json"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert process.returncode == code
        assert process.stderr.startswith(start)
        assert process.stderr.count("\n") == (1 if code else 0)
        assert bool(process.stdout) == (code == 0)
