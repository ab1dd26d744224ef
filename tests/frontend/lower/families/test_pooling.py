"""Pools, reductions and order statistics, in every spelling, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("seed", range(80))
def test_pool(check: Any, dyn: Any, op_type: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, n)
    opset = int(rng.choice([8, 11, 13, 19, 21] if op_type == "MaxPool" else [7, 11, 19, 21]))
    attrs: dict[str, Any] = {"kernel_shape": kernel.tolist()}
    if rng.integers(2):
        attrs["strides"] = rng.integers(1, 4, n).tolist()
    dilations = np.ones(n, np.int64)
    mode = rng.choice(["NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if opset >= (10 if op_type == "MaxPool" else 19) and rng.integers(2) and not mode.startswith("SAME"):
        dilations = rng.integers(1, 3, n)
        attrs["dilations"] = dilations.tolist()
    if mode.startswith("SAME") and np.any(kernel < attrs.get("strides", 1)):
        mode = "NOTSET"  # ONNX Runtime finds negative padding then
    if mode == "NOTSET":
        attrs["pads"] = np.minimum(rng.integers(0, 3, 2 * n), np.tile(kernel - 1, 2)).tolist()
    if mode:
        attrs["auto_pad"] = str(mode)
    if opset >= 10 and rng.integers(2) and not mode.startswith("SAME"):
        attrs["ceil_mode"] = 1
    if op_type == "AveragePool" and rng.integers(2):
        attrs["count_include_pad"] = 1
    check(op_type, dyn(f32(rng, 2, 3, *rng.integers(5, 10, n))), opset=opset, expect=op_type, **attrs)


@pytest.mark.parametrize("size", range(2, 9))
@pytest.mark.parametrize("stride", [2])
def test_pool_same_with_unknown_size(check: Any, dyn: Any, rng: Rng, size: int, stride: int) -> None:
    x = dyn(f32(rng, 1, 2, size, size + 1), ("N", 2, None, None))
    attrs: Any = {"kernel_shape": [2, 2], "strides": [stride, stride]}
    check("MaxPool", x, auto_pad="SAME_UPPER", expect="MaxPool", **attrs)
    check("AveragePool", x, auto_pad="SAME_UPPER", expect="AveragePool", **attrs)
    check("MaxPool", x, auto_pad="SAME_LOWER", expect="Opaque", **attrs)
    check("MaxPool", x, auto_pad="SAME_UPPER", expect="Opaque", kernel_shape=[3, 3], strides=[2, 2])


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel,stride,dilation", [(k, s, d) for k in (1, 2, 3) for s in (1, 2, 3, 4) for d in (1, 2)])
def test_pool_same_is_read_where_runtimes_agree(
    check: Any, dyn: Any, rng: Rng, op_type: str, mode: str, kernel: int, stride: int, dilation: int
) -> None:
    for size in range(1, 9):
        negative = (-(-size // stride) - 1) * stride + kernel - size
        if dilation > 1 and kernel > 1:
            expect = "an auto_pad with dilations, which runtimes read in two ways"
        elif negative < -1:
            expect = "an auto_pad with strides wider than its kernel, which runtimes read in two ways"
        else:
            expect = ""
        attrs: Any = {"kernel_shape": [kernel], "strides": [stride], "dilations": [dilation], "auto_pad": mode}
        runs = not expect and (op_type == "AveragePool" or negative >= 0)  # ONNX Runtime refuses some, and agrees
        graph = check(op_type, dyn(f32(rng, 1, 2, size)), expect=None if expect else op_type, run=runs, **attrs)
        assert graph["y0"].attrs.get("reason", "") == expect


@pytest.mark.parametrize("stride,read", [(1, True), (2, True), (3, True), (4, False)])
def test_pool_same_with_unknown_size_and_wide_strides(check: Any, dyn: Any, rng: Rng, stride: int, read: bool) -> None:
    for size in range(2, 9):
        x = dyn(f32(rng, 1, 2, size), ("N", 2, None))
        attrs: Any = {"kernel_shape": [2], "strides": [stride], "auto_pad": "SAME_UPPER", "pads": [0, 0]}
        check("AveragePool", x, expect="AveragePool" if read else "Opaque", **attrs)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("ceil_mode", [0, 1])
def test_pool_without_windows(check: Any, dyn: Any, rng: Rng, op_type: str, ceil_mode: int) -> None:
    x = dyn(f32(rng, 1, 2, 1, 4))
    attrs: Any = {"kernel_shape": [2, 2], "strides": [3, 1], "ceil_mode": ceil_mode}
    assert check(op_type, x, expect="Opaque", **attrs)["y0"].attrs["reason"] == "not one window fits its input"
    check(op_type, x, expect=op_type, pads=[1, 0, 0, 0], **attrs)


LOWEST = np.finfo(np.float32).min


@pytest.mark.parametrize("value", [-np.inf, LOWEST])
@pytest.mark.parametrize("shape", [(2, 3, 7, 6), ("N", 3, 7, 6), ("N", 3, None, None)])
def test_padding_that_a_pool_never_selects(compare: Any, dyn: Any, rng: Rng, value: float, shape: Any) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["p"]),
        helper.make_node("MaxPool", ["p"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 0, 0]),
    ]
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 2, 1]), "value": np.float32(value)}
    graph = compare(nodes, {"x": dyn(f32(rng, 2, 3, 7, 6), shape)}, constants, ["y"])
    assert op_names(graph) == ["MaxPool"]
    assert graph["y"].attrs["pads"] == (1, 2, 2, 1)


@pytest.mark.parametrize(
    "pads,value,attrs",
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], 0.0, {}),
        ([0, 0, 1, 1, 0, 0, 1, 1], -1e30, {}),
        ([0, 0, 3, 1, 0, 0, 1, 1], -np.inf, {}),  # a window would lie in the padding
        ([0, 0, -1, 1, 0, 0, 1, 1], -np.inf, {}),
        ([0, 1, 1, 1, 0, 0, 1, 1], -np.inf, {}),
        ([0, 0, 1, 1, 0, 0, 1, 1], -np.inf, {"ceil_mode": 1}),
    ],
)
def test_padding_that_stays(compare: Any, rng: Rng, pads: list[int], value: float, attrs: Any) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["p"]),
        helper.make_node("MaxPool", ["p"], ["y"], kernel_shape=[3, 3], strides=[2, 2], **attrs),
    ]
    feed = f32(rng, 2, 3, 8, 6)
    model = compare(nodes, {"x": feed}, {"pads": np.array(pads), "value": np.float32(value)}, ["y"])
    assert op_names(model) == ["Pad", "MaxPool"]


def test_average_pools_select_their_padding(compare: Any, rng: Rng) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["p"]),
        helper.make_node("AveragePool", ["p"], ["y"], kernel_shape=[1, 2]),
    ]
    constants = {"pads": np.array([0, 0, 0, 1, 0, 0, 0, 0]), "value": np.float32(LOWEST)}
    assert op_names(compare(nodes, {"x": f32(rng, 2, 3, 8, 6)}, constants, ["y"])) == ["Pad", "AveragePool"]


def test_indices_are_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("MaxPool", dyn(f32(rng, 1, 2, 5, 5)), kernel_shape=[2, 2], outputs=2, expect="Opaque")
    check("MaxPool", dyn(f32(rng, 1, 2, 5, 5)), kernel_shape=[2, 2], outputs=["y", ""], expect="MaxPool")
    check("TopK", dyn(f32(rng, 2, 5)), np.array([3]), outputs=2, expect="Opaque")


def test_pool_of_integers_is_opaque(check: Any, dyn: Any) -> None:
    check("MaxPool", dyn(np.arange(25, dtype=np.int8).reshape(1, 1, 5, 5)), kernel_shape=[2, 2], expect="Opaque")


@pytest.mark.parametrize("op_type,op", [("GlobalAveragePool", "ReduceMean"), ("GlobalMaxPool", "ReduceMax")])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 2)])
def test_global_pool(check: Any, dyn: Any, rng: Rng, op_type: str, op: str, shape: Any) -> None:
    check(op_type, dyn(f32(rng, *shape)), expect=op)
    check(op_type, dyn(f32(rng, *shape), ("N", 3, *[None] * (len(shape) - 2))), expect=op)


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [None, [0], [1, 2], [-1], [-1, 0], [2, 1]])
@pytest.mark.parametrize("keepdims", [None, 0, 1])
@pytest.mark.parametrize("opset", [7, 12, 13, 18, 20])
def test_reduce(check: Any, dyn: Any, rng: Rng, op_type: str, axes: Any, keepdims: Any, opset: int) -> None:
    if opset < 11 and axes and min(axes) < 0:
        return
    attrs = {} if keepdims is None else {"keepdims": keepdims}
    operands = [dyn(f32(rng, 2, 3, 4))]
    if axes is not None and opset >= (13 if op_type == "ReduceSum" else 18):
        operands.append(np.array(axes))
    elif axes is not None:
        attrs["axes"] = axes
    check(op_type, *operands, opset=opset, expect=op_type, **attrs)


def test_reduce_without_axes(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 2, 3, 4))
    empty = np.zeros(0, np.int64)
    check("ReduceMean", x, empty, expect="ReduceMean")
    check("ReduceMean", x, empty, noop_with_empty_axes=1, expect="Identity")
    check("ReduceMax", x, noop_with_empty_axes=1, expect="Identity")
    check("ReduceSum", x, dyn(np.array([1])), expect="Opaque")
    check("ReduceL2", x, np.array([1]), expect="Opaque")
    check("ReduceMax", dyn(np.arange(6, dtype=np.int32).reshape(2, 3)), np.array([1]), expect="Opaque")


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_top_k(check: Any, dyn: Any, rng: Rng, largest: int, axis: Any) -> None:
    attrs = {} if axis is None else {"axis": axis}
    check("TopK", dyn(f32(rng, 3, 3)), np.array([2]), largest=largest, outputs=["y", "unused"], expect="TopK", **attrs)
    if axis != -1 and largest:
        check("TopK", dyn(f32(rng, 3, 3)), k=2, outputs=["y", "unused"], opset=9, expect="TopK", **attrs)


def test_top_k_of_computed_size_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("TopK", dyn(f32(rng, 3, 3)), dyn(np.array([2])), outputs=["y", "unused"], expect="Opaque")
