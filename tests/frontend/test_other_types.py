"""Values of map type, scikit-learn's default for classifiers: carried, saved and run like everything opaque."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pathlift
from pathlift.frontend.load import load
from pathlift.frontend.other_types import has_map, type_proto, type_text
from pathlift.frontend.save import to_onnx
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.text import parse_graph, print_graph
from pathlift.testing.onnx_models import info, model, node

MAPS = "seq(map(int64,tensor(float)))"


@pytest.mark.parametrize(
    "text", [MAPS, "map(string,seq(tensor(double)))", "optional(tensor(int64))", "sparse_tensor(float)", "tensor(bool)"]
)
def test_a_type_is_what_its_text_says(text: str) -> None:
    assert type_text(type_proto(text)) == text
    assert has_map(type_proto(text)) == ("map" in text)


@pytest.mark.parametrize("text", ["", "map(int64)", "map(int63,tensor(float))", "tensor(none)", "list(tensor(float))"])
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(UnsupportedError, match="PL0375"):
        type_proto(text)


def classifier() -> Any:
    nodes = [
        node("MatMul", "x w", "s"),
        helper.make_node("ZipMap", ["s"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[5, 6, 7]),
    ]
    outputs = [info("s", ("N", 3)), helper.make_value_info("z", type_proto(MAPS))]
    weights = [numpy_helper.from_array(np.eye(2, 3, dtype=np.float32), "w")]
    return model(nodes, [info("x")], outputs, weights, opsets=[("", 17), ("ai.onnx.ml", 1)])


def test_maps_are_carried_and_saved() -> None:
    graph = load(classifier())
    for written in (to_onnx(graph), to_onnx(parse_graph(print_graph(graph)))):
        z = written.graph.output[1].type.sequence_type.elem_type.map_type
        assert (z.key_type, z.value_type.tensor_type.elem_type) == (TensorProto.INT64, TensorProto.FLOAT)
    assert str(graph["z"].types[0]) == f"<{MAPS}>"


def test_maps_are_run(tmp_path: Path) -> None:
    x = np.float32([[1, 2]])
    result = pathlift.run(classifier(), {"x": x}, output=tmp_path / "y.npz")
    assert result.outputs["z"] == [{5: 1.0, 6: 2.0, 7: 0.0}]
    assert result.to_json()["outputs"]["z"]["dtype"] == "sequence of map"
    assert list(np.load(tmp_path / "y.npz")) == ["s"]
    assert "z is no array, and is not written" in result.assumptions


def test_analyses_refuse_maps_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"PL0304 node 'z' \(ZipMap\)"):
        pathlift.norm(load(classifier()))
