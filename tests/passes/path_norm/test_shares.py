"""Shares: what part of a path-norm goes through each layer."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.passes.path_norm.path_norm import PathNorm

Start = Callable[..., tuple[Builder, Value]]

ONE = {"strides": (1, 1), "dilations": (1, 1)}


def norm(graph: Graph, q: float = 1.0, **options: object) -> float:
    result = PathNorm((q,), **options).run(graph).norms[0]  # type: ignore[arg-type]  # of the parameters
    return 0.0 if result.value is None and result.zero else result.value  # type: ignore[return-value]  # a value where it is not 0


def test_gains_add_up_along_a_chain_and_shares_are_one(start: Start) -> None:
    rng = np.random.default_rng(2)
    b, x = start("N", 4)
    for _ in range(3):
        x = b.op("Relu", b.op("Gemm", x, b.param(rng.normal(size=(4, 4)))))
    result = PathNorm((2.0,), per_layer=True).run(b.finish(x))
    assert sum(layer.log10_gain for layer in result.layers) == pytest.approx(result.norms[0].log10 - math.log10(4) / 2)
    assert [layer.share for layer in result.layers] == pytest.approx([1.0, 1.0, 1.0])


def test_the_share_of_a_branch_is_its_part_of_the_norm(start: Start) -> None:
    b, x = start("N", 1)
    g = b.finish(b.op("Add", x, b.op("Gemm", x, b.param([[3.0]]), name="branch")))
    (layer,) = PathNorm(per_layer=True).run(g).layers
    assert layer.node == "branch"
    assert layer.share == pytest.approx(0.75)


@pytest.mark.parametrize(("op", "share"), [("Mul", 0.75), ("Div", 0.25)])
def test_a_scaling_has_a_share(start: Start, op: str, share: float) -> None:
    b, x = start("N", 1)
    branch = b.op(op, x, b.param([3.0]), name="branch")
    (layer,) = PathNorm(per_layer=True).run(b.finish(b.op("Add", x, branch))).layers
    assert layer.share == pytest.approx(share)
