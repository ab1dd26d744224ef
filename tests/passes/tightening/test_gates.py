"""Gates on a box: which of their elements are linear there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.tightening.gates import Pieces, all_pieces, compact

NONE = np.zeros(1)


def found(shape: tuple[Any, ...], extents: tuple[int, ...], ends: tuple[Any, Any], op: str, **attrs: Any) -> Pieces:
    b = Builder()
    x = b.input("x", shape, "f64")
    graph = b.finish(b.op(op, x, **attrs, name="y"))
    sides = [{"x": torch.tensor(np.broadcast_to(end, (1, *extents[1:])).copy())} for end in ends]
    return all_pieces(graph, Domain(*sides), {"x": extents}).get("y", Pieces(NONE, NONE, NONE, NONE, 0.0))


def test_pieces_are_closed() -> None:
    relu = found(("N", 4), (1, 4), ([0.0, -1.0, -1.0, 0.0], [1.0, 0.0, 1.0, 0.0]), "Relu")
    assert relu.known.tolist() == [[True, True, False, True]]
    assert (relu.slope[0, 0], relu.slope[0, 1]) == (1, 0)


@pytest.mark.parametrize(
    ("low", "high", "slope", "offset"), [(-3.0, -2.0, 0, -1), (-1.0, 2.0, 1, 0), (2.5, 9.0, 0, 2.5)]
)
def test_clip(low: float, high: float, slope: float, offset: float) -> None:
    clip = found(("N", 1), (1, 1), (low, high), "Clip", low=-1.0, high=2.5)
    assert clip.known.all()
    assert (clip.slope.item(), clip.offset.item()) == (slope, offset)
    assert clip.saturated.all() == (offset != 0)


def test_pieces_with_rounded_offsets_and_bent_ones_are_none() -> None:
    assert not found(("N", 1), (1, 1), (-0.1, 0.1), "HardSigmoid", alpha=0.2, beta=0.5).known.any()
    assert not found(("N", 1), (1, 1), (1.0, 2.0), "Tanh").known.any()


def test_open_axes_have_one_answer() -> None:
    low = np.array([[[1.0, 1.0], [-2.0, 1.0]]])
    relu = found(("N", 2, "T"), (1, 2, 2), (low, low + 0.5), "Relu")
    assert relu.known.tolist() == [[[True], [False]]]
    known = found(("N", 2, 2), (1, 2, 2), (low, low + 0.5), "Relu")
    assert known.known.all()
    features = known.features()
    assert features is not None
    assert features.known.tolist() == [False, True]


def test_compact() -> None:
    assert compact(np.ones((2, 3))).shape == (1, 1)
    assert compact(np.arange(6.0).reshape(2, 3)[:, :1] * np.ones((1, 3))).shape == (2, 1)
