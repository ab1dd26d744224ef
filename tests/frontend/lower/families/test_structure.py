"""Rearranging ops, in every spelling, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.testing.onnx_models import f32

Rng = np.random.Generator


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("target", [(6, 4), (0, -1), (-1, 4), (2, 0, 2, 2), (24,), (0, 0, -1), (1, -1, 1)])
def test_reshape(check: Any, dyn: Any, rng: Rng, target: Any) -> None:
    check("Reshape", dyn(f32(rng, 2, 3, 4)), ints(*target), expect="Reshape")
    check("Reshape", dyn(f32(rng, 2, 3, 4), ("N", 3, 4)), ints(*target), expect="Reshape")
    check("Reshape", dyn(np.arange(24).reshape(2, 3, 4)), ints(*target), expect="Reshape")
    if 0 not in target:
        check("Reshape", dyn(f32(rng, 2, 3, 4)), ints(*target), allowzero=1, expect="Reshape")


def test_reshape_refusals(check: Any, dyn: Any, rng: Rng) -> None:
    check("Reshape", dyn(f32(rng, 2, 3)), dyn(ints(3, 2)), expect="Opaque")
    check("Reshape", dyn(f32(rng, 0, 3)), ints(3, 0), allowzero=1, expect="Opaque")


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
def test_flatten(check: Any, dyn: Any, rng: Rng, axis: Any) -> None:
    check("Flatten", dyn(f32(rng, 2, 3, 4)), expect="Flatten", **({} if axis is None else {"axis": axis}))


def test_transpose(check: Any, dyn: Any, rng: Rng) -> None:
    check("Transpose", dyn(f32(rng, 2, 3, 4)), expect="Transpose")
    check("Transpose", dyn(f32(rng, 2, 3, 4)), perm=[1, 2, 0], expect="Transpose")


@pytest.mark.parametrize("axes", [None, [0], [2], [0, 2], [-2], [-4, 2]])
def test_squeeze_and_unsqueeze(check: Any, dyn: Any, rng: Rng, axes: Any) -> None:
    x = dyn(f32(rng, 1, 3, 1, 4))
    check("Squeeze", x, *([] if axes is None else [ints(*axes)]), expect="Squeeze")
    if axes is None or min(axes) >= 0:
        check("Squeeze", x, opset=9, expect="Squeeze", **({} if axes is None else {"axes": axes}))
    if axes is not None:
        check("Unsqueeze", dyn(f32(rng, 3, 4)), ints(*axes), expect="Unsqueeze")
        if min(axes) >= 0:
            check("Unsqueeze", dyn(f32(rng, 3, 4)), axes=axes, opset=9, expect="Unsqueeze")


def test_squeeze_of_unknown_extents_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("Squeeze", dyn(f32(rng, 2, 1), ("N", 1)), expect="Opaque")
    check("Squeeze", dyn(f32(rng, 2, 1)), np.zeros(0, np.int64), expect="Opaque", run=False)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(check: Any, dyn: Any, rng: Rng, axis: int) -> None:
    check("Concat", dyn(f32(rng, 2, 3)), dyn(f32(rng, 2, 3)), f32(rng, 2, 3), axis=axis, expect="Concat")
    check("Concat", dyn(f32(rng, 2, 3)), axis=axis, expect="Identity")


@pytest.mark.parametrize("target", [(2, 3, 4), (3, 1), (1,), (5, 1, 1, 4)])
def test_expand(check: Any, dyn: Any, rng: Rng, target: Any) -> None:
    check(
        "Expand",
        dyn(f32(rng, 3, 4)[:, :1] if target != (5, 1, 1, 4) else f32(rng, 2, 3, 1)),
        ints(*target),
        expect="Expand",
    )
    check("Expand", dyn(f32(rng, 3, 1)), dyn(ints(3, 4)), expect="Opaque")


def test_tile(check: Any, dyn: Any, rng: Rng) -> None:
    check("Tile", dyn(f32(rng, 2, 3)), ints(2, 3), expect="Tile")
    check("Tile", dyn(f32(rng, 2, 3)), dyn(ints(2, 3)), expect="Opaque")


@pytest.mark.parametrize("mode", [None, "DCR", "CRD"])
def test_depth_to_space(check: Any, dyn: Any, rng: Rng, mode: Any) -> None:
    attrs = {} if mode is None else {"mode": mode}
    expect = ["Reshape", "Transpose", "Reshape"]
    check("DepthToSpace", dyn(f32(rng, 2, 12, 3, 4)), blocksize=2, expect=expect, **attrs)
    check("DepthToSpace", dyn(f32(rng, 2, 12, 3, 4), ("N", 12, 3, 4)), blocksize=2, expect=expect, **attrs)
    check("DepthToSpace", dyn(f32(rng, 2, 12, 3, 4), ("N", 12, None, 4)), blocksize=2, expect="Opaque", **attrs)


def test_space_to_depth(check: Any, dyn: Any, rng: Rng) -> None:
    expect = ["Reshape", "Transpose", "Reshape"]
    check("SpaceToDepth", dyn(f32(rng, 2, 3, 6, 4), ("N", 3, 6, 4)), blocksize=2, expect=expect)


@pytest.mark.parametrize("seed", range(40))
def test_slice(check: Any, dyn: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = rng.permutation(3)[: rng.integers(1, 4)]
    bounds = [0, 1, 2, 5, -1, -2, -5, -6, -7, 2**31, -(2**31), 2**63 - 1, -(2**63)]
    starts, ends = rng.choice(bounds, len(axes)), rng.choice(bounds, len(axes))
    steps = rng.choice([1, 1, 2, -1, -2], len(axes))
    x = dyn(f32(rng, 5, 6, 4))
    check("Slice", x, starts, ends, axes.astype(np.int64), steps.astype(np.int64), expect="Slice")
    check("Slice", x, starts, ends, axes.astype(np.int64) - 3, expect="Slice")
    check("Slice", x, starts, ends, None, steps.astype(np.int64), expect="Slice")
    check("Slice", x, starts=starts.tolist(), ends=ends.tolist(), axes=axes.tolist(), opset=9, expect="Slice")


def test_slice_with_computed_bounds_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    check("Slice", dyn(f32(rng, 5)), dyn(ints(1)), ints(3), expect="Opaque")


def test_split(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 6, 7))
    check("Split", x, outputs=3, num_outputs=3, expect="Split")
    check("Split", x, outputs=3, axis=1, num_outputs=3, expect="Split")
    check("Split", x, ints(1, 2, 4), outputs=3, axis=-1, expect="Split")
    check("Split", x, outputs=2, opset=11, expect="Split")
    check("Split", x, outputs=2, opset=11, split=[1, 5], expect="Split")
    check("Split", x, outputs=2, opset=13, expect="Split")
    check("Split", x, outputs=["y0", "unused", "y2"], num_outputs=3, expect="Split")
    check("Split", dyn(f32(rng, 6, 7), ("N", 7)), outputs=3, num_outputs=3, expect="Opaque")


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("indices", [2, [0, 2, 2, 1], [-1, 0], [[0, 1], [2, -3]], [1], [[1]], []])
def test_gather(check: Any, dyn: Any, rng: Rng, axis: Any, indices: Any) -> None:
    attrs = {} if axis is None else {"axis": axis}
    at = np.array(indices, np.int64)
    graph = check("Gather", dyn(f32(rng, 3, 4, 3)), at, **attrs)
    assert "Opaque" not in [graph[k].op for k in graph]
    graph = check("Gather", dyn(f32(rng, 3, 4, 3), ("N", 4, 3)), at, **attrs)
    assert ("Opaque" in [graph[k].op for k in graph]) == (axis in (None, 0) and bool(np.any(at < 0)))


def test_gather_with_computed_indices_is_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    graph = check("Gather", f32(rng, 5, 4), dyn(ints(1, 3)), expect="Opaque")
    assert graph["y0"].attrs["reason"] == "embedding lookup: data-dependent indices"
    graph = check("GatherElements", dyn(f32(rng, 5, 4)), np.zeros((5, 4), np.int64), expect="Opaque")
    assert graph["y0"].attrs["reason"] == "data-dependent indices"


@pytest.mark.parametrize("mode", [None, "constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 2, 1), (0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 3)])
@pytest.mark.parametrize("opset", [9, 12, 20])
def test_pad(check: Any, dyn: Any, rng: Rng, mode: Any, pads: Any, opset: int) -> None:
    attrs = {} if mode is None else {"mode": mode}
    if mode == "wrap" and opset < 19:
        return
    x = dyn(f32(rng, 2, 3, 4))
    constant = mode in (None, "constant")
    expect = (
        "Pad"
        if constant
        else ["Gather"] * sum(bool(a or b) for a, b in zip(pads[:3], pads[3:], strict=True)) or "Identity"
    )
    if opset < 11:
        check("Pad", x, pads=pads, value=1.5, opset=opset, expect=expect, **attrs)
    else:
        check("Pad", x, ints(*pads), np.float32(1.5), opset=opset, expect=expect, **attrs)


def test_pad_more(check: Any, dyn: Any, rng: Rng) -> None:
    x = dyn(f32(rng, 4, 5))
    check("Pad", x, ints(-1, 2, 1, -2), expect="Pad")
    check("Pad", x, ints(1, 2), None, ints(-1), expect="Pad")
    check("Pad", x, ints(1, 2), None, ints(1), mode="edge", expect="Gather")
    check("Pad", x, dyn(ints(1, 2, 1, 2)), expect="Opaque")
    check("Pad", x, ints(1, 2, 1, 2), dyn(np.ones((), np.float32)), expect="Opaque")
    check("Pad", dyn(f32(rng, 4, 5), ("N", 5)), ints(1, 2, 1, 2), mode="edge", expect="Opaque")
    check("Pad", dyn(f32(rng, 4, 5), ("N", 5)), ints(0, 2, 0, 2), mode="edge", expect="Gather")
