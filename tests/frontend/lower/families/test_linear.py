"""Gemm, MatMul, Einsum and the convolutions, in every spelling, against ONNX Runtime."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.frontend.load import load
from pathlift.frontend.lower.registry import GIVE_SHAPE
from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


@pytest.mark.parametrize("trans_a,trans_b", list(product((0, 1), repeat=2)))
@pytest.mark.parametrize("alpha,beta", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (-0.3, 1.0)])
@pytest.mark.parametrize("bias", [None, (), (1,), (5,), (1, 5), (1, 1), (3, 1), (3, 5)])
@pytest.mark.parametrize("dynamic", ["a", "b", "ac", "bc"])
def test_gemm(
    check: Any, dyn: Any, rng: Rng, trans_a: int, trans_b: int, alpha: float, beta: float, bias: Any, dynamic: str
) -> None:
    a = f32(rng, *((4, 3) if trans_a else (3, 4)))
    b = f32(rng, *((5, 4) if trans_b else (4, 5)))
    c = None if bias is None else f32(rng, *bias)
    wrap = [dyn(x) if name in dynamic and x is not None else x for name, x in zip("abc", (a, b, c), strict=True)]
    graph = check("Gemm", *wrap, transA=trans_a, transB=trans_b, alpha=alpha, beta=beta, opset=13)
    assert not any(graph[k].op == "Opaque" for k in graph)


def test_gemm_bias_is_one_vector(check: Any, dyn: Any, rng: Rng) -> None:
    x, w = dyn(f32(rng, 3, 4)), f32(rng, 4, 5)
    for shape in [(), (1,), (5,), (1, 5)]:
        graph = check("Gemm", x, w, f32(rng, *shape), expect="Gemm")
        assert [graph[k].types[0].shape for k in graph.params] == [(4, 5), (5,)]


def test_gemm_of_activations_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    graph = check("Gemm", dyn(f32(rng, 3, 4)), dyn(f32(rng, 4, 5)), expect="Opaque")
    assert graph["y0"].attrs["reason"] == "product of two activations"


@pytest.mark.parametrize(
    "x,w",
    [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (4,)), ((4,), (4,)),
        ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((7, 2, 3, 4), (2, 4, 5)), ((2, 3, 4), (1, 4, 5)),
        ((4,), (2, 4, 5)), ((2, 3, 4), (6, 2, 4, 5)), ((6, 2, 3, 4), (1, 2, 4, 5)), ((6, 2, 3, 4), (6, 2, 4, 5)),
    ],
)  # fmt: skip
def test_matmul(check: Any, dyn: Any, rng: Rng, x: Any, w: Any) -> None:
    graph = check("MatMul", dyn(f32(rng, *x)), f32(rng, *w))
    assert not any(graph[k].op == "Opaque" for k in graph)


@pytest.mark.parametrize(
    "w,x",
    [
        ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((3, 4), (2, 4, 5)), ((4,), (2, 4, 5)), ((4,), (4,)),
        ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (4,)), ((1, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (7, 2, 4, 5)),
    ],
)  # fmt: skip
def test_matmul_weight_left(check: Any, dyn: Any, rng: Rng, w: Any, x: Any) -> None:
    check("MatMul", f32(rng, *w), dyn(f32(rng, *x)), expect="Einsum")


def test_matmul_broadcasting_batch_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("MatMul", dyn(f32(rng, 1, 3, 4)), f32(rng, 2, 4, 5), expect="Opaque")
    check("MatMul", dyn(f32(rng, 2, 3, 4), ("N", 3, 4)), f32(rng, 2, 4, 5), expect="Opaque")
    check("MatMul", dyn(f32(rng, 2, 3, 4)), dyn(f32(rng, 2, 4, 5)), expect="Opaque")


def test_integer_matmul_is_opaque(check: Any, dyn: Any) -> None:
    check("MatMul", dyn(np.ones((2, 3), np.int32)), np.ones((3, 4), np.int32), expect="Opaque")


@pytest.mark.parametrize(
    "equation,x,w,op",
    [
        ("bi,io->bo", (2, 3), (3, 4), "Gemm"), ("bi,oi", (2, 3), (4, 3), "Gemm"),
        ("...i,io->...o", (2, 5, 3), (3, 4), "Gemm"), ("bhi,hio->bho", (2, 5, 3), (5, 3, 4), "Einsum"),
        ("b...i,io->b...o", (2, 5, 3), (3, 4), "Opaque"), ("bii,io->bo", (2, 3, 3), (3, 4), "Opaque"),
        ("bj,io->bo", (2, 3), (3, 4), "Opaque"), ("nchw,kc->nkhw", (2, 3, 4, 5), (6, 3), "Einsum"),
    ],
)  # fmt: skip
def test_einsum(check: Any, dyn: Any, rng: Rng, equation: str, x: Any, w: Any, op: str) -> None:
    check("Einsum", dyn(f32(rng, *x)), f32(rng, *w), equation=equation, expect=op)
    flipped = equation.split("->")[0].split(",")
    if "->" in equation:
        result = equation.split("->")[1]
        check("Einsum", f32(rng, *w), dyn(f32(rng, *x)), equation=f"{flipped[1]},{flipped[0]}->{result}", expect=op)


def test_an_einsum_that_may_broadcast_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("Einsum", dyn(f32(rng, 2, 1)), f32(rng, 3, 4), equation="bi,io->bo", expect="Opaque")
    check("Einsum", dyn(f32(rng, 2, 3), ("N", "K")), f32(rng, 3, 4), equation="bi,io->bo", expect="Opaque")


@pytest.mark.parametrize("seed", range(60))
def test_conv(check: Any, dyn: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3]))
    kernel = rng.integers(1, 4, n)
    strides, dilations = rng.integers(1, 4, n), rng.integers(1, 3, n)
    attrs: dict[str, Any] = {"strides": strides.tolist(), "dilations": dilations.tolist(), "group": groups}
    mode = rng.choice(["NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if mode == "NOTSET":
        attrs["pads"] = rng.integers(0, 3, 2 * n).tolist()
    if mode.startswith("SAME"):
        attrs["dilations"] = [1] * n
    if mode:
        attrs["auto_pad"] = str(mode)
    if rng.integers(2):
        attrs["kernel_shape"] = kernel.tolist()
    x = dyn(f32(rng, 2, 2 * groups, *rng.integers(6, 10, n)))
    w = f32(rng, 3 * groups, 2, *kernel)
    bias = [None, f32(rng, 3 * groups), dyn(f32(rng, 3 * groups))][rng.integers(3)]
    graph = check("Conv", x, w, bias, **attrs)
    assert "Opaque" not in [graph[k].op for k in graph]


@pytest.mark.parametrize(
    ("mode", "size", "stride", "pads"),
    [
        ("SAME_UPPER", 7, 2, (2, 2)),
        ("SAME_UPPER", 8, 2, (1, 2)),
        ("SAME_LOWER", 8, 2, (2, 1)),
        ("SAME_UPPER", 6, 1, (2, 2)),
    ],
)
def test_conv_same_spans_dilated_windows(mode: str, size: int, stride: int, pads: tuple[int, int]) -> None:
    """So many outputs as strides fit, rounded up; ONNX Runtime knows SAME without dilations only."""
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, size])
    attrs = {"auto_pad": mode, "strides": [stride], "dilations": [2]}
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attrs)
    w = numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "w")
    opset = [helper.make_opsetid("", 17)]
    graph = load(helper.make_model(helper.make_graph([node], "g", [x], [y], [w]), opset_imports=opset, ir_version=8))
    assert graph["y"].attrs["pads"] == pads
    assert graph.type_of(graph.outputs[0]).shape == (1, 1, -(-size // stride))


def test_conv_same_with_unknown_size(check: Any, dyn: Any, rng: Rng) -> None:
    x, w = dyn(f32(rng, 1, 2, 7, 8), ("N", 2, "H", "W")), f32(rng, 3, 2, 3, 2)
    check("Conv", x, w, auto_pad="SAME_UPPER", expect="Conv")
    check("Conv", x, w, auto_pad="SAME_LOWER", expect="Conv")
    graph = check("Conv", x, w, auto_pad="SAME_UPPER", strides=[2, 2], expect="Opaque")
    assert graph["y0"].attrs["hint"] == GIVE_SHAPE


def test_conv_with_dynamic_weight_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    graph = check("Conv", dyn(f32(rng, 1, 2, 7, 8)), dyn(f32(rng, 3, 2, 3, 2)), expect="Opaque")
    assert graph["y0"].attrs["reason"] == "dynamic weight"


@pytest.mark.parametrize("seed", range(80))
def test_conv_transpose(check: Any, dyn: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(1, 4)), int(rng.choice([1, 2]))
    kernel, strides, dilations = rng.integers(2, 4, n), rng.integers(1, 4, n), rng.integers(1, 3, n)
    size = rng.integers(3, 6, n)
    attrs: dict[str, Any] = {"strides": strides.tolist(), "dilations": dilations.tolist(), "group": groups}
    extra = np.minimum(rng.integers(0, 2, n), strides - 1)
    if rng.integers(2):
        attrs["output_padding"] = extra.tolist()
    mode = rng.choice(["NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if mode.startswith("SAME") and np.any(dilations * (kernel - 1) + 1 < strides):
        mode = "NOTSET"  # ONNX Runtime and ONNX's own shape inference disagree about these
    if mode == "NOTSET":
        attrs["pads"] = rng.integers(0, 2, 2 * n).tolist()
    if mode:
        attrs["auto_pad"] = str(mode)
    if rng.integers(3) == 0:
        full = strides * (size - 1) + dilations * (kernel - 1) + 1 + np.array(attrs.get("output_padding", [0] * n))
        attrs["output_shape"] = (full - rng.integers(0, 3, n)).tolist()
        attrs.pop("pads", None)
    x = dyn(f32(rng, 2, 2 * groups, *size))
    bias = [None, f32(rng, 3 * groups), dyn(f32(rng, 3 * groups))][rng.integers(3)]
    check("ConvTranspose", x, f32(rng, 2 * groups, 3, *kernel), bias, **attrs)
