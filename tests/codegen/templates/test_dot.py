"""Products of tiles, and of merged neighbours."""

from __future__ import annotations

import itertools

import pytest
import torch

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern
from pathlift.testing.kernels import ACTIVATIONS, check, is_wide

PATTERNS = [
    (2, 5, 6, 1), (2, 3, 5, 4), (1, 33, 17, 2),
    *(pytest.param(p, marks=pytest.mark.slow) for p in ((1, 4, 3, 3), (1, 16, 8, 6), (1, 1, 1, 1))),
]  # fmt: skip
LAYOUTS = list(itertools.product(("rows", "features"), repeat=2))


def groups(p: Pattern) -> list[int]:
    return sorted({1, p.d, 2 if p.d % 2 == 0 else 1})


@pytest.mark.parametrize("weights_left", [False, True])
@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_layout_and_group(pattern: tuple[int, ...], layouts: tuple[str, str], weights_left: bool) -> None:
    p, (reads, writes) = Pattern(*pattern), layouts
    form = Form(reads=reads, writes=writes, bias=True, residual=True, activation="Relu")
    for group in groups(p):
        check(p, Schedule("dot", form, 16, 16, 8, group=group, weights_left=weights_left), 19)


@pytest.mark.parametrize("samples", [0, 1, 16, 17])
def test_any_number_of_samples(samples: int) -> None:
    check(Pattern(1, 3, 9, 2), Schedule("dot", Form(), 16, 16, 8), samples)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    check(Pattern(1, 5, 8, 2), Schedule("dot", Form(activation=activation, bias=True), 16, 16, 8), 21)


def test_half_precision() -> None:
    form = Form("float16", "ieee", bias=True, residual=True, activation="Gelu")
    for group in (1, 2):
        check(Pattern(2, 17, 20, 2), Schedule("dot", form, 16, 16, 16, group=group), 19)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_stays_in_its_block(value: float) -> None:
    p = Pattern(2, 3, 5, 2)
    module = load(render(p, Schedule("dot", Form(precision="ieee"), 16, 16, 8)))
    x, w = torch.ones(3, p.cols), torch.ones(p.shape)
    x[1, 1] = value  # (i, k, l) = (0, 0, 1)
    y = module.ks_linear(x, w).reshape(3, *p[:2], p.d)
    spoilt = torch.zeros_like(y, dtype=torch.bool)
    spoilt[1, 0, :, 1] = True
    assert torch.equal(~y.isfinite(), spoilt)


def test_relu_keeps_nan() -> None:
    p = Pattern(1, 1, 1, 1)
    module = load(render(p, Schedule("dot", Form(activation="Relu"), 16, 16, 8)))
    assert module.ks_linear(torch.full((1, 1), torch.nan), torch.ones(p.shape)).isnan().all()


def test_64_bit_offsets_are_the_same() -> None:
    """As for matrices past 2³¹ elements, without making one."""
    p = Pattern(1, 3, 9, 2)
    module = load(render(p, Schedule("dot", Form(reads="features", writes="features"), 16, 16, 8)))
    x, w = torch.randn(p.cols, 5), torch.randn(p.shape)
    y = torch.empty(p.rows, 5)
    module.kernel[(2,)](x, w, y, 5, WIDE=True)
    assert torch.equal(y, module.ks_linear(x, w))


@pytest.mark.parametrize("pattern", [Pattern(1, 3, 2, 1), Pattern(1, 2, 3, 1)])
def test_offsets_are_as_wide_as_the_larger_operand(pattern: Pattern) -> None:
    schedule, most = Schedule("dot", Form(reads="features", writes="features"), 16, 16, 8), 2**31 // 3
    assert [is_wide(pattern, schedule, samples) for samples in (most, most + 1)] == [False, True]


def test_too_many_samples() -> None:
    with pytest.raises(ValueError, match="too many for one launch"):
        is_wide(Pattern(1, 2, 2, 1), Schedule("dot", Form(), 16, 16, 8), 2**35)


class TestRefusals:
    module = staticmethod(lambda **form: load(render(Pattern(1, 3, 4, 2), Schedule("dot", Form(**form), 16, 16, 8))))

    def test_shapes(self) -> None:
        module = self.module()
        with pytest.raises(ValueError, match="8 features"):
            module.ks_linear(torch.zeros(2, 7), torch.zeros(1, 2, 3, 4))
        with pytest.raises(ValueError, match="factors of shapes"):
            module.ks_linear(torch.zeros(2, 8), torch.zeros(1, 2, 4, 3))
        with pytest.raises(ValueError, match="bias has shape"):
            self.module(bias=True).ks_linear(torch.zeros(2, 8), torch.zeros(1, 2, 3, 4), bias=torch.zeros(1))

    def test_types(self) -> None:
        with pytest.raises(ValueError, match="operands must be"):
            self.module().ks_linear(torch.zeros(2, 8).double(), torch.zeros(1, 2, 3, 4))

    def test_epilogue(self) -> None:
        with pytest.raises(ValueError, match="without a bias"):
            self.module().ks_linear(torch.zeros(2, 8), torch.zeros(1, 2, 3, 4), bias=torch.zeros(6))


def test_any_rank_and_strides() -> None:
    p = Pattern(1, 3, 4, 2)
    module = load(render(p, Schedule("dot", Form(residual=True), 16, 16, 8)))
    x, residual = (torch.randn(extent, 3, 2).permute(1, 2, 0) for extent in (p.cols, p.rows))
    w = torch.randn(p.shape)
    y = module.ks_linear(x, w, residual=residual)
    assert y.shape == (3, 2, p.rows)
    flat = module.ks_linear(x.reshape(6, -1).contiguous(), w, residual=residual.reshape(6, -1).contiguous())
    assert torch.equal(y.reshape(6, -1), flat)
