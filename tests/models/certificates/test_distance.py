"""Distances of pairs whose files are written in other ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.models.certificates.distance import Comparison
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.problem import Problem
from pathlift.passes.certificates.search import search
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm


def network(gate: str, *, normalized: bool = False, **attrs: Any) -> Graph:
    rng, b = np.random.default_rng(0), Builder()
    x = b.op("Gemm", b.input("x", (1, 3), "f64"), b.param(rng.standard_normal((3, 4)), "w"))
    if normalized:
        gamma, beta, mean = (b.param(rng.standard_normal(4), name) for name in ("gamma", "beta", "mean"))
        x = b.op("BatchNormalization", x, gamma, beta, mean, b.param(rng.uniform(0.5, 2, 4), "var"))
    return b.finish(b.op("Gemm", b.op(gate, x, name="gate", **attrs), b.param(rng.standard_normal((4, 2)), "v")))


def pair(a: Graph, b: Graph) -> tuple[Comparison, Problem]:
    comparison = Comparison.of(a, b)
    return comparison, comparison.problem(Domain.from_interval({"x": (1, 3)}, -1.0, 1.0))


def test_what_folding_rounds_is_in_every_bound() -> None:
    # γ/√(var + ε) has no float64, so the two are apart: by how much, no method can know, but all have to allow for it.
    graph = network("Relu", normalized=True)
    comparison, problem = pair(graph, FoldBatchnorm().run(graph).graph)
    found = {name: method.check(problem, {}).linf for name, method in comparison.methods().items()}
    assert set(found) >= {"differential", "path_metric", "joint", "ellipsoid"}
    assert all(1e-16 < bound < 1e-9 for name, bound in found.items() if name != "interval"), found


QUANTIZER = {"scale": 0.1, "zero_point": 0, "dtype": "i8", "low": -128, "high": 127}


@pytest.mark.parametrize(
    ("first", "second"),
    [(network("Relu"), network("Tanh")), (network("Identity"), network("FakeQuantize", **QUANTIZER))],
)
def test_a_method_that_does_not_cover_a_pair_leaves_it_to_the_others(first: Graph, second: Graph) -> None:
    comparison, problem = pair(first, second)
    outcome = search(problem, comparison.stages(), 0.01)
    assert "PL1388" in outcome.refused["path_metric"]
    assert "differential" in outcome.bounds
