"""Masks of networks and of their rescaled copies: of path scores the same, of magnitudes others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.pruning.criteria import Question, scored
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.prune import Prune
from pathlift.passes.pruning.selection import select
from pathlift.passes.pruning.structure import Single
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import zoo
from pathlift.testing.assertions import assert_equivalent

SPARSITY, OCTAVES = 0.6, 5


def shared() -> Graph:
    """Layers of which two have the same weights, one above the other, and two side by side."""
    b, rng = Builder(), np.random.default_rng(0)

    def param(name: str, *shape: int) -> str:
        return b.param(rng.standard_normal(shape), name).node

    x = b.input("x", ("N", 5), "f64")
    down, beside, up = param("down", 12, 12), param("beside", 5, 12), param("up", 12, 3)
    h = b.op("Relu", b.op("Gemm", x, beside, param("bias", 12)))
    g = b.op("Relu", b.op("Gemm", b.op("Neg", x), beside))
    h = b.op("Relu", b.op("Gemm", b.op("Relu", b.op("Gemm", b.op("Add", h, g), down)), down))
    h = b.op("Relu", b.op("Gemm", h, param("own", 12, 12)))
    return b.finish(b.op("Gemm", h, up))


def check(graph: Graph, copies: int) -> None:
    """Masks of copies, to the last bit where factors are powers of two, else wherever scores are no draw."""
    found = prunables(graph).found
    scores = scored("path", Question(graph, found)).scores
    expected = select(found, scores, SPARSITY, "global", Single())
    threshold = np.quantile(np.concatenate([s.reshape(-1) for s in scores.values()]), SPARSITY)
    for seed in range(copies):
        exact = RandomRescale(octaves=OCTAVES, seed=seed, exact=True).run(graph).graph
        assert changed(graph, exact)
        same = Prune(SPARSITY).run(exact).witness.masks  # type: ignore[attr-defined]  # a witness of pruning
        assert all(np.array_equal(same[name], mask) for name, mask in expected.items())
        if seed > 2:
            continue
        rounded = RandomRescale(octaves=OCTAVES, seed=seed).run(graph).graph
        close = Prune(SPARSITY).run(rounded).witness.masks  # type: ignore[attr-defined]  # a witness of pruning
        for name, mask in expected.items():
            assert np.array_equal(close[name] | draws(scores[name], threshold), mask | draws(scores[name], threshold))
        share = differing(graph, rounded)
        assert share > 0.05, share


def draws(scores: Array, threshold: float) -> Array:
    return np.abs(scores / threshold - 1) < 1e-5


def changed(a: Graph, b: Graph) -> bool:
    pairs = ((p.values(), q.values()) for p, q in zip(prunables(a).found, prunables(b).found, strict=True))
    return any(not np.array_equal(p, q) for p, q in pairs)


def differing(a: Graph, b: Graph) -> float:
    """The share of weights about which magnitudes disagree."""
    one, other = (Prune(SPARSITY, "magnitude").run(g).witness.masks for g in (a, b))  # type: ignore[attr-defined]  # a witness of pruning
    return sum(int((one[name] != other[name]).sum()) for name in one) / sum(mask.size for mask in one.values())


def test_shared_weights() -> None:
    graph = shared()
    assert_equivalent(graph, RandomRescale(octaves=OCTAVES, seed=0, exact=True).run(graph).graph)
    check(graph, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "unet"])
def test_architectures(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(zoo.export(name, image=32, width=0.125).SerializeToString())
    check(load(tmp_path / "m.onnx"), 10)
