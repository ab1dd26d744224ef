"""Random graphs take a step for every op that has a sample, also for one that nobody wrote a step for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from pathlift.ir.graph import Graph
from pathlift.ir.ops.registry import OPS, op
from pathlift.testing.samples import TABLE
from pathlift.testing.steps import all_steps
from pathlift.testing.strategies import graphs

Add = Callable[..., str]
MATRIX = ("N", 6)
FRESH = itertools.count()
QUICK = settings(
    max_examples=200, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def add_op(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Register an op that does what another does, with a sample, until the test is over; return its name."""

    def add(like: str, inputs: list[tuple[Any, ...]], params: list[Any] | None = None, **attrs: Any) -> str:
        name = f"{like}_{next(FRESH)}"  # a sample is built once per name
        op(name)(OPS[like].program)
        monkeypatch.setitem(OPS, name, OPS.pop(name))
        monkeypatch.setitem(TABLE, name, (inputs, params or [], attrs))
        return name

    return add


def steps_of(name: str) -> list[set[str]]:
    return [set(s.ops) for s in all_steps() if name in s.ops]


def drawn(name: str, **options: Any) -> Graph:
    return find(graphs(**options), lambda g: any(g[key].op == name for key in g.order), settings=QUICK)


def test_an_op_that_keeps_shapes_goes_anywhere(add_op: Add) -> None:
    name = add_op("Tanh", [MATRIX])
    assert steps_of(name) == [{name}]
    assert drawn(name)
    assert drawn(name, ops=[name])


def test_an_op_of_two_activations_reads_one_twice(add_op: Add) -> None:
    name = add_op("Max", [MATRIX, MATRIX])
    assert steps_of(name) == [{name}]
    graph = drawn(name, ops=[name])
    assert {len(set(graph.inputs_of(key))) for key in graph.order if graph[key].op == name} == {1}


def test_a_layer_makes_the_shape_that_an_op_needs(add_op: Add) -> None:
    name = add_op("Gemm", [("N", 2, 6)], [(6, 3)])
    (ops,) = steps_of(name)
    assert ops == {name, "Flatten", "Gemm", "Reshape"}
    assert drawn(name, ops=ops)
    assert drawn(name)


def test_without_neurons_an_op_is_not_drawn_for_exact_path_norms(add_op: Add) -> None:
    name = add_op("Relu", [MATRIX])
    assert [s.exact for s in all_steps() if name in s.ops] == [False]
    assert {s.exact for s in all_steps() if "Abs" in s.ops} == {True}


@pytest.mark.parametrize(
    ("like", "inputs", "attrs"),
    [
        ("Product", [("N", 4, 5), ("N", 4, 1)], {}),  # two shapes of activations
        ("Transpose", [("N", 6, 2)], {"perm": (1, 0, 2)}),  # a result whose first axis is no batch
        ("Relu", [(3, 6)], {}),  # no batch
        ("Cast", [MATRIX], {"to": "f64"}),  # another type
    ],
)
def test_what_does_not_fit_has_no_step(add_op: Add, like: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    assert steps_of(add_op(like, inputs, **attrs)) == []
