"""Contractions, convolutions, averages and resizing."""

from __future__ import annotations

import numpy as np

from pathlift.frontend.emit.pooling import ceil_mode_at
from pathlift.frontend.emit.writer import EmissionSite, emits
from pathlift.ir.ops.registry import Floats
from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Dims, Ints


@emits("Gemm")
def gemm(at: EmissionSite, x: str, w: str, b: str = "", *, trans_w: bool) -> None:
    """Gemm for matrices, MatMul and Add for any other rank: ONNX's Gemm has no batches."""
    rank = len(at.type(0).shape or ())
    if rank == 2 and (trans_w or b) and (not b or _fits_gemm(at.type(2).shape, at.type(1).shape, trans_w)):
        at.emit("Gemm", x, w, b, transB=trans_w or None)
        return
    matrix = at.writer.transposed(w) if trans_w else w
    if b:
        at.emit("Add", at.step("MatMul", x, matrix, hint="product"), b)
    else:
        at.emit("MatMul", x, matrix)


def _fits_gemm(bias: Dims | None, w: Dims | None, trans_w: bool) -> bool:
    """Whether the bias is known to broadcast without enlarging the result, as ONNX's Gemm has it."""
    if bias is None or w is None:
        return False
    return not bias or (bias[-1] in (1, w[0 if trans_w else 1]) and bias[:-1] in ((), (1,)))


@emits("Einsum")
def einsum(at: EmissionSite, x: str, w: str, *, equation: str) -> None:
    """MatMul where the equation is one, whatever side the weights are on."""
    xs, ws, out = Contract(equation).terms
    # MatMul aligns the axes in front of the matrices at the right.
    if xs[:-2].endswith(ws[:-2]) and out[:-2] == xs[:-2] and len(set(xs[-2:] + ws[-2:])) == 3:
        if xs[-1] == ws[-2] and out[-2:] == xs[-2] + ws[-1]:
            at.emit("MatMul", x, w)
            return
        if ws[-1] == xs[-2] and out[-2:] == ws[-2] + xs[-1]:
            at.emit("MatMul", w, x)
            return
    at.emit("Einsum", x, w, equation=equation.replace(" ", ""))


@emits("Conv")
def conv(
    at: EmissionSite, x: str, w: str, b: str = "", *, strides: Ints, pads: Ints, dilations: Ints, groups: int
) -> None:
    """With the kernel's extents, which the IR reads off the weights."""
    kernel = _kernel(at)
    at.emit("Conv", x, w, b, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations, group=groups)


@emits("ConvTranspose")
def conv_transpose(
    at: EmissionSite,
    x: str,
    w: str,
    b: str = "",
    *,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    output_padding: Ints,
    groups: int,
) -> None:
    """With the kernel's extents; ONNX's pads crop, like the IR's."""
    at.emit(
        "ConvTranspose",
        x,
        w,
        b,
        kernel_shape=_kernel(at),
        strides=strides,
        pads=pads,
        dilations=dilations,
        output_padding=output_padding if any(output_padding) else None,
        group=groups,
    )


def _kernel(at: EmissionSite) -> tuple[int, ...] | None:
    spatial = (at.type(1).shape or ())[2:]
    known = tuple(d for d in spatial if isinstance(d, int))
    return known if len(known) == len(spatial) else None


@emits("AveragePool")
def average_pool(
    at: EmissionSite,
    x: str,
    *,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    ceil_mode: bool,
    count_include_pad: bool,
) -> None:
    """Dilations are as young as opset 19."""
    dilated = any(d != 1 for d in dilations)
    if dilated:
        at.require(19)
    at.emit(
        "AveragePool",
        x,
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations if dilated else None,
        ceil_mode=ceil_mode_at(at, kernel, strides, pads, dilations) if ceil_mode else None,
        count_include_pad=count_include_pad or None,
    )


@emits("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(at: EmissionSite, x: str, *, axes: Ints, keepdims: bool) -> None:
    """The axes became an input in opset 18; those of ReduceSum in 13."""
    if at.opset >= 18 or at.node.op == "ReduceSum":
        at.emit(at.node.op, x, at.ints(axes, "axes") if axes else "", keepdims=keepdims)
    else:
        at.emit(at.node.op, x, axes=axes, keepdims=keepdims)


@emits("Resize")
def resize(
    at: EmissionSite,
    x: str,
    *,
    axes: Ints,
    scales: Floats,
    sizes: Ints,
    mode: str,
    coordinates: str,
    nearest_mode: str,
    cubic_coeff_a: float,
    exclude_outside: bool,
) -> None:
    """One scale or size per axis; only those that change where the others are not known."""
    if coordinates == "half_pixel_symmetric":
        at.require(19)
    dims = at.type(0).shape
    where = {axis % len(dims) if dims else axis: j for j, axis in enumerate(axes)}
    if dims is not None and (scales or all(isinstance(d, int) for i, d in enumerate(dims) if i not in where)):
        # The spelling that every opset has: one entry per axis, those that stay included.
        scales = scales and tuple(scales[where[i]] if i in where else 1.0 for i in range(len(dims)))
        sizes = sizes and tuple(sizes[where[i]] if i in where else int(d or 0) for i, d in enumerate(dims))
        axes = ()
    else:
        at.require(18)
    at.emit(
        "Resize",
        x,
        "",
        at.writer.constant(np.array(scales, dtype=np.float32), f"{at.outputs[0]}_scales") if scales else "",
        at.ints(sizes, "sizes") if sizes else "",
        axes=axes,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=nearest_mode if mode == "nearest" else None,
        cubic_coeff_a=cubic_coeff_a if mode == "cubic" else None,
        exclude_outside=exclude_outside or None,
    )
