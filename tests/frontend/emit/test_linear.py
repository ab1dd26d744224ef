"""Linear layers as ONNX nodes: which operator is chosen, and that weights stay as the user has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.testing import assert_same_as_onnxruntime


@pytest.mark.parametrize("trans_w", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("bias", "fits"),
    [(None, True), ((), True), ((1,), True), ((3,), True), ((1, 3), True), ((2, 3), False), ((2, 1, 1), False)],
)
def test_gemm(op_types: Any, bias: tuple[int, ...] | None, fits: bool, rank: int, trans_w: bool) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    w = b.param(rng.standard_normal((3, 4) if trans_w else (4, 3)).astype(np.float32), "w")
    biases = () if bias is None else (b.param(rng.standard_normal(bias).astype(np.float32), "b"),)
    graph = b.finish(b.op("Gemm", b.input("x", (2, 2, 4)[3 - rank :]), w, *biases, trans_w=trans_w, name="y"))
    assert_same_as_onnxruntime(graph)
    assert ("Gemm" in op_types(graph)) == (rank == 2 and fits and (trans_w or bias is not None))


def test_a_tied_weight_is_transposed_once() -> None:
    b = Builder()
    w = b.param(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    x = b.input("x", ("N", 2, 4))
    model = to_onnx(b.finish(b.op("Gemm", b.op("Gemm", x, w, trans_w=True), w, trans_w=True)))
    assert [node.op_type for node in model.graph.node] == ["Transpose", "MatMul", "MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


@pytest.mark.parametrize(
    ("x", "w", "equation", "op"),
    [
        ((2, 4, 3), (5, 4), "...kn,mk->...mn", "MatMul"),
        ((4, 3), (5, 4), "kn,mk->mn", "MatMul"),
        ((3, 4), (4, 5), "mk,kn->mn", "MatMul"),
        ((2, 3, 4), (5, 3), "bij,oi->boj", "MatMul"),
        ((6, 2, 3, 4), (2, 4, 5), "...bmk,bkn->...bmn", "MatMul"),
        ((2, 4, 3), (2, 5, 4), "bkn,bmk->bmn", "MatMul"),
        ((2, 3, 4), (5, 4), "...k,nk->...n", "Einsum"),
        ((2, 3, 4), (4, 5), "bmk,kn->nbm", "Einsum"),
        ((2, 3, 4), (4, 5), "bmk,kn->bnm", "Einsum"),
        ((2, 4, 3), (5, 4), "bkn,mk->bnm", "Einsum"),
        ((2, 3, 4), (2, 4), "bmk,bk->bm", "Einsum"),
        ((3, 4), (3, 4), "mk,mk->m", "Einsum"),
        ((3, 3), (3, 5), "kk,kn->kn", "Einsum"),
    ],
)
def test_einsum(op_types: Any, x: tuple[int, ...], w: tuple[int, ...], equation: str, op: str) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    weights = b.param(rng.standard_normal(w).astype(np.float32), "w")
    graph = b.finish(b.op("Einsum", b.input("x", x), weights, equation=equation, name="y"))
    assert op_types(graph) == [op]
    if equation != "kk,kn->kn":  # ONNX Runtime takes no such diagonal
        assert_same_as_onnxruntime(graph)
