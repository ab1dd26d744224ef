"""A batch of products for neighbours, and boxes that descriptors move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Layout, Schedule
from pathlift.ir.kronecker import Pattern
from pathlift.testing.kernels import GUARD, check

ALIGNED = GUARD + 7
"""A guard band behind which operands begin at a multiple of 16 bytes."""
LAYOUTS: list[tuple[Layout, Layout]] = [("rows", "rows"), ("rows", "features"), ("features", "rows")]
PATTERNS = [
    ((2, 5, 11, 2), 2), ((1, 3, 17, 16), 16),
    *(pytest.param(*p, marks=pytest.mark.slow) for p in (((1, 19, 6, 12), 4), ((2, 16, 8, 8), 8))),
]  # fmt: skip
DESCRIBED = {
    "batched": (Pattern(2, 19, 11, 8), Schedule("batched", Form(), 16, 16, 8, group=4, descriptors=True)),
    "dot": (Pattern(2, 36, 12, 1), Schedule("dot", Form(), 16, 16, 8, descriptors=True)),
    "merged": (Pattern(2, 10, 6, 2), Schedule("dot", Form(), 16, 16, 8, group=2, descriptors=True)),
}
FULL: dict[str, Any] = {"bias": True, "residual": True}


def changed(schedule: Schedule, form: Mapping[str, Any], **how: Any) -> Schedule:
    """Return a schedule with other fields, and so its form."""
    return replace(schedule, form=replace(schedule.form, **form), **how)


@pytest.mark.parametrize("weights_left", [False, True])
@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("pattern, group", PATTERNS)
def test_every_layout_and_group(
    pattern: tuple[int, ...], group: int, layouts: tuple[Layout, Layout], weights_left: bool
) -> None:
    reads, writes = layouts
    form = Form(reads=reads, writes=writes, activation="Relu", **FULL)
    check(Pattern(*pattern), Schedule("batched", form, 16, 16, 8, group=group, weights_left=weights_left), 19)


@pytest.mark.parametrize("samples", [0, 1, 16, 17])
def test_any_number_of_samples(samples: int) -> None:
    check(Pattern(1, 3, 9, 4), Schedule("batched", Form(), 16, 16, 8, group=2), samples)


@pytest.mark.parametrize("weights_left", [False, True])
@pytest.mark.parametrize("activation", ["", "Gelu", "GeluTanh"])
def test_half_precision(activation: str, weights_left: bool) -> None:
    form = Form("float16", "ieee", activation=activation, **FULL)
    check(Pattern(2, 17, 20, 8), Schedule("batched", form, 16, 16, 16, group=8, weights_left=weights_left), 19)


def test_each_operand_of_the_epilogue_alone() -> None:
    for form in (Form(bias=True), Form(residual=True), Form(activation="Relu")):
        check(Pattern(2, 5, 8, 4), Schedule("batched", form, 16, 16, 8, group=2), 5)


class TestDescriptors:
    @pytest.mark.slow
    @pytest.mark.parametrize("guard", [GUARD, ALIGNED])
    @pytest.mark.parametrize("weights_left", [False, True])
    @pytest.mark.parametrize("name", DESCRIBED)
    def test_ragged(self, name: str, weights_left: bool, guard: int) -> None:
        """In place where operands are aligned, and through copies where they are not."""
        pattern, schedule = DESCRIBED[name]
        for form in ({}, FULL | {"activation": "Gelu"}):
            check(pattern, changed(schedule, form, weights_left=weights_left), 19, guard=guard)

    @pytest.mark.parametrize("name", DESCRIBED)
    def test_half_precision(self, name: str) -> None:
        pattern, schedule = DESCRIBED[name]
        pattern = pattern._replace(c=24, b=40) if schedule.template == "dot" else pattern
        group = 8 if schedule.template == "batched" else schedule.group
        form = FULL | {"dtype": "float16", "precision": "ieee"}
        check(pattern, changed(schedule, form, block_k=16, group=group), 19, guard=ALIGNED)

    @pytest.mark.parametrize("samples", [0, 1, 16])
    @pytest.mark.parametrize("name", DESCRIBED)
    def test_any_number_of_samples(self, name: str, samples: int) -> None:
        check(*DESCRIBED[name], samples, guard=ALIGNED)

    def test_a_layer_of_unaligned_operands(self) -> None:
        pattern, schedule = DESCRIBED["batched"]
        module = load(render(pattern, schedule))
        x, w = torch.randn(5 * pattern.cols + 1), torch.randn(pattern.shape)
        shifted = x[1:].view(5, -1)
        assert torch.equal(module.ks_linear(shifted, w), module.ks_linear(shifted.clone(), w))


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("descriptors", [False, True])
@pytest.mark.parametrize("name", ["batched", "dot"])
def test_what_is_not_finite_stays_in_its_block(name: str, descriptors: bool, left: bool, value: float) -> None:
    """Tiles reach over the ends of blocks (c = 12, tiles of 8) on both sides of the one that is spoilt."""
    pattern = Pattern(3, 5, 12, 8) if name == "batched" else Pattern(3, 8, 12, 1)
    ieee = {"precision": "ieee"}
    schedule = changed(DESCRIBED[name][1], ieee, descriptors=descriptors, weights_left=left)
    module = load(render(pattern, schedule))
    x, w = torch.ones(3, pattern.a, pattern.c, pattern.d), torch.ones(pattern.shape)
    x[1, 1, 0, 0] = x[1, 1, -1, -1] = value
    y = module.ks_linear(x.reshape(3, -1), w).reshape(3, pattern.a, pattern.b, pattern.d)
    spoilt = torch.zeros_like(y, dtype=torch.bool)
    spoilt[1, 1, :, 0] = spoilt[1, 1, :, -1] = True
    assert torch.equal(~y.isfinite(), spoilt)


def test_64_bit_offsets_are_the_same() -> None:
    """As for matrices past 2³¹ elements, without making one."""
    p = Pattern(1, 3, 9, 4)
    for reads, writes in LAYOUTS[1:]:
        schedule = Schedule("batched", Form(reads=reads, writes=writes), 16, 16, 8, group=4)
        module = load(render(p, schedule))
        x, w = torch.randn((5, p.cols) if reads == "rows" else (p.cols, 5)), torch.randn(p.shape)
        y = torch.empty((5, p.rows) if writes == "rows" else (p.rows, 5))
        module.kernel[(1,)](x, w, y, 5, WIDE=True)
        assert torch.equal(y, module.ks_linear(x, w))
