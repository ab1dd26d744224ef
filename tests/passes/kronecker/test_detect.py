"""Zeros in the weights of layers of every kind, in every element type."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense
from pathlift.ir.types import Array
from pathlift.passes.kronecker.detect import DetectedLayer, KsDetect

EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 7])
PATTERNS = st.builds(Pattern, EXTENTS, EXTENTS, EXTENTS, EXTENTS)
SPELLINGS = ["Gemm", "Gemm transposed", "Einsum", "Einsum from the left", "Conv"]


def layer(spelling: str, matrix: Array, dtype: str = "f32") -> Graph:
    """A layer that multiplies by this matrix, (rows, cols)."""
    b, (rows, cols) = Builder(), matrix.shape
    options: dict[str, Any] = {}
    match spelling:
        case "Gemm":
            x, w = b.input("x", ("N", 3, cols), dtype), matrix.T
        case "Gemm transposed":
            x, w, options = b.input("x", ("N", cols), dtype), matrix, {"trans_w": True}
        case "Einsum":
            x, w, options = b.input("x", ("N", cols), dtype), matrix.T, {"equation": "ni,io->no"}
        case "Einsum from the left":
            x, w, options = b.input("x", (cols, "N"), dtype), matrix, {"equation": "in,oi->on"}
        case _:
            x, w = b.input("x", ("N", cols, "H", 2), dtype), matrix.reshape(rows, cols, 1, 1)
            options = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    return b.finish(b.op(spelling.split()[0], x, b.param(np.ascontiguousarray(w), "w"), name="y", **options))


def found_in(graph: Graph, **options: Any) -> DetectedLayer | None:
    (found,) = KsDetect(**options).run(graph).layers or (None,)
    return found


def random_matrix(p: Pattern, seed: int, dtype: Any = np.float32) -> Array:
    return dense(np.random.default_rng(seed).integers(1, 8, p.shape).astype(dtype))


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(p=PATTERNS, seed=st.integers(0, 9))
def test_zeros_are_found_in_any_spelling(spelling: str, p: Pattern, seed: int) -> None:
    matrix = random_matrix(p, seed)
    found = found_in(layer(spelling, matrix))
    assert (found is None) == (p.a * p.d == 1)
    if found is not None:
        assert (found.kind, found.permuted, found.pattern.size) == ("zeros", False, p.size)
        assert np.array_equal(dense(found.factor), matrix)


@given(p=PATTERNS, seed=st.integers(0, 9))
def test_permuted_blocks_are_found_when_asked_for(p: Pattern, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_matrix(p, seed)[rng.permutation(p.rows)][:, rng.permutation(p.cols)]
    found = found_in(layer("Gemm", matrix), permutation=True)
    assert (found is None) == (p.a * p.d == 1)
    if found is not None:
        assert found.pattern.size == p.size
        ordered = matrix if found.rows is None else matrix[found.rows.places]
        ordered = ordered if found.cols is None else ordered[:, found.cols.places]
        assert np.array_equal(dense(found.factor), ordered)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_element_types(dtype: Any) -> None:
    name = {2: "f16", 8: "f64"}.get(np.dtype(dtype).itemsize, "f8e4m3fn")
    name = "bf16" if dtype is ml_dtypes.bfloat16 else name
    found = found_in(layer("Gemm", random_matrix(Pattern(2, 3, 4, 2), 0, dtype), name))
    assert found is not None
    assert (found.pattern, found.factor.dtype) == ((2, 3, 4, 2), dtype)


def test_a_nan_is_no_zero_and_minus_zero_is_one() -> None:
    matrix = random_matrix(Pattern(2, 3, 4, 1), 0)
    matrix[0, -1] = -0.0
    assert found_in(layer("Gemm", matrix)) is not None
    for value in (np.nan, np.inf, 1e-45):
        matrix[0, -1] = value
        assert found_in(layer("Gemm", matrix)) is None


def test_all_weights_zero() -> None:
    found = found_in(layer("Gemm", np.zeros((6, 4), np.float32)))
    assert found is not None
    assert found.pattern == (2, 3, 2, 1)
    assert not found.factor.any()


def test_zeros_within_groups() -> None:
    p = Pattern(4, 3, 2, 1)
    weight = np.ascontiguousarray(random_matrix(p, 0).reshape(2, 6, 2, 4)[[0, 1], :, [0, 1]])
    b = Builder()
    options: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "groups": 2}
    y = b.op("Conv", b.input("x", ("N", 8, 5)), b.param(weight.reshape(12, 4, 1)), **options)
    found = found_in(b.finish(y))
    assert found is not None
    assert (found.pattern, found.kind) == (p, "zeros")


@pytest.mark.parametrize(
    "options", [{"strides": (2,)}, {"pads": (1, 0)}, {"kernel": 3}], ids=["strided", "padded", "larger kernel"]
)
def test_convolutions_that_are_no_matrix_products(options: dict[str, Any]) -> None:
    b = Builder()
    weight = b.param(np.ones((6, 2, options.pop("kernel", 1)), np.float32))
    geometry: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,), "groups": 3} | options
    assert found_in(b.finish(b.op("Conv", b.input("x", ("N", 6, 9)), weight, **geometry))) is None


def test_dead_layers_are_not_looked_at() -> None:
    b = Builder()
    x = b.input("x", ("N", 4))
    b.op("Gemm", x, b.param(np.eye(4, dtype=np.float32)))
    assert found_in(b.finish(b.op("Relu", x))) is None


def test_costs() -> None:
    graph = layer("Gemm", random_matrix(Pattern(12, 64, 64, 1), 0))
    fast, slow = found_in(graph, samples=64), found_in(layer("Gemm", random_matrix(Pattern(64, 1, 1, 1), 0)))
    assert fast is not None
    assert slow is not None
    assert fast.after.flops * 12 == fast.dense.flops == fast.before.flops
    assert fast.speedup > 3
    assert slow.speedup < 1
    card = found_in(graph, samples=4096, device="h100")
    assert card is not None
    assert 1 < card.speedup < 12


@pytest.mark.parametrize(
    ("options", "code"), [({"device": "tpu"}, "0454"), ({"samples": 0}, "0455"), ({"samples": "8"}, "0455")]
)
def test_options_that_make_no_sense(options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as refusal:
        KsDetect(**options)
    assert refusal.value.code == f"PL{code}"
