"""One representative per border class gives what evaluating every position gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.evaluation import Evaluation
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.testing import oracle
from pathlift.testing.feature_maps import convnets

CheckLaw = Callable[..., None]
QS = (0.0, 0.5, 1.0, 2.0, math.inf)
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # of log10


def assert_borders_agree(graph: Graph, **options: Any) -> None:
    tolerance = TOLERANCE[options.get("dtype", "float64")]
    classes, plain = (PathNorm(q=QS, borders=borders, **options).run(graph) for borders in (True, False))
    assert classes.assumptions == plain.assumptions
    for a, b in zip(classes.norms, plain.norms, strict=True):
        assert a.zero == b.zero, f"‖Φ‖_{a.q:g} is 1e{a.log10}, position by position 1e{b.log10}"
        for name, want in b.outputs.items():
            got = a.outputs[name]
            assert got.shape == want.shape, f"output {name!r} has shape {got.shape}, not {want.shape}"
            assert torch.equal(got.isfinite(), want.isfinite()), f"‖Φ‖_{a.q:g} of {name!r} differs in its zeros"
            off = (got - want)[want.isfinite()].abs().max().item() if want.isfinite().any() else 0.0
            assert off <= tolerance, f"‖Φ‖_{a.q:g} of {name!r} is off by 1e{off:.2g}:\n{got}\nnot\n{want}"
        if not b.zero:
            assert math.isclose(a.log10, b.log10, abs_tol=tolerance, rel_tol=tolerance), f"‖Φ‖_{a.q:g}"
            assert a.log10 <= a.upper_log10
            assert b.log10 <= a.upper_log10 + tolerance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_border_classes_equal_all_positions(check_law: CheckLaw, dtype: str) -> None:
    def law(graph: Graph, pooling: str, inputs_only: bool) -> None:
        assert_borders_agree(graph, dtype=dtype, pooling=pooling, inputs_only=inputs_only)

    check_law(
        law, convnets(), st.sampled_from(["sum", "max"]), st.booleans(), examples=1.5 if dtype == "float64" else 0.5
    )


@pytest.mark.slow
def test_border_classes_equal_a_recursion_over_neurons() -> None:
    @settings(max_examples=60, database=None)
    @given(convnets(max_nodes=5, capacity=100))
    def law(graph: Graph) -> None:
        note(str(graph))
        assume(all(graph[key].op != "Resize" for key in graph.order))  # ONNX Runtime does not know all of them
        assert_equals_recursion(graph, rtol=1e-9)

    law()


def test_classes_are_fewer_than_positions_and_can_be_left_out() -> None:
    """Of a map with an interior, one representative each of its nine border situations is held, or every position."""
    graph, held = built("windows_inside_and_at_borders"), []
    for borders in (True, False):
        evaluation = Evaluation(PathNormAlgebra(1.0), borders=borders)
        evaluation.run(graph, {"x": (1, 1, 12, 11)})
        (y,) = evaluation.outputs.values()
        assert y.shape == (1, 1, 12, 11)
        held.append(tuple(y.value.m.shape))
    assert held == [(1, 1, 3, 3), (1, 1, 12, 11)]


class Maps(Builder):
    """A builder for maps of two spatial axes, whose parameters are random, never zero, and seeded."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def weights(self, *shape: int) -> Value:
        return self.param(self.rng.choice([-1.5, -0.5, 0.25, 1.0, 2.0], shape).astype(np.float32))

    def conv(
        self, x: Value, *shape: int, pads: Any = (1, 1, 1, 1), stride: int = 1, dilation: int = 1, **a: Any
    ) -> Value:
        window = {"strides": (stride,) * 2, "dilations": (dilation,) * 2, "pads": pads}
        return self.op("Conv", x, self.weights(*shape), self.weights(shape[0]), **window, **a)

    def transposed(self, x: Value, *shape: int, stride: int, output_padding: int = 0) -> Value:
        window = {"strides": (stride,) * 2, "dilations": (1, 1), "pads": (1, 0, 0, 1)}
        return self.op("ConvTranspose", x, self.weights(*shape), **window, output_padding=(output_padding,) * 2)

    def pool(self, op: str, x: Value, kernel: int, stride: int, pads: Any, *, dilation: int = 1, **attrs: Any) -> Value:
        window = {"kernel": (kernel,) * 2, "strides": (stride,) * 2, "pads": pads, "dilations": (dilation,) * 2}
        return self.op(op, x, **window, **attrs)

    def part(self, x: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
        return self.op("Slice", x, axes=(axis,), starts=(start,), ends=(end,), steps=(step,))


Case = Callable[[Maps, Value], Value]
CASES: dict[str, tuple[tuple[int, ...], Case]] = {}


def case(*shape: int) -> Callable[[Case], Case]:
    """Register a network on an input of this shape."""

    def register(build: Case) -> Case:
        CASES[build.__name__] = (shape, build)
        return build

    return register


def built(name: str) -> Graph:
    shape, build = CASES[name]
    b = Maps()
    return b.finish(build(b, b.input("x", shape)))


@case(1, 2, 9, 8)
def interleaved_phases(b: Maps, x: Value) -> Value:
    h = b.conv(b.transposed(x, 2, 2, 3, 2, stride=3, output_padding=2), 2, 2, 3, 3)
    return b.part(b.part(h, 2, 1, 99, 2), 3, -1, -99, -3)


@case(1, 2, 13, 11)
def skip_over_a_stride_and_back(b: Maps, x: Value) -> Value:
    down = b.conv(x, 2, 2, 3, 3, stride=2)
    up = b.transposed(down, 2, 2, 2, 2, stride=2, output_padding=1)
    crop = b.op("Slice", up, axes=(2, 3), starts=(1, 0), ends=(14, 11), steps=(1, 1))
    return b.conv(b.op("Concat", x, crop, axis=1), 1, 4, 3, 3)


@case(1, 2, 10, 9)
def stacked_along_space(b: Maps, x: Value) -> Value:
    """Inside of the second map lies right of the border of the first."""
    maps = (b.conv(x, 2, 2, 3, 3), b.conv(x, 2, 2, 3, 3, pads=(1, 0, 1, 0)))
    return b.conv(b.op("Concat", *maps, axis=3), 2, 2, 3, 3)


@case(1, 1, 11, 12)
def smaller_last_windows(b: Maps, x: Value) -> Value:
    h = b.pool("AveragePool", b.conv(x, 2, 1, 3, 3), 3, 2, (1, 0, 0, 1), ceil_mode=True)
    h = b.pool("AveragePool", h, 3, 2, (1, 1, 1, 1), ceil_mode=True, count_include_pad=True)
    return b.pool("MaxPool", h, 2, 2, (0, 1, 0, 0), ceil_mode=True)


@case(1, 1, 12, 11)
def windows_inside_and_at_borders(b: Maps, x: Value) -> Value:
    return b.conv(x, 1, 1, 3, 3)


@case(1, 1, 13, 12)
def dilated_pools(b: Maps, x: Value) -> Value:
    h = b.pool("MaxPool", b.conv(x, 2, 1, 3, 3), 3, 1, (0, 1, 1, 0), dilation=2)
    h = b.pool("AveragePool", h, 2, 1, (0, 0, 0, 0), dilation=3)
    return b.pool("MaxPool", h, 2, 2, (0, 0, 0, 0), dilation=2, ceil_mode=True)


@case(1, 2, 14, 13)
def sum_of_dilations(b: Maps, x: Value) -> Value:
    return b.op("Sum", *(b.conv(x, 2, 2, 3, 3, dilation=d, pads=(d,) * 4) for d in (1, 2, 5)))


@case(1, 1, 8, 8)
def windows_of_nothing_but_padding(b: Maps, x: Value) -> Value:
    return b.conv(b.conv(x, 2, 1, 2, 2, pads=(4, 0, 3, 5)), 1, 2, 3, 3, pads=(0, 3, 4, 0))


@case(1, 2, 9, 10)
def one_bias_per_position(b: Maps, x: Value) -> Value:
    return b.conv(b.op("Add", b.conv(x, 2, 2, 3, 3), b.weights(2, 9, 10)), 1, 2, 3, 3)


@case(1, 2, 9, 10)
def one_factor_per_column(b: Maps, x: Value) -> Value:
    h = b.op("Mul", b.conv(x, 2, 2, 3, 3), b.weights(10))
    return b.conv(b.op("PRelu", h, b.weights(9, 1)), 1, 2, 3, 3)


@case(1, 2, 7, 6)
def dense_layer_on_all_positions(b: Maps, x: Value) -> Value:
    return b.op("Gemm", b.op("Flatten", b.conv(x, 2, 2, 3, 3)), b.weights(84, 3), b.weights(3))


@case(4, 2, 7, 6)
def a_fixed_batch(b: Maps, x: Value) -> Value:
    return b.op("Gemm", b.op("Flatten", b.conv(x, 2, 2, 3, 3)), b.weights(84, 3))


@case(3, 5, 7)
def samples_among_rows(b: Maps, x: Value) -> Value:
    """In float32, rows of one product may differ in their last bits; they are samples all the same."""
    rows = b.op("Reshape", x, shape=(15, 7))
    weights = b.param(np.random.default_rng(0).normal(size=(7, 1)).astype(np.float32))
    return b.op("Reshape", b.op("Gemm", rows, weights), shape=(3, 5, 1))


@case(1, 2, 10, 9)
def resize_by_no_integer(b: Maps, x: Value) -> Value:
    h = b.op("Resize", b.conv(x, 2, 2, 3, 3), axes=(2, 3), sizes=(14, 7), mode="linear")
    return b.conv(h, 1, 2, 3, 3)


@case(1, 1, 8, 7)
def resize_by_cubics(b: Maps, x: Value) -> Value:
    return b.conv(b.op("Resize", x, axes=(2, 3), scales=(2.0, 2.0), mode="cubic"), 1, 1, 3, 3)


@case(1, 2, 8, 9)
def padding_by_reflection(b: Maps, x: Value) -> Value:
    h = b.op("Gather", b.conv(x, 2, 2, 3, 3), axis=2, indices=(2, 1, *range(8), 6, 5))
    return b.conv(h, 1, 2, 3, 3, pads=(0, 0, 0, 0))


@case(1, 2, 8, 9)
def padding_by_a_constant(b: Maps, x: Value) -> Value:
    return b.conv(b.op("Pad", x, pads=(0, 1, 2, -1, 0, 0, 1, 3), value=-2.0), 2, 3, 3, 3)


@case(1, 2, 8, 6)
def tokens(b: Maps, x: Value) -> Value:
    h = b.op("Transpose", b.op("Reshape", b.conv(x, 2, 2, 3, 3), shape=(0, 2, 48)), perm=(0, 2, 1))
    h = b.op("Add", b.op("Gemm", h, b.weights(2, 3)), b.op("ReduceMean", h, axes=(1, 2)))
    return b.op("ReduceMax", h, axes=(1,), keepdims=False)


@case(1, 2, 6, 4)
def rows_cut_anew(b: Maps, x: Value) -> Value:
    """Six rows of four become four of six: an axis of the old extent, which is another one."""
    return b.conv(b.op("Reshape", b.conv(x, 2, 2, 3, 3), shape=(1, 2, 4, 6)), 1, 2, 3, 3)


@case(1, 4, 7, 9)
def pixel_shuffle(b: Maps, x: Value) -> Value:
    h = b.op("Reshape", b.conv(x, 4, 4, 3, 3), shape=(0, 1, 2, 2, 7, 9))
    h = b.op("Reshape", b.op("Transpose", h, perm=(0, 1, 4, 2, 5, 3)), shape=(0, 1, 14, 18))
    return b.conv(h, 1, 1, 3, 3)


@case(1, 4, 8, 7)
def channel_shuffle(b: Maps, x: Value) -> Value:
    h = b.op("Reshape", b.conv(x, 4, 2, 3, 3, groups=2), shape=(0, 2, 2, 8, 7))
    h = b.op("Reshape", b.op("Transpose", h, perm=(0, 2, 1, 3, 4)), shape=(0, 4, 8, 7))
    return b.conv(h, 4, 1, 3, 3, groups=4)


@case(1, 3, 8, 7)
def mirrored(b: Maps, x: Value) -> Value:
    h = b.conv(x, 2, 3, 3, 3, pads=(2, 0, 0, 1))
    return b.op("Max", h, b.part(b.part(h, 2, -1, -99, -1), 3, -1, -99, -1))


@case(1, 2, 9, 8)
def channels_of_different_borders(b: Maps, x: Value) -> Value:
    maps = b.conv(x, 1, 2, 3, 3), b.conv(x, 1, 2, 5, 5, pads=(2,) * 4), b.pool("MaxPool", x, 3, 1, (1,) * 4)
    constant = b.op("Expand", b.weights(1, 1, 9, 8), shape=(1, 1, 9, 8))
    return b.op("TopK", b.op("Concat", *maps, constant, axis=1), axis=1, k=2)


@case(1, 2, 9, 8)
def order_statistics_along_space(b: Maps, x: Value) -> Value:
    return b.op("TopK", b.conv(x, 2, 2, 3, 3), axis=3, k=3)


@case(1, 3, 1, 1)
def map_of_one_position_expanded(b: Maps, x: Value) -> Value:
    return b.conv(b.op("Add", b.op("Expand", x, shape=(1, 3, 9, 8)), b.weights(3, 1, 1)), 2, 3, 3, 3)


@case(1, 2, 5, 4)
def tiled(b: Maps, x: Value) -> Value:
    return b.conv(b.op("Tile", b.conv(x, 2, 2, 3, 3), repeats=(1, 1, 3, 2)), 1, 2, 3, 3)


@case(1, 2, 8, 9)
def rows_and_columns_swapped(b: Maps, x: Value) -> Value:
    h = b.op("Transpose", b.conv(x, 2, 2, 3, 1, pads=(1, 0, 2, 0)), perm=(0, 3, 1, 2))
    return b.conv(h, 2, 9, 1, 3, pads=(0, 0, 0, 2))


@case(1, 2, 8, 9)
def weights_along_space(b: Maps, x: Value) -> Value:
    h = b.op("Einsum", b.conv(x, 2, 2, 3, 3), b.weights(8, 3), equation="bchw,hk->bckw")
    return b.op("Gemm", h, b.weights(9, 4), b.weights(4))


@case(1, 1, 9, 9)
def magnitudes_that_differ_by_border(b: Maps, x: Value) -> Value:
    kernel = np.array([[[[1e-30, 1.0, 1e30], [1.0, 1e-20, 1.0], [1e30, 1.0, 0.0]]]], np.float32)
    for _ in range(3):
        x = b.op("Conv", x, b.param(kernel), strides=(1, 1), dilations=(1, 1), pads=(1, 1, 1, 1))
    return x


@pytest.mark.parametrize("name", CASES)
def test_known_difficulties(name: str) -> None:
    graph = built(name)
    assert_equals_recursion(graph, rtol=1e-5 if "resize" in name else 1e-12)
    assert_borders_agree(graph)
    assert_borders_agree(graph, pooling="max")
    assert_borders_agree(graph, dtype="float32")
    wide, narrow = (PathNorm(q=QS, dtype=dtype).run(graph) for dtype in ("float64", "float32"))
    assert narrow.assumptions == wide.assumptions


def assert_equals_recursion(graph: Graph, *, rtol: float) -> None:
    neurons = oracle.neuron_graph(graph)
    for q, pooling in product((0.0, 2.0), ("sum", "max")):
        (norm,) = PathNorm(q=(q,), pooling=pooling).run(graph).norms
        for name, sums in oracle.power_sums(neurons, q, pooling=pooling).items():
            got = 10.0 ** norm.outputs[name].numpy()
            assert np.allclose(got, sums.astype(np.float64) ** (1 / q if q else 1), rtol=rtol, atol=0), (q, pooling)
