"""An output that a model lists twice: one value by name, twice the paths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pathlift
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.testing import sample, samples

WEIGHT = np.array([[1, -2], [3, 4]], np.float32)
NODES = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Identity", ["x"], ["same"])]


def model(*names: str, nodes: Sequence[onnx.NodeProto] = NODES) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", *names)]
    weights = [numpy_helper.from_array(WEIGHT, "w")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def doubled(graph: Graph, *, copied: bool) -> Graph:
    """The graph with its outputs listed twice, or with copies of them under names of their own."""
    b = Builder.of(graph)
    b.output(*([b.op("Identity", v) for v in graph.outputs] if copied else graph.outputs))
    return b.finish()


@pytest.mark.parametrize("q", [0.0, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("name", [n for n in samples() if n not in ("Opaque", "Product")])
def test_listing_an_output_twice_is_returning_a_copy_of_it(name: str, q: float) -> None:
    try:
        twice, copied = (pathlift.norm(doubled(sample(name), copied=c), q=q).norms[0] for c in (False, True))
    except pathlift.PathliftError as refusal:
        assert refusal.exit_code == 4  # noqa: PT017 - what has no norm has no law
        return
    assert twice.log10 == copied.log10
    assert twice.is_path_norm == copied.is_path_norm


def test_the_norm_counts_it_twice_alone_and_mixed() -> None:
    assert pathlift.norm(model("y", "y")).value == 2 * np.abs(WEIGHT).sum()
    assert pathlift.norm(model("y", "y"), q=0).value == 8
    assert pathlift.norm(model("y", "y"), q=math.inf).value == 4
    assert pathlift.norm(model("y", "y"), q=1, mixed=math.inf).value == pytest.approx(6)
    assert pathlift.norm(model("y", "y"), q=1, mixed=2).value == pytest.approx(np.sqrt(2 * (4**2 + 6**2)))


@pytest.mark.parametrize("names", [("y", "y"), ("same", "same"), ("y", "same", "y"), ("same", "y", "same", "y")])
def test_every_verb_takes_it(names: Sequence[str], tmp_path: Path) -> None:
    x, proto = np.array([[1, 2], [3, -4]], np.float32), model(*names)
    onnx.checker.check_model(proto)
    found = pathlift.run(proto, {"x": x}).outputs
    assert list(found) == list(dict.fromkeys(names))
    assert np.array_equal(found.get("y", x @ WEIGHT), x @ WEIGHT)
    row = pathlift.bench(proto, proto, runs=1, budget=0.1).rows[1]
    assert row["relative_difference"] == 0
    target = tmp_path / "m.onnx"
    verified = pathlift.opt(proto, "dead-code", verify=True, output=target)
    assert verified.verification is not None
    assert verified.verification.passed
    assert [v.name for v in onnx.load(target).graph.output] == list(names)
    assert pathlift.compare(proto, target, modulo=["rescaling", "permutation"]).equivalence.verdict == "equivalent"
    assert pathlift.norm(target).value == pathlift.norm(proto).value
