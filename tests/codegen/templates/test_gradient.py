"""Gradients: of non-zeros by their own kernel, of inputs by a layer's."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern
from pathlift.testing.kernels import check_gradient, is_wide

PATTERNS = [((2, 5, 6, 1), 1), ((2, 3, 5, 4), 4), ((1, 17, 8, 6), 2), ((1, 17, 33, 2), 1), ((1, 1, 1, 1), 1)]
"""And groups."""
LAYOUTS = list(itertools.product(("rows", "features"), repeat=2))


def schedule(form: Form = Form(), group: int = 1, **how: bool) -> Schedule:  # noqa: B008 (frozen)
    return Schedule("gradient", form, 16, 16, 16, group=group, **how)


def layer(x: Tensor, factor: Tensor) -> Tensor:
    """Compute a layer where torch differentiates it."""
    a, d, b, c = factor.shape
    return torch.einsum("ilpk,nikl->nipl", factor, x.reshape(-1, a, c, d)).reshape(-1, a * b * d)


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("pattern, group", PATTERNS)
def test_every_layout_and_group(pattern: tuple[int, ...], group: int, layouts: tuple[str, str]) -> None:
    reads, writes = layouts
    check_gradient(Pattern(*pattern), schedule(Form(reads=reads, writes=writes), group), 37, 2)


@pytest.mark.parametrize("samples", [0, 16, 17, 50])
@pytest.mark.parametrize("parts", [1, 3, 5])
def test_any_number_of_samples_in_any_number_of_parts(samples: int, parts: int) -> None:
    """Parts without samples are 0."""
    check_gradient(Pattern(1, 3, 4, 1), schedule(), samples, parts)


def test_parts_share_samples_evenly() -> None:
    parts = check_gradient(Pattern(1, 3, 4, 1), schedule(), 64, 4)
    assert (parts.flatten(1).norm(dim=1) > 0).all()


def test_half_precision() -> None:
    for group in (1, 2):
        check_gradient(Pattern(1, 9, 20, 2), schedule(Form("float16", "ieee"), group), 37, 2)


def test_64_bit_offsets_are_the_same() -> None:
    """As for matrices past 2³¹ elements, without making one."""
    p = Pattern(1, 3, 9, 2)
    module = load(render(p, schedule(Form(reads="features", writes="features"), 2)))
    x, dy, partials = torch.randn(p.cols, 5), torch.randn(p.rows, 5), torch.empty(1, *p.shape)
    module.kernel[(1,)](x, dy, partials, 5, 1, WIDE=True)
    assert torch.equal(partials[0], module.ks_gradient(x, dy))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_is_not_finite_stays_in_its_column(value: float, group: int) -> None:
    p = Pattern(2, 3, 5, 2)
    x, dy = torch.ones(3, p.cols), torch.ones(3, p.rows)
    x[1, 1] = value  # (i, k, l) = (0, 0, 1)
    found = load(render(p, schedule(group=group))).ks_gradient(x, dy)
    spoilt = torch.zeros(p.shape, dtype=torch.bool)
    spoilt[0, 1, :, 0] = True
    assert torch.equal(~found.isfinite(), spoilt)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("samples", [20, 300])
def test_both_gradients_are_those_of_torch(samples: int, dtype: str) -> None:
    """That of x is a layer's of pattern (a, c, b, d) with transposed blocks; also parts are added up."""
    rng = torch.Generator().manual_seed(samples)
    for seed in range(2):
        a, d = (int(v) for v in torch.randint(1, 4, (2,), generator=rng))
        b, c = (int(v) for v in torch.randint(1, 20, (2,), generator=rng))
        p = Pattern(a, b, c, d)
        x, dy, factor = (torch.randn(s, generator=rng) for s in ((samples, p.cols), (samples, p.rows), p.shape))
        low = [v.to(getattr(torch, dtype)) for v in (x, dy, factor)]
        x, dy, factor = (v.double().requires_grad_() for v in low)
        wanted = torch.autograd.grad(layer(x, factor), (x, factor), dy)
        form, transposed = Form(dtype, "ieee"), Pattern(a, c, b, d)  # type: ignore[arg-type]  # of the parameter
        of_x = load(render(transposed, Schedule("dot", form, 128, 32, 32)))
        of_factor = load(render(p, schedule(form)))
        assert of_factor.count_parts(samples) == (1 if samples < 256 else 2)
        found = of_x.ks_linear(low[1], low[2].mT.contiguous()), of_factor.ks_gradient(low[0], low[1])
        for one, other in zip(found, wanted, strict=True):
            assert one.shape == other.shape
            assert one.dtype == low[0].dtype
            assert (one - other).norm() <= (2e-6 if dtype == "float32" else 1e-3) * other.norm(), (p, seed)


def test_partial_sums_are_not_rounded() -> None:
    """Of two parts, the first is 2049, which is no number of 16 bits."""
    module = load(render(Pattern(1, 1, 1, 1), schedule(Form("float16", "ieee"))))
    x, dy = torch.zeros(256, 1, dtype=torch.float16), torch.ones(256, 1, dtype=torch.float16)
    x[0], x[1], x[128] = 2048, 1, -2048
    assert module.count_parts(256) == 2
    assert float(module.ks_gradient(x, dy)) == 1


@pytest.mark.parametrize("pattern", [Pattern(1, 3, 2, 1), Pattern(1, 2, 3, 1)])
def test_offsets_are_as_wide_as_the_larger_operand(pattern: Pattern) -> None:
    most = 2**31 // 3
    of = [is_wide(pattern, schedule(Form(reads="features", writes="features")), n) for n in (most, most + 1)]
    assert of == [False, True]


class TestParts:
    count = staticmethod(load(render(Pattern(4, 40, 20, 3), schedule())).count_parts)  # 72 programs

    def test_busy(self) -> None:
        assert self.count(10_000) == 4  # 288 programs for 132 processors
        assert self.count(10_000, processors=10) == 1

    def test_not_too_small(self) -> None:
        assert [self.count(n) for n in (0, 128, 256, 511, 512)] == [1, 1, 2, 3, 4]

    def test_not_too_long(self) -> None:
        assert self.count(10 * 65536 + 1) == 11


def test_any_rank_and_strides() -> None:
    p = Pattern(1, 3, 4, 2)
    x, dy = torch.randn(p.cols, 3, 2).permute(1, 2, 0), torch.randn(p.rows, 3, 2).permute(1, 2, 0)
    rows = load(render(p, schedule()))
    found = rows.ks_gradient(x, dy)
    assert torch.equal(found, rows.ks_gradient(*(t.reshape(6, -1).contiguous() for t in (x, dy))))
    mixed = load(render(p, schedule(Form(reads="features"))))
    assert torch.equal(found, mixed.ks_gradient(x.reshape(6, -1).T, dy))


class TestRefusals:
    @staticmethod
    def gradient(x: Tensor, dy: Tensor) -> Tensor:
        return load(render(Pattern(1, 3, 4, 2), schedule())).ks_gradient(x, dy)

    def test_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"x of shape .* 8 features"):
            self.gradient(torch.zeros(2, 7), torch.zeros(2, 6))
        with pytest.raises(ValueError, match=r"dy of shape .* 6 features"):
            self.gradient(torch.zeros(2, 8), torch.zeros(2, 8))
        with pytest.raises(ValueError, match=r"x has samples \(2, 3\), and dy has \(3, 2\)"):
            self.gradient(torch.zeros(2, 3, 8), torch.zeros(3, 2, 6))
        mixed = load(render(Pattern(1, 3, 4, 2), schedule(Form(reads="features"))))
        with pytest.raises(ValueError, match="x has samples"):
            mixed.ks_gradient(torch.zeros(8, 3), torch.zeros(2, 2, 6))
        with pytest.raises(ValueError, match="x of shape"):
            mixed.ks_gradient(torch.zeros(8, 2, 2), torch.zeros(2, 2, 6))

    def test_types(self) -> None:
        with pytest.raises(ValueError, match="operands must be"):
            self.gradient(torch.zeros(2, 8), torch.zeros(2, 6).double())

    def test_too_many_samples(self) -> None:
        with pytest.raises(ValueError, match="too many for one launch"):
            is_wide(Pattern(1, 3, 4, 2), schedule(), 2**31)

    @pytest.mark.parametrize(
        "made, reason",
        [
            (schedule(group=4), "no power of two that divides d = 6"),
            (schedule(group=3), "no power of two that divides d = 6"),
            (Schedule("gradient", Form(), 4, 16, 16), "8 samples at least"),
            (Schedule("gradient", Form("float16", "ieee"), 8, 16, 16), "16 samples at least"),
            (Schedule("gradient", Form(), 16, 1024, 2048), "more than 1048576 elements"),
            (schedule(Form(bias=True)), "no epilogue"),
            (schedule(weights_left=True), "weights on neither side"),
            (schedule(descriptors=True), "no descriptors"),
        ],
    )
    def test_schedules(self, made: Schedule, reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            render(Pattern(1, 4, 4, 6), made)
