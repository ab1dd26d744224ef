"""Blocks that are found again: what is block-diagonal but for noise becomes a layer that `ks-detect` finds."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.types import Array
from pathlift.passes.kronecker.detect import KsDetect
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
