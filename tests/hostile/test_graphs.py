"""Graphs: cycles, names, versions, control flow, training mode, functions, values that libraries lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import GraphProto, TensorProto, helper

from pathlift.testing.onnx_models import info

W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


def test_row_05_cycle(make: Any, cli: Any, tmp_path: Path) -> None:
    nodes = [
        make.node("Add", ["x", "b"], ["a"], "first"),
        make.node("Relu", ["a"], ["b"], "second"),
        make.node("Relu", ["b"]),
    ]
    cli.refused(make.saved(tmp_path, make.model(nodes)), 3, "cycle", "'first'", "'second'")


def test_row_06_unsorted_nodes(make: Any, cli: Any, tmp_path: Path) -> None:
    nodes = [make.node("Relu", ["h"]), make.node("Gemm", ["x", "w"], ["h"], transB=1)]
    path = make.saved(tmp_path, make.model(nodes, {"w": W}))
    assert cli.value(path, warns="warning: ") == np.abs(W).sum()
    assert cli.value(path, "-q") == np.abs(W).sum()


@pytest.mark.parametrize("second", ["h", "x", "w"])
def test_row_07_duplicate_value_names(make: Any, cli: Any, tmp_path: Path, second: str) -> None:
    nodes = [
        make.node("Gemm", ["x", "w"], ["h"]),
        make.node("Relu", ["h"], [second], "again"),
        make.node("Relu", ["h"]),
    ]
    cli.refused(make.saved(tmp_path, make.model(nodes, {"w": W.T})), 3, f"'{second}'", "'again'")


@pytest.mark.parametrize("name", ["", "same"])
def test_row_08_duplicate_and_empty_node_names(make: Any, cli: Any, tmp_path: Path, name: str) -> None:
    nodes = [make.node("Gemm", ["x", "w"], ["h"], name, transB=1), make.node("Relu", ["h"], name=name)]
    path = make.saved(tmp_path, make.model(nodes, {"w": W}))
    assert cli.value(path, "--per-layer") == np.abs(W).sum()
    first, last = cli.carried(path).graph.node
    assert last.name == name
    # Tools go by unique names: the first gets one of its own, and keeps the user's as metadata.
    assert first.name == name or (first.name != last.name and name in first.metadata_props[0].value)


def test_row_09_undefined_input(make: Any, cli: Any, tmp_path: Path) -> None:
    cli.refused(make.saved(tmp_path, make.model([make.node("Add", ["x", "ghost"])])), 3, "'my_Add'", "'ghost'")


@pytest.mark.parametrize(
    ("opset", "ir_version", "as_input"),
    # IR 3 lists initializers among the inputs
    [(7, 3, True), *((*versions, listed) for versions in ((9, 4), (13, 7), (21, 10)) for listed in (True, False))],
)
def test_row_14_versions(make: Any, cli: Any, tmp_path: Path, opset: int, ir_version: int, as_input: bool) -> None:
    bias = np.float32([1, 1, 1])
    nodes = [make.node("Gemm", ["x", "w", "b"], transB=1)]
    proto = make.model(nodes, {"w": W, "b": bias}, opset=opset, ir_version=ir_version, outputs=[info("y", ["N", 3])])
    if as_input:
        proto.graph.input.extend([info("w", W.shape), info("b", bias.shape)])
    path = make.saved(tmp_path, proto)
    said = "input 'w' has a default value" if as_input and ir_version > 3 else ""
    assert cli.value(path, warns=said) == np.abs(W).sum() + 3
    cli.carried(path)


@pytest.mark.parametrize("fields", [{"opset": 999}, {"ir_version": 999}, {"opset": 6}, {"ir_version": 2}])
def test_row_14_unknown_versions(make: Any, cli: Any, tmp_path: Path, fields: dict[str, int]) -> None:
    cli.refused(make.saved(tmp_path, make.linear(**fields)), 3, *map(str, fields.values()))


def branch(make: Any, weight: str) -> GraphProto:
    nodes = [make.node("MatMul", ["x", weight], ["b"], f"by_{weight}")]
    return helper.make_graph(nodes, weight, [], [helper.make_empty_tensor_value_info("b")])


def test_row_19_if(make: Any, cli: Any, tmp_path: Path) -> None:
    weights = {"w": W.T, "v": 2 * W.T, "c": np.array(False)}
    nodes = [make.node("If", ["c"], name="choice", then_branch=branch(make, "w"), else_branch=branch(make, "v"))]
    assert cli.value(make.saved(tmp_path, make.model(nodes, weights))) == 2 * np.abs(W).sum()
    del weights["c"]
    proto = make.model(nodes, weights, outputs=[info("y", ["N", 3])])
    proto.graph.input.append(info("c", [], TensorProto.BOOL))
    path = make.saved(tmp_path, proto)
    cli.refused(path, 4, "'choice'", "If", verbs=["norm"])
    assert cli.carried(path).graph.node[0].op_type == "If"


def test_row_19_loop_and_scan(make: Any, cli: Any, tmp_path: Path) -> None:
    nodes = [make.node("Identity", ["go"], ["on"], "keep"), make.node("Relu", ["a"], ["b"])]
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("a", ["N", 2])],
        [info("on", [], TensorProto.BOOL), info("b", ["N", 2])],
    )
    path = make.saved(
        tmp_path, make.model([make.node("Loop", ["", "", "x"], name="again", body=body)], outputs=[info("y", ["N", 2])])
    )
    cli.refused(path, 4, "'again'", "Loop", verbs=["norm"])
    assert cli.carried(path).graph.node[0].op_type == "Loop"

    body = helper.make_graph([make.node("Relu", ["a"], ["b"])], "body", [info("a", [2])], [info("b", [2])])
    path = make.saved(
        tmp_path,
        make.model(
            [make.node("Scan", ["x"], name="sweep", body=body, num_scan_inputs=1)],
            shape=[3, 2],
            outputs=[info("y", [3, 2])],
        ),
    )
    cli.refused(path, 4, "'sweep'", "Scan", verbs=["norm"])
    assert cli.carried(path).graph.node[0].op_type == "Scan"


def test_row_20_training_batch_norm(make: Any, cli: Any, tmp_path: Path) -> None:
    gemm, statistics = make.node("Gemm", ["x", "w"], ["h"], transB=1), ["running_mean", "running_var"]
    norm = make.node("BatchNormalization", [*"hsbmv"], ["y", *statistics], "norm", training_mode=1, epsilon=0.0)
    constants = {"s": [2, 2, 2], "b": [0, 0, 0], "m": [0, 0, 0], "v": [1, 1, 1]}
    weights = {"w": W, **{name: np.float32(c) for name, c in constants.items()}}
    path = make.saved(tmp_path, make.model([gemm, norm], weights))
    cli.refused(path, 4, "'norm'", "BatchNormalization", "--assume-eval", verbs=["norm"])
    assert cli.value(path, "--assume-eval") == 2 * np.abs(W).sum()


@pytest.mark.parametrize("outputs", [["y"], ["y", "mask"]])
def test_row_20_training_dropout(make: Any, cli: Any, tmp_path: Path, outputs: list[str]) -> None:
    nodes = [make.node("Gemm", ["x", "w"], ["h"], transB=1), make.node("Dropout", ["h", "r", "t"], outputs, "drop")]
    path = make.saved(tmp_path, make.model(nodes, {"w": W, "r": np.float32(0.5), "t": np.array(True)}))
    cli.refused(path, 4, "'drop'", "Dropout", "--assume-eval", verbs=["norm"])
    assert cli.value(path, "--assume-eval") == np.abs(W).sum()


def test_row_23_unknown_domain(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.model([make.node("Mystery", ["x"], domain="com.acme")], domains=["com.acme"]))
    cli.refused(path, 4, "'my_Mystery'", "Mystery", verbs=["norm"])
    output = tmp_path / "out.onnx"
    assert cli("opt", str(path), "-o", str(output)).code == 0
    kept = onnx.load(output).graph.node[0]
    assert (kept.op_type, kept.domain) == ("Mystery", "com.acme")


def test_row_23_model_local_functions(make: Any, cli: Any, tmp_path: Path) -> None:
    body = [make.node("MatMul", ["a", "w"], ["h"], "product"), make.node("Relu", ["h"], ["b"])]
    proto = make.model([make.node("Layer", ["x", "w1"], domain="mine")], {"w1": W.T}, domains=["mine"])
    imports = [helper.make_opsetid("", 21)]
    proto.functions.append(helper.make_function("mine", "Layer", ["a", "w"], ["b"], body, imports))
    assert cli.value(make.saved(tmp_path, proto), "--per-layer") == np.abs(W).sum()


def test_row_24_unusual_values_are_carried(make: Any, cli: Any, tmp_path: Path) -> None:
    nodes = [
        make.node("Gemm", ["x", "w"], transB=1),
        make.node("SequenceConstruct", ["x", "x"], ["s"]),
        make.node("Identity", ["text"], ["t"]),
        make.node("MaxPool", ["image"], ["p", ""], kernel_shape=[2, 2]),
    ]
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    outputs = ["y", sequence, info("t", [2], TensorProto.STRING), "p"]
    weights = {"w": W, "unused": np.float32([1]), "image": np.ones((1, 1, 4, 4), np.float32)}
    proto = make.model(nodes, weights, outputs=outputs)
    proto.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [2], [b"a", "\u00e9".encode()]))
    written = cli.carried(make.saved(tmp_path, proto))
    assert [o.name for o in written.graph.output] == ["y", "s", "t", "p"]
    assert {t.name for t in written.graph.initializer} >= {"w", "unused", "text"}


def test_row_24_zero_outputs(make: Any, cli: Any, tmp_path: Path) -> None:
    path = make.saved(tmp_path, make.model([make.node("Relu", ["x"], ["h"])], outputs=[]))
    outcome = cli("inspect", str(path), "--format", "json")
    assert outcome.code in (0, 3)
    if outcome.code == 0:
        assert cli.value(path) == 0
    else:
        cli.one_line(outcome.err)
