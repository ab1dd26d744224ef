"""Blocks and supports that are found again: what is Kronecker-sparse but for noise becomes what `ks-detect` finds."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense
from pathlift.ir.types import Array
from pathlift.passes.kronecker.detect import KsDetect
from pathlift.passes.kronecker.replace import KsReplace
from pathlift.passes.pruning.prune import Prune

RNG = np.random.default_rng(0)


def noisy(places: Array) -> Array:
    """Blocks of 4 × 8 in these places of a grid of 4 × 4, and noise everywhere."""
    weight = 0.1 * RNG.standard_normal((16, 32))
    for row, col in enumerate(places):
        weight[4 * row : 4 * row + 4, 8 * col : 8 * col + 8] += RNG.standard_normal((4, 8))
    return weight


@pytest.mark.parametrize("criterion", ["path", "magnitude"])
@pytest.mark.parametrize("permuted", [False, True])
def test_blocks_that_stay_are_a_pattern(criterion: str, permuted: bool) -> None:
    places = RNG.permutation(4) if permuted else np.arange(4)
    b = Builder()
    x = b.op("Gemm", b.input("x", ("N", 32), "f64"), b.param(noisy(places), "w"), trans_w=True, name="fc")
    graph = b.finish(x)
    assert not KsDetect(permutation=True).run(graph).layers
    after = Prune(sparsity=0.75, criterion=criterion, block="4x8").run(graph).graph
    (found,) = KsDetect(permutation=permuted).run(after).layers
    assert tuple(found.pattern) == (4, 4, 8, 1)
    assert found.permuted == permuted


def kronecker(pattern: Pattern, *, noise: float = 0.1) -> Array:
    """Large weights in a pattern, and noise everywhere."""
    inside = dense(np.ones((pattern.a, pattern.d, pattern.b, pattern.c)))
    return RNG.standard_normal(inside.shape) * (inside + noise)


def layer(weight: Array) -> Graph:
    b = Builder()
    x = b.input("x", ("N", weight.shape[1]), "f64")
    return b.finish(b.op("Gemm", x, b.param(weight, "w"), trans_w=True, name="fc"))


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (2, 3, 5, 2), (1, 4, 2, 4), (6, 1, 2, 2)])
@pytest.mark.parametrize("criterion", ["path", "magnitude"])
def test_the_kronecker_sparse_support_that_is_worth_most_stays(shape: tuple[int, ...], criterion: str) -> None:
    pattern = Pattern(*shape)
    graph = layer(kronecker(pattern))
    assert not KsDetect().run(graph).layers
    after = Prune(criterion=criterion, pattern=f"ks:{pattern.a * pattern.d}").run(graph)
    (found,) = KsDetect().run(after.graph).layers
    assert found.pattern == pattern
    replaced = KsReplace(always=True).run(after.graph).graph
    assert "KSLinear" in {replaced[key].op for key in replaced.order}


def test_any_matrix_becomes_kronecker_sparse() -> None:
    after = Prune(pattern="ks:4").run(layer(RNG.standard_normal((16, 24))))
    (found,) = KsDetect().run(after.graph).layers
    assert found.pattern.a * found.pattern.d == 4
    assert found.pattern.size == 96


def test_of_supports_that_are_worth_the_same_blocks_stay() -> None:
    (found,) = KsDetect().run(Prune(criterion="magnitude", pattern="ks:4").run(layer(np.ones((8, 8)))).graph).layers
    assert found.pattern == (4, 2, 2, 1)


def test_what_is_no_matrix_or_no_multiple_stays() -> None:
    with pytest.raises(PathliftError, match=r"PL1403 .*its 6 outputs × 8 inputs are no multiples of 4"):
        Prune(pattern="ks:4").run(layer(np.ones((6, 8))))
    b = Builder()
    window = {"strides": (1,), "pads": (1, 1), "dilations": (1,)}
    graph = b.finish(b.op("Conv", b.input("x", ("N", 8, 5)), b.param(np.ones((8, 8, 3), np.float32), "w"), **window))
    with pytest.raises(PathliftError, match=r"PL1403 .*no matrix"):
        Prune(pattern="ks:4").run(graph)
