"""Resize and Upsample: separable interpolation, in the coordinates of every version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.primitives.resample import COORDINATES
from pathlift.ir.types import Dim, Dims, Ints


@lowering("Upsample")
def upsample(node: OnnxNode) -> Operand:
    """The older spelling, by scales alone."""
    x = node.input(0)
    scales = _floats(node, 1) if node.version >= 9 else node.reals("scales")
    return _legacy(node, x, scales)


@lowering("Resize", ignores=["extrapolation_value", "cubic_coeff_a", "exclude_outside"])
def resize(node: OnnxNode) -> Operand:
    """By scales or to sizes, along all axes or those named."""
    x = node.input(0)
    if node.version < 11:
        return _legacy(node, x, _floats(node, 1))
    dims = node.dims(x)
    attrs = _interpolation(node)
    axes = tuple(node.axis(a, len(dims)) for a in node.integers("axes", range(len(dims))))
    sizes = node.optional(3)
    if sizes is not None:
        return _to_sizes(node, x, axes, dims, attrs)
    if node.optional(2) is None or not (scales := _floats(node, 2)):
        raise Refusal("neither scales nor sizes are given")
    return _by_scales(node, x, axes, scales, attrs)


def _floats(node: OnnxNode, slot: int) -> tuple[float, ...]:
    return tuple(float(v) for v in node.constant(slot, "its scales are computed from data").numpy().reshape(-1))


def _legacy(node: OnnxNode, x: Operand, scales: Sequence[float]) -> Operand:
    mode = {"nearest": "nearest", "linear": "linear", "bilinear": "linear"}.get(node.text("mode", "nearest"))
    if mode is None:
        raise Refusal(f"mode {node.text('mode', '')}")
    if mode == "nearest" and any(s < 1 and (1 / s) % 1 for s in scales):
        raise Refusal("shrinking to nearest by no whole number, which this opset leaves open")
    attrs = {"mode": mode, "coordinates": "asymmetric"} | ({"nearest_mode": "floor"} if mode == "nearest" else {})
    return _by_scales(node, x, tuple(range(len(scales))), scales, attrs)


def _interpolation(node: OnnxNode) -> dict[str, Any]:
    coordinates = node.text("coordinate_transformation_mode", "half_pixel")
    if coordinates not in COORDINATES:
        raise Refusal(f"coordinates {coordinates}")
    mode, nearest = node.text("mode", "nearest"), node.text("nearest_mode", "round_prefer_floor")
    if (coordinates, mode) == ("half_pixel_symmetric", "nearest") and nearest in ("floor", "ceil"):
        raise Refusal("positions on the grid, which the rounding of the runtime decides")
    if node.integer("antialias"):
        raise Refusal("antialiasing")
    if node.choice("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller") != "stretch":
        raise Refusal("an aspect ratio that is kept")
    # Files spell out what means nothing in their mode. Of one value, or of two that the border clamps onto one, none
    # can be left out.
    attrs: dict[str, Any] = {"mode": mode, "coordinates": coordinates}
    if mode == "nearest":
        attrs["nearest_mode"] = nearest
    elif mode == "cubic":
        attrs["cubic_coeff_a"] = node.real("cubic_coeff_a", -0.75)
        attrs["exclude_outside"] = bool(node.integer("exclude_outside"))
    return attrs


def _by_scales(node: OnnxNode, x: Operand, axes: Ints, scales: Sequence[float], attrs: dict[str, Any]) -> Operand:
    if len(scales) != len(axes):
        raise Refusal(f"{len(scales)} scales for {len(axes)} axes")
    changed = {a: s for a, s in zip(axes, scales, strict=True) if s != 1}
    if not changed:
        return x
    return node.result("Resize", x, axes=tuple(changed), scales=tuple(changed.values()), **attrs)


def _to_sizes(node: OnnxNode, x: Operand, axes: Ints, dims: Dims, attrs: dict[str, Any]) -> Operand:
    sizes = node.extents(3)
    if sizes is None or len(sizes) != len(axes):
        raise Refusal("its sizes are computed from data")
    changed: dict[int, int] = {}
    for axis, size in zip(axes, sizes, strict=True):
        if _same(size, dims[axis]):
            continue
        if not isinstance(size, int):
            raise Refusal("its sizes depend on an unknown extent", GIVE_SHAPE)
        changed[axis] = size
    if not changed:
        return x
    return node.result("Resize", x, axes=tuple(changed), sizes=tuple(changed.values()), **attrs)


def _same(a: Dim, b: Dim) -> bool:
    return a is not None and a == b
