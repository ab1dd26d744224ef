"""The witness of a rescaling: nothing but weights changed, each is what its factors make of it, the function stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES, Array, Param, float_limits
from pathlift.passes.channels.symmetry import Symmetry, symmetry
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.rescaled import rescaled

MLP = parse_graph("""
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -2.0]]} : f32[2, 2]
    %b = Param {value=[-4.0, 1.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = LeakyRelu(%h) {alpha=0.25}
    %v = Param {value=[[0.5], [-1.0]]} : f32[2, 1]
    %c = Param {value=[0.5]} : f32[1]
    %y = Gemm(%r, %v, %c)
    return %y
""")


def factors(*powers: float) -> Factors:
    return Factors.exp(np.log(2) * np.array([0.0, *powers]))


def with_values(graph: Graph, name: str, values: Array) -> Graph:
    b = graph.edit()
    b.replace_node(b.value(name), value=Param.of(values))
    return b.finish()


def values(graph: Graph, name: str) -> Array:
    value = graph[name].value
    assert value is not None
    return value.numpy().copy()


def refused(before: Graph, after: Graph, found: Symmetry, by: Factors) -> str:
    with pytest.raises(WitnessError) as error:
        rescaled(before, found, by).witness.check(before, after)
    return f"{error.value.code} {error.value.message}"


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("w", (1, 1), -3.0),  # where −2 times 2 is −4
        ("w", (1, 1), 4.0),
        ("w", (1, 1), 0.0),
        ("w", (1, 1), -np.inf),
        ("w", (1, 1), -4.0000025),  # 5 roundings off
        ("v", (0, 0), 0.0),
        ("c", (0,), 0.25),
    ],
)
def test_each_weight_is_what_its_factors_make_of_it(name: str, index: tuple[int, ...], value: float) -> None:
    found, by = symmetry(MLP), factors(-1.0, 1.0)
    after = rescaled(MLP, found, by).graph
    changed = values(after, name)
    changed[index] = value
    assert refused(MLP, with_values(after, name, changed), found, by).startswith("PL0804")
    if value == -4.0000025:
        changed[index] = -4.0000005
        rescaled(MLP, found, by).witness.check(MLP, with_values(after, name, changed))


def test_the_function_stays_whatever_the_classes_are() -> None:
    found, by = symmetry(MLP), factors(-1.0, 1.0)
    uses = tuple(replace(u, scale=replace(u.scale, over=np.flip(u.scale.over))) for u in found.uses)
    wrong = replace(found, uses=uses)
    assert "PL0813 the rescaling: node 'y' (Gemm)" in refused(MLP, rescaled(MLP, wrong, by).graph, wrong, by)


def test_nothing_else_changes() -> None:
    found, by = symmetry(MLP), factors(-1.0, 1.0)
    b = rescaled(MLP, found, by).graph.edit()
    b.replace_node(Value("r"), attrs=freeze_attrs({"alpha": 0.5}))
    assert "more than the value of 'r'" in refused(MLP, b.finish(), found, by)
    b = MLP.edit()
    b.connect("y", 0, "h")
    assert "more than parameters" in refused(MLP, b.finish(), found, by)


@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
def test_numbers_below_the_normal_ones_are_rounded_as_the_format_does(dtype: str) -> None:
    least = float(float_limits(DTYPES[dtype]).smallest_subnormal)
    text = str(MLP).replace("f32", dtype).replace("[1.0, 2.0]", f"[{3 * least!r}, {least!r}]")
    graph = parse_graph(text)
    found, by = symmetry(graph), factors(-0.5, -1.5)
    step = rescaled(graph, found, by)
    assert (values(step.graph, "w")[0].astype(np.float64) / least).tolist() == [2.0, 0.0]  # of 2.1 and 0.35
    step.witness.check(graph, step.graph)
    w = values(step.graph, "w")
    w[0, 0] = 4 * least
    assert refused(graph, with_values(step.graph, "w", w), found, by).startswith("PL0804")


def test_dead_neurons_become_zero_on_both_sides() -> None:
    graph = with_values(MLP, "v", np.array([[0.5], [0.0]], np.float32))
    found = symmetry(graph)
    by = Factors.of(np.ones(3), dead=np.array([False, False, True]))
    step = rescaled(graph, found, by)
    assert values(step.graph, "w").tolist() == [[1.0, 0.0], [3.0, 0.0]]
    step.witness.check(graph, step.graph)
    # One that the network needs is none.
    assert "PL0813" in refused(MLP, rescaled(MLP, found, by).graph, found, by)
    w = values(step.graph, "w")
    w[0, 1] = 1.0
    assert "PL0804" in refused(graph, with_values(step.graph, "w", w), found, by)
