"""The assertions fail where they should, and the oracle counts what can be counted by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.testing import (
    assert_bound_holds,
    assert_close,
    assert_equivalent,
    assert_path_norm,
    assert_same_as_onnxruntime,
    execute,
    oracle,
    random_rescale,
    rescaling_sites,
    sample,
)

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"

DIAMOND = """
%x = Input : f32[1, 2]
%w = Param {value=[[1.0, -2.0], [0.5, 3.0]]} : f32[2, 2]
%b = Param {value=[4.0, 0.0]} : f32[2]
%h = Gemm(%x, %w, %b)
%r = Relu(%h)
%y = Add(%r, %r)
return %y
"""


def test_paths_of_a_diamond() -> None:
    graph = parse_graph(DIAMOND)
    neurons = oracle.neuron_graph(graph)
    first, second = map(int, neurons.graph["outputs"]["y"].flat)
    assert sorted(oracle.path_weights(neurons, first)) == [0.5, 0.5, 1.0, 1.0, 4.0, 4.0]
    assert sorted(oracle.path_weights(neurons, second, inputs_only=True)) == [-2.0, -2.0, 3.0, 3.0]
    assert oracle.path_count(neurons) == 12
    assert oracle.path_norm(graph, 1.0)["y"].tolist() == [[11.0, 10.0]]
    assert oracle.path_norm(graph, 2.0)["y"] == pytest.approx(np.sqrt([[34.5, 26.0]]))
    assert oracle.path_norm(graph, 0)["y"].tolist() == [[6, 4]]
    assert oracle.path_norm(graph, np.inf)["y"].tolist() == [[4.0, 3.0]]
    assert oracle.evaluate(neurons, {"x": np.array([[1.0, -1.0]])})["y"].tolist() == [[9.0, 0.0]]


def test_leaky_edges_count_their_steeper_side() -> None:
    graph = parse_graph("%x = Input : f32[1, 2]\n%y = LeakyRelu(%x) {alpha=-3.0}\nreturn %y")
    assert oracle.path_norm(graph, 2.0)["y"].tolist() == [[3.0, 3.0]]


def test_too_many_paths() -> None:
    with pytest.raises(UsageError, match="12 paths are more than 11"):
        oracle.path_norm(parse_graph(DIAMOND), limit=11)


@pytest.mark.parametrize("name", ["Softmax", "Clip"])
def test_no_neurons(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"node 'y' \\({name}\\)"):
        oracle.neuron_graph(sample(name))


def changed(old: str, new: str) -> Graph:
    assert old in DIAMOND
    return parse_graph(DIAMOND.replace(old, new))


@pytest.mark.parametrize(("old", "new"), [("3.0", "3.125"), ("Relu", "Abs"), ("Add(%r, %r)", "Max(%r, %r)")])
def test_inequivalent(old: str, new: str) -> None:
    assert_equivalent(parse_graph(DIAMOND), parse_graph(DIAMOND))
    with pytest.raises(AssertionError, match="output 'y' is off by"):
        assert_equivalent(parse_graph(DIAMOND), changed(old, new))


def test_other_outputs() -> None:
    with pytest.raises(AssertionError, match="outputs"):
        assert_equivalent(parse_graph(DIAMOND), changed("return %y", "return %r"))


def test_close() -> None:
    nan = {"y": np.array([np.nan, 1.0])}
    assert_close(nan, nan, rtol=0)
    with pytest.raises(AssertionError, match="non-finite"):
        assert_close({"y": np.array([0.0, 1.0])}, nan, rtol=1)
    with pytest.raises(AssertionError, match="shape"):
        assert_close({"y": np.zeros(2)}, {"y": np.zeros(1)}, rtol=1)


def test_path_norm() -> None:
    assert_path_norm(parse_graph(DIAMOND), 21.0)
    with pytest.raises(AssertionError, match=r"21\.0, not 20"):
        assert_path_norm(parse_graph(DIAMOND), 20.0)


def test_onnxruntime_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = parse_graph(DIAMOND)
    assert_same_as_onnxruntime(graph)
    import pathlift.frontend.save as save

    true: Callable[[Graph], object] = save.to_onnx
    monkeypatch.setattr(save, "to_onnx", lambda _: true(changed("-2.0", "2.0")))
    with pytest.raises(AssertionError, match="off by"):
        assert_same_as_onnxruntime(graph)


def test_onnxruntime_on_a_file(tmp_path: Path) -> None:
    from pathlift.frontend.save import save

    save(parse_graph(DIAMOND), tmp_path / "m.onnx")
    assert_same_as_onnxruntime(tmp_path / "m.onnx")


def test_bound() -> None:
    assert assert_bound_holds(1.0, lambda rng: rng.random(), trials=50) <= 1.0
    with pytest.raises(AssertionError, match=r"above the bound 0\.5"):
        assert_bound_holds(0.5, lambda rng: rng.random(), trials=50)


TWO_LAYERS = """
%x = Input : f32[1, 1, 4]
%w = Param {value=[[[1.0, 2.0]], [[-1.0, 0.5]]]} : f32[2, 1, 2]
%c = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}
%r = Relu(%c)
%p = MaxPool(%r) {kernel=[2], strides=[1], pads=[0, 0], dilations=[1]}
%f = Flatten(%p)
%v = Param {value=[[1.0], [2.0], [3.0], [4.0]]} : f32[4, 1]
%y = Gemm(%f, %v)
return %y
"""


def test_rescaling() -> None:
    graph = parse_graph(TWO_LAYERS)
    assert list(rescaling_sites(graph)) == [("c", "y", 2)]
    rescaled = random_rescale(graph, np.random.default_rng(0), powers_of_two=True)
    assert rescaled["w"].value.numpy().tolist() != graph["w"].value.numpy().tolist()
    x = {"x": np.array([[[1.0, -2.0, 3.0, 0.5]]])}
    assert execute(rescaled, x)["y"].tolist() == execute(graph, x)["y"].tolist()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Relu(%c)", "Clip(%c) {low=0.0, high=6.0}"),  # not homogeneous
        ("Gemm(%f, %v)\nreturn %y", "Gemm(%f, %v)\nreturn %y, %r"),  # seen from outside
        ("Flatten(%p)", "Flatten(%p) {axis=2}"),  # channels and positions part ways
        ("%p = MaxPool(%r)", "%z = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}\n%p = MaxPool(%r)"),  # tied
    ],
)
def test_no_rescaling(old: str, new: str) -> None:
    text = TWO_LAYERS.replace(old, new)
    if "axis=2" in new:
        text = re.sub(r"%v = .*", "%v = Param {value=[[1.0], [2.0]]} : f32[2, 1]", text)
    assert old in TWO_LAYERS
    assert list(rescaling_sites(parse_graph(text))) == []


def test_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        exec(compile(block, str(DOCS), "exec"), names)
    names["test_dead_code_changes_nothing"]()  # type: ignore[operator]  # a test
    assert "looseness" in capsys.readouterr().out
