"""Transposes: those written out agree with autograd's, and are exact for whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.passes.relaxations.tournament import unfolded
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.record import record
from pathlift.passes.tape.transposes import transposed

CONVS: dict[str, dict[str, Any]] = {
    "plain": {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1},
    "strided, with a rest": {"strides": (2, 3), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1},
    "lopsided": {"strides": (2, 1), "pads": (2, 0, 1, 3), "dilations": (1, 2), "groups": 2},
}


def affine(extents: tuple[int, ...], op: str, *weights: np.ndarray, **attrs: Any) -> list[Affine]:
    b = Builder()
    x = b.input("x", extents, "f64")
    y = b.op(op, x, *(b.param(w) for w in weights), **attrs)
    tape = unfolded(record(b.finish(y), {"x": extents}))[0]
    return [step for step in tape.steps if isinstance(step, Affine)]


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-4, 5, shape).astype(np.float64)


CASES: dict[str, list[Affine]] = {
    "dense": affine((1, 4), "Gemm", whole(4, 3), whole(3)),
    "dense of more axes": affine((1, 2, 4), "Gemm", whole(4, 3)),
    "scaled": affine((1, 3, 2), "Mul", whole(3, 1)),
    "broadcast": affine((1, 3, 1), "Mul", whole(1, 4)),
    "shifted": affine((1, 3, 1), "Add", whole(1, 4)),
    "permuted": affine((1, 2, 3), "Transpose", perm=(0, 2, 1)),
    "reshaped": affine((1, 2, 3), "Reshape", shape=(1, 6)),
    "averaged": affine((1, 2, 5, 4), "ReduceMean", axes=(2, 3), keepdims=False),
    "contests": affine((1, 2, 4, 6), "MaxPool", kernel=(2, 3), strides=(2, 2), pads=(0, 1, 0, 1), dilations=(1, 1)),
} | {
    f"convolution, {name}": affine((1, 4, 7, 8), "Conv", whole(6, 4 // attrs["groups"], 3, 2), whole(6), **attrs)
    for name, attrs in CONVS.items()
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_written_out_is_the_transpose(name: str) -> None:
    assert CASES[name]
    g = torch.Generator().manual_seed(0)
    for step in CASES[name]:
        rows = torch.randint(-4, 5, (3, *step.shape), generator=g).double()
        # ⟨rows, L·x⟩ = ⟨Lᵀ·rows, x⟩, which for one unit vector after the other is every element.
        found = transposed(step, rows)
        assert [tuple(x.shape) for x in found] == [(3, *s) for s in step.shapes]
        for k, shape in enumerate(step.shapes):
            zeros = [torch.zeros(s, dtype=torch.float64) for s in step.shapes]
            for i in range(zeros[k].numel()):
                xs = [x.clone() for x in zeros]
                xs[k].view(-1)[i] = 1.0
                image = step.linear(*xs).expand(step.shape)
                expected = (rows * image).flatten(1).sum(1)
                torch.testing.assert_close(found[k].reshape(3, -1)[:, i], expected, rtol=1e-14, atol=1e-14)
            assert found[k].shape[1:] == torch.Size(shape)


def test_rows_keep_their_format() -> None:
    for steps in CASES.values():
        for step in steps:
            assert all(x.dtype == torch.float32 for x in transposed(step, torch.ones(2, *step.shape)))
