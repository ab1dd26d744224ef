"""Sums of products for a handful of samples."""

from __future__ import annotations

import itertools

import pytest
import torch

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern
from pathlift.testing.kernels import check

PATTERNS = [((2, 5, 6, 1), 1), ((2, 3, 5, 4), 2), ((1, 5, 8, 2), 1), ((1, 3, 2, 11), 4), ((1, 3, 2, 2), 4)]
"""And groups, which also do not divide d, or are larger."""
LAYOUTS = list(itertools.product(("rows", "features"), repeat=2))


def schedule(form: Form, group: int = 1, n: int = 2, p: int = 4, k: int = 4, **how: int) -> Schedule:
    return Schedule("decode", form, n, p, k, group=group, **how)


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("pattern, group", PATTERNS)
def test_every_layout_and_group(pattern: tuple[int, ...], group: int, layouts: tuple[str, str]) -> None:
    reads, writes = layouts
    form = Form(reads=reads, writes=writes, bias=True, residual=True, activation="Relu")
    check(Pattern(*pattern), schedule(form, group), 3)


@pytest.mark.parametrize("samples", [0, 1, 5])
@pytest.mark.parametrize("n", [1, 4])
def test_any_number_of_samples(samples: int, n: int) -> None:
    check(Pattern(1, 3, 5, 2), schedule(Form(), n=n), samples)


@pytest.mark.parametrize("k", [4, 8, 64])
def test_sums_at_the_end_and_tile_by_tile(k: int) -> None:
    """With 32 threads, tiles of 4·8·8 products are added up at the end, and larger ones one by one."""
    pattern, s = Pattern(1, 8, 80, 1), schedule(Form(), n=4, p=8 if k < 64 else 16, k=k, warps=1)
    assert ("acc += products" in render(pattern, s)) == (k < 64)
    check(pattern, s, 3)


def test_half_precision() -> None:
    form = Form("float16", "ieee", bias=True, residual=True, activation="Gelu")
    for group in (1, 2):
        check(Pattern(1, 9, 20, 2), schedule(form, group, p=8, k=16), 3)
    module = load(render(Pattern(1, 1, 2, 1), schedule(Form("float16", "ieee"))))
    x, w = (torch.tensor(of, dtype=torch.float16) for of in ([[300.0, 300.0]], [300.0, -300.0]))
    assert float(module.ks_linear(x, w.view(1, 1, 1, 2))) == 0  # 300² is no number of 16 bits


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_is_not_finite_stays_in_its_block(value: float, group: int) -> None:
    p = Pattern(2, 3, 5, 2)
    module = load(render(p, schedule(Form(), group)))
    x, w = torch.ones(3, p.cols), torch.ones(p.shape)
    x[1, 1] = value  # (i, k, l) = (0, 0, 1)
    y = module.ks_linear(x, w).reshape(3, *p[:2], p.d)
    spoilt = torch.zeros_like(y, dtype=torch.bool)
    spoilt[1, 0, :, 1] = True
    assert torch.equal(~y.isfinite(), spoilt)


def test_64_bit_offsets_are_the_same() -> None:
    """As for matrices past 2³¹ elements, without making one."""
    p = Pattern(1, 3, 9, 2)
    module = load(render(p, schedule(Form(reads="features", writes="features"), 2)))
    x, w = torch.randn(p.cols, 5), torch.randn(p.shape)
    y = torch.empty(p.rows, 5)
    module.kernel[(3,)](x, w, y, 5, WIDE=True)
    assert torch.equal(y, module.ks_linear(x, w))


def test_products_are_exact_whatever_the_precision() -> None:
    """1 + 2⁻²⁰ is no tf32 number."""
    x, w = torch.full((1, 1), 1 + 2**-20), torch.ones(1, 1, 1, 1)
    for precision in ("ieee", "tf32", "tf32x3"):
        source = render(Pattern(1, 1, 1, 1), schedule(Form(precision=precision)))
        assert "tl.dot" not in source
        assert torch.equal(load(source).ks_linear(x, w), x)


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"group": 3}, "no power of two"),
        ({"block_n": 16, "block_p": 16, "block_k": 128}, "more than 128 products"),
        ({"group": 256}, "more than 128 products"),
        ({"weights_left": True}, "weights on neither side"),
        ({"descriptors": True}, "no descriptors"),
    ],
)
def test_refusals(how: dict[str, int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        render(Pattern(1, 4, 4, 6), Schedule("decode", Form(), **{"block_n": 1, "block_p": 4} | how))
