"""Constant masks of Where, against ONNX Runtime: whatever they hide has no part in the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.save import to_onnx
from pathlift.ir.spelling import without_spellings
from pathlift.testing import onnxruntime_session, op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator
KEPT = {  # mask: how each side is kept
    (2, 3): ["Reshape", "Pad", "Gather", "Reshape"],
    (3,): ["Pad", "Gather"],
    (2, 1): ["Pad", "Gather"],
    (4, 2, 3): ["Expand", "Reshape", "Pad", "Gather", "Reshape"],
}


def half(shape: tuple[int, ...]) -> Any:
    return (np.arange(np.prod(shape)) % 2 == 0).reshape(shape)


@pytest.mark.parametrize("mask", KEPT)
def test_where(check: Any, dyn: Any, rng: Rng, mask: Any) -> None:
    x, y, chosen = f32(rng, 2, 3), f32(rng, 2, 3), half(mask)
    x[0, 1] = y[1, 1] = np.inf
    x[1, 0] = y[0, 0] = np.nan
    z, number = f32(rng, 2, 3), np.float32(-1.5)
    check("Where", chosen, dyn(x), dyn(y), expect=[*KEPT[mask], *KEPT[mask], "Add"])
    check("Where", chosen, dyn(x), z, expect=[*KEPT[mask], "Add"])
    check("Where", chosen, z, dyn(y), expect=[*KEPT[mask], "Add"])
    check("Where", chosen, dyn(x), number, expect=KEPT[mask])
    check("Where", chosen, number, dyn(y), opset=9, expect=KEPT[mask])
    check("Where", chosen, dyn(x), np.zeros((5, 1, 1, 1), np.float32), expect=[*KEPT[mask], "Add"])


@pytest.mark.parametrize("kept", [True, False])
def test_masks_of_one_value(check: Any, dyn: Any, rng: Rng, kept: bool) -> None:
    x, mask = f32(rng, 2, 3), np.full((1, 1), kept)
    check("Where", mask, dyn(x, ("N", 3)), dyn(f32(rng, 3)), expect="Identity" if kept else "Opaque")
    check("Where", mask, dyn(x), dyn(f32(rng, 1)), expect="Identity" if kept else "Expand")


def test_empty_masks(check: Any, dyn: Any, rng: Rng) -> None:
    x = f32(rng, 0, 3)
    check("Where", np.zeros((0, 3), bool), dyn(x, ("N", 3)), np.float32(1), expect="Expand")
    check("Where", np.zeros((0, 3), bool), dyn(x), dyn(f32(rng, 1)), expect="Expand")


def test_masks_within_each_sample(check: Any, dyn: Any, rng: Rng) -> None:
    causal = np.tri(4, dtype=bool)
    scores = f32(rng, 2, 3, 4, 4)
    graph = check("Where", causal, dyn(scores, ("N", 3, 4, 4)), np.float32(-1e9), expect=KEPT[2, 3])
    assert graph["y0"].types[0].shape == ("N", 3, 4, 4)
    check("Where", causal, dyn(scores, ("N", "H", 4, 4)), np.float32(-1e9), expect=KEPT[2, 3])
    across = half((2, 1, 4)) ^ np.array([True, False]).reshape(2, 1, 1)
    check("Where", across, dyn(f32(rng, 2, 3, 4), (2, "T", 4)), np.float32(1), expect="Opaque")


def test_signs_of_zeros(check: Any, dyn: Any, rng: Rng) -> None:
    for number in (0.0, -0.0):
        graph = check("Where", half((3,)), dyn(f32(rng, 2, 3)), np.float32(number), expect=KEPT[3,])
        (pad,) = (node for _, node in graph.nx.nodes(data="node") if node.op == "Pad")
        assert np.signbit(pad.attrs.get("value", 0.0)) == np.signbit(number)
    x, both = np.float32([[-0.0, 0.0, -0.0]]), check("Where", half((3,)), dyn(f32(rng, 1, 3)), dyn(f32(rng, 1, 3)))
    (y,) = onnxruntime_session(to_onnx(without_spellings(both)).SerializeToString()).run(None, {"x1": x, "x2": -x})
    assert np.signbit(y).tolist() == [[True, True, True]]
    beside = check("Where", half((3,)), dyn(f32(rng, 1, 3)), f32(rng, 3))
    (y,) = onnxruntime_session(to_onnx(without_spellings(beside)).SerializeToString()).run(
        None, {"x1": x[:, ::-1] * 0 - 0.0}
    )
    assert np.signbit(y)[:, ::2].all()
    mixed = np.float32([0.0, -0.0, 0.0])
    assert op_names(check("Where", half((3,)), dyn(f32(rng, 2, 3)), mixed)) == [*KEPT[3,], "Add"]


def test_one_constant_behind_two_masks(compare: Any, rng: Rng) -> None:
    nodes = [node("Where", "m x c", "a"), node("Where", "n x c", "b"), node("Where", "m c x", "d")]
    constants = {"m": half((3,)), "n": np.array([True, True, False]), "c": f32(rng, 3)}
    compare(nodes, {"x": f32(rng, 2, 3)}, constants, ["a", "b", "d"])


def test_where_that_stays_opaque(check: Any, dyn: Any, rng: Rng) -> None:
    x, chosen = f32(rng, 2, 3), np.array([True, False, True])
    graph = check("Where", dyn(chosen), dyn(x), x, expect="Opaque")
    assert graph["y0"].attrs["reason"] == "a choice that depends on data"
    check("Where", chosen, dyn(x), np.float32(-np.inf), expect="Opaque", run=False)
    check("Where", chosen, dyn(x.astype(np.int64)), np.int64(1).reshape(()), expect="Opaque")
