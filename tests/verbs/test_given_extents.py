"""``--shape``: what a file computes from its inputs' shapes is settled, and everything else is as without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pathlift as library
from pathlift.testing.onnx_models import node

Cli = Callable[..., Any]
RESIZE = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def pyramid(n: Any = "N", h: Any = "H", w: Any = "W") -> onnx.ModelProto:
    """A map that is halved and resized to the size of the other: F.interpolate(b, size=a.shape[2:])."""
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "ra"),
        node("Conv", "ra w", "b", pads=[1, 1, 1, 1], strides=[2, 2], name="half"),
        node("Shape", "ra", "hw", start=2), node("Shape", "b", "nc", end=2), node("Concat", "nc hw", "size", axis=0),
        helper.make_node("Resize", ["b", "", "", "size"], ["u"], **RESIZE), node("Add", "u ra", "y"),
    ]  # fmt: skip
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((3, 3, 3, 3)).astype(np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, 3, h, w]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def network(tmp_path: Path) -> str:
    onnx.save(pyramid(), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


FIXED = {"N": 1, "H": 6, "W": 5}


@pytest.mark.parametrize("options", [{}, {"regions": True}, {"heaviest_path": True}])
def test_norms_are_those_of_a_file_that_has_the_extents(network: str, options: dict[str, bool]) -> None:
    wanted = library.norm(pyramid(*FIXED.values()), **options).to_json()
    for model in (network, Path(network).read_bytes(), onnx.load(network)):
        assert library.norm(model, shape=FIXED, **options).to_json() == wanted
    assert library.norm(network, shape={"x.0": 1, "x.2": 6, "W": 5}, **options).to_json() == wanted


def test_a_graph_is_taken_as_it_is(network: str) -> None:
    with pytest.raises(library.PathliftError, match="PL0304"):
        library.norm(library.load(network), shape=FIXED)
    assert library.norm(library.load(network, shapes=FIXED)).value == library.norm(network, shape=FIXED).value


def test_analyses_that_take_extents_see_the_settled_model(network: str) -> None:
    found = library.analyze(network, "ks-detect,path-norm,heaviest-path", shape={"H": 6, "W": 5})
    verb = library.norm(network, shape={"H": 6, "W": 5}, heaviest_path=True).to_json()
    results = [finding.to_json() for finding in found.findings]
    assert results[1]["options"]["shape"] == [["H", 6], ["W", 5]]
    assert json.dumps({**results[1]["result"], "heaviest_path": results[2]["result"]}) == json.dumps(verb)


def test_the_hint_says_what_helps(pathlift: Cli, network: str) -> None:
    assert pathlift("norm", network).err == "PL0412 the extent of H, W is not in the file hint: --shape H=…,W=…\n"
    refused = pathlift("norm", network, "--shape", "H=6,W=5,K=1")
    assert refused.err == "PL0413 the model has no dimension 'K' to set\n"
    outcome = pathlift("norm", network, "--shape", "H=6,W=5", "--format", "json")
    assert (outcome.code, json.loads(outcome.out)["assumptions"]) == (0, [])


def test_a_model_that_cannot_run_on_them_is_told_from_a_broken_one(network: str) -> None:
    model = onnx.load(network)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["K", 3, "H", "W"]))
    model.graph.node.append(node("Add", "y z", "sum"))
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    with pytest.raises(
        library.PathliftError, match=r"PL0415 .* inputs of shape x \[2, 3, 4, 'W'\], z \[3, 3, 4, 'W'\]: "
    ):
        library.load(model, shapes={"N": 2, "H": 4, "K": 3})
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(library.PathliftError, match="PL015"):
        library.load(model, shapes={"N": 2, "H": 4, "K": 3})


def test_what_is_written_keeps_its_open_extents(network: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    library.opt(network, "dead-code", shape=FIXED, verify=True, output=out)
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 3, "H", "W"]


@pytest.mark.parametrize("executor", ["onnxruntime", "torch"])
def test_unnamed_extents_are_not_compared(executor: Any) -> None:
    for nameless in ("?", None, "-1"):
        session = library.Session(pyramid("N", nameless, nameless), executor=executor)
        assert session.inputs[0].shape == ("N", 3, None, None)
        assert session.run({"x": np.ones((2, 3, 4, 6), np.float32)})["y"].shape == (2, 3, 4, 6)


def test_regions_that_start_at_declared_shapes_say_so() -> None:
    nodes = [helper.make_node("Fancy", ["x"], ["r"], domain="own"), node("MatMul", "r w", "y")]
    x, y, r = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xyr")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.ones((3, 3), np.float32), "w")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(library.PathliftError, match="it starts at 'r'"):
        library.norm(model, regions=True)
    graph.value_info.append(r)
    found = library.norm(helper.make_model(graph, opset_imports=opsets, ir_version=8), regions=True)
    assert len(found.regions) == 1
    assert "value 'r' has the shape that the file declares: f32[1, 3]" in found.assumptions
