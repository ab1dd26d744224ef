"""The refit: against least squares solved directly, never worse, and its witness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.pruning.compensation import Compensated, LayerError, compensated
from pathlift.passes.pruning.masks import Pruned
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.prune import Prune
from pathlift.testing import execute

RNG = np.random.default_rng(0)
WINDOW: dict[str, Any] = {"strides": (1,), "pads": (1, 1), "dilations": (1,), "groups": 2}


def refit(graph: Graph, x: Array, sparsity: float = 0.5) -> tuple[Graph, Graph, Compensated, Pruned]:
    pruned = Prune(sparsity=sparsity, criterion="magnitude", scope="row").run(graph)
    found = compensated(graph, pruned.graph, prunables(graph).found, [{"x": x[:7]}, {"x": x[7:]}])
    assert isinstance(found.witness, Compensated)
    assert isinstance(pruned.witness, Pruned)
    found.witness.check(pruned.graph, found.graph)
    return pruned.graph, found.graph, found.witness, pruned.witness


def gemm(dtype: str = "float64") -> Graph:
    b = Builder()
    x = b.input("x", ("N", 6), {"float64": "f64", "float32": "f32"}[dtype])
    return b.finish(b.op("Gemm", x, b.param(RNG.standard_normal((6, 4)).astype(dtype), "w"), name="y"))


def off(graph: Graph, other: Graph, x: Array) -> float:
    y, z = (execute(g, {"x": x})["y"] for g in (graph, other))
    return float(np.linalg.norm(y - z) / np.linalg.norm(y))


def correlated(n: int, rank: int = 6) -> Array:
    return RNG.standard_normal((n, rank)) @ RNG.standard_normal((rank, 6))


@pytest.mark.parametrize("rank", [6, 2])
def test_a_refit_is_the_least_squares_solution(rank: int) -> None:
    graph, x = gemm(), correlated(20, rank)
    pruned, after, witness, selection = refit(graph, x)
    w, new = (g["w"].value.numpy() for g in (graph, after))  # type: ignore[union-attr]  # a parameter has a value
    mask = selection.masks["w"]
    for output in range(4):
        free = mask[:, output]
        best = np.linalg.lstsq(x[:, free], x @ w[:, output], rcond=None)[0]
        np.testing.assert_allclose(x[:, free] @ new[free, output], x[:, free] @ best, atol=1e-5)
        assert not new[~free, output].any()
    layer = witness.layers["w"]
    assert layer.before == pytest.approx(off(graph, pruned, x), rel=1e-5)
    assert layer.after == pytest.approx(off(graph, after, x), rel=1e-4, abs=1e-6)
    assert layer.after is not None
    assert layer.before is not None
    assert layer.after < layer.before


def test_groups_of_a_convolution_are_refitted_alone() -> None:
    b = Builder()
    x = b.input("x", ("N", 4, 5), "f64")
    graph = b.finish(b.op("Conv", x, b.param(RNG.standard_normal((6, 2, 3)), "w"), name="y", **WINDOW))
    data = RNG.standard_normal((9, 4, 5))
    data[:, 1] += 3 * data[:, 0]
    pruned, after, witness, _ = refit(graph, data)
    layer = witness.layers["w"]
    assert layer.before == pytest.approx(off(graph, pruned, data), rel=1e-5)
    assert layer.after == pytest.approx(off(graph, after, data), rel=1e-5)
    assert off(graph, after, data) < 0.9 * off(graph, pruned, data)


def test_batched_products_are_refitted_per_batch() -> None:
    b = Builder()
    x = b.input("x", (2, "N", 6), "f64")
    weight = b.param(RNG.standard_normal((6, 2, 4)), "w")
    graph = b.finish(b.op("Einsum", x, weight, equation="bni,ibo->bno", name="y"))
    data = np.stack([correlated(9), correlated(9)])
    pruned = Prune(criterion="magnitude", scope="row").run(graph).graph
    after = compensated(graph, pruned, prunables(graph).found, [{"x": data}]).graph
    assert off(graph, after, data) < off(graph, pruned, data)


def test_nothing_gets_worse_where_nothing_can_be_better() -> None:
    graph = gemm("float32")
    pruned, after, witness, _ = refit(graph, np.zeros((9, 6)))
    assert after["w"].value is pruned["w"].value
    assert (witness.layers["w"].before, witness.layers["w"].after) == (0.0, 0.0)
    _, after, witness, _ = refit(graph, correlated(9).astype(np.float32), sparsity=0.0)
    assert witness.layers["w"].after == 0.0


def test_what_is_not_refitted_is_said() -> None:
    b = Builder()
    w = b.param(RNG.standard_normal((6, 6)), "w")
    graph = b.finish(b.op("Gemm", b.op("Gemm", b.input("x", ("N", 6), "f64"), w), w, name="y"))
    _, _, witness, _ = refit(graph, correlated(9))
    assert witness.layers["w"].reason == "several layers read it"


def test_a_witness_sees_zeros_that_came_back() -> None:
    pruned, after, witness, _ = refit(gemm(), correlated(20))
    builder = after.edit()
    builder.replace_node(Value("w"), value=Param.of(np.ones((6, 4))))
    with pytest.raises(WitnessError, match="PL0818"):
        witness.check(pruned, builder.finish())
    with pytest.raises(WitnessError, match="PL0818"):
        replace(witness, layers={"w": LayerError("w", reason="no")}).check(pruned, after)
