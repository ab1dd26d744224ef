"""Two factors in one kernel."""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from pathlift.codegen.chains import Tiling, refine, tiling
from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.schedule import Form, Schedule
from pathlift.ir.kronecker import Pattern, dense
from pathlift.testing.kernels import ACTIVATIONS, check

Pair = tuple[Pattern, Pattern]
Extents = tuple[int, int]


def pair(common: Extents, e1: Extents, e2: Extents, s: int, b: int, c: int) -> Pair:
    """Two factors whose intermediate result splits like this."""
    (ci, cl), (e1i, e1l), (e2i, e2l) = common, e1, e2
    return Pattern(ci * e1i, b, e2i * s * e2l, e1l * cl), Pattern(ci * e2i, e1i * s * e1l, c, e2l * cl)


def blocks(ps: Pair, form: Form = Form(), p: int = 16, s: int | None = None) -> Schedule:  # noqa: B008 (frozen)
    """Small tiles; of s, the smallest that a product takes."""
    split = refine(*ps)
    assert split is not None
    least, e2 = 8 if form.itemsize == 4 else 16, 1
    while e2 < split.inner[0] * split.inner[1]:
        e2 *= 2
    return Schedule("chain", form, 16, p, s or max(1, least // e2))


def tiles(ps: Pair, schedule: Schedule) -> Tiling:
    found = tiling(ps, schedule)
    assert found is not None
    return found


EVERY = Form(bias=True, residual=True, activation="Relu")
PAIRS = {
    "chainable": (Pattern(1, 12, 10, 2), Pattern(2, 10, 6, 1)),
    "attention of a vision transformer": (Pattern(1, 24, 6, 2), Pattern(2, 6, 24, 1)),
    "the other way round": (Pattern(2, 6, 24, 1), Pattern(1, 24, 6, 2)),
    "Monarch": (Pattern(1, 4, 4, 4), Pattern(4, 4, 4, 1)),
    "butterfly": (Pattern(2, 2, 2, 6), Pattern(4, 2, 2, 3)),
    "one block": (Pattern(1, 20, 11, 1), Pattern(1, 11, 9, 1)),
    "the same blocks": (Pattern(2, 5, 11, 3), Pattern(2, 11, 4, 3)),
    "blocks of the outer factor": pair((1, 1), (3, 1), (1, 1), 9, 5, 4),
    "interleaved blocks of the outer factor": pair((2, 2), (1, 3), (1, 1), 9, 5, 4),
    "blocks of the inner factor": pair((1, 2), (1, 1), (3, 1), 5, 7, 4),
    "interleaved blocks of the inner factor": pair((2, 1), (1, 1), (1, 3), 5, 7, 4),
    "both blocks of the outer factor": pair((1, 2), (3, 2), (1, 1), 9, 5, 4),
    "both blocks of the inner factor": pair((2, 1), (1, 1), (2, 3), 3, 7, 4),
    "three by five": pair((1, 1), (5, 1), (1, 3), 5, 3, 2),
    "five by three": pair((1, 2), (1, 3), (5, 1), 3, 3, 2),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    check(PAIRS[name], blocks(PAIRS[name], EVERY), 19)
    check(PAIRS[name], blocks(PAIRS[name]), 3)  # what is written beyond y is no NaN of what lies beyond the bias


@pytest.mark.slow
@pytest.mark.parametrize(("s", "c", "held"), [(5, 70, False), (19, 5, True), (19, 70, False), (16, 16, True)])
@pytest.mark.parametrize(("e1", "e2"), [((1, 1), (1, 1)), ((1, 2), (3, 1)), ((3, 1), (1, 2))])
def test_tiles(e1: Extents, e2: Extents, s: int, c: int, held: bool) -> None:
    """Of outputs, of inputs, and of what is between."""
    ps = pair((1, 2), e1, e2, s, 20, c)
    schedule = dataclasses.replace(blocks(ps, Form(precision="tf32")), warps=1)  # one warp has little room
    found = tiles(ps, schedule)
    assert found.tiles_p == 2
    assert (found.tiles_c == 1) == held
    assert s < 16 or found.tiles_s > 1
    check(ps, schedule, 18)


@pytest.mark.parametrize("samples", [0, 1, 16, 17])
def test_any_number_of_samples(samples: int) -> None:
    check(PAIRS["chainable"], blocks(PAIRS["chainable"], EVERY), samples)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    for bias, residual in ((False, True), (True, False)):
        form = Form(bias=bias, residual=residual, activation=activation)
        check(PAIRS["butterfly"], blocks(PAIRS["butterfly"], form), 17)


@pytest.mark.parametrize("name", ["chainable", "the other way round", "one block", "three by five"])
def test_half_precision(name: str) -> None:
    check(PAIRS[name], blocks(PAIRS[name], Form("float16", "ieee", bias=True, residual=True, activation="Gelu")), 19)


@pytest.mark.parametrize(("form", "expected"), [(Form("float16", "ieee"), 2048.0), (Form(), 2049.0)])
def test_what_is_between_has_the_element_type(form: Form, expected: float) -> None:
    """As it would between two kernels: 2048 + 1 is no number of 16 bits, and its half is one."""
    ps = Pattern(1, 1, 1, 1), Pattern(1, 1, 2, 1)
    dtype = getattr(torch, form.dtype)
    outer, inner = torch.full((1, 1, 1, 1), 0.5, dtype=dtype), torch.tensor([2048.0, 1.0], dtype=dtype)
    y = load(render(ps, blocks(ps, form))).ks_linear(torch.ones(1, 2, dtype=dtype), outer, inner.view(1, 1, 1, 2))
    assert float(y) == expected / 2


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
@pytest.mark.parametrize("name", ["chainable", "the other way round", "the same blocks", "five by three"])
def test_what_is_not_finite_stays_in_its_block(name: str, value: float) -> None:
    """And padding makes no NaN of what is infinite."""
    ps = PAIRS[name]
    module = load(render(ps, blocks(ps, Form(precision="ieee"))))
    factors = [torch.ones(p.shape) for p in ps]
    reaches = np.linalg.multi_dot([dense(f.numpy()) for f in factors]) != 0
    cols = sorted({0, 1, ps[1].cols // 2, ps[1].cols - 1})
    x = torch.ones(len(cols) + 1, ps[1].cols)
    for n, col in enumerate(cols):
        x[n, col] = value
    y = module.ks_linear(x, *factors)
    expected = torch.from_numpy(reaches[:, cols].T)
    assert torch.equal(y[:-1].isinf() if value == torch.inf else y[:-1].isnan(), expected)
    assert y[:-1][~expected].isfinite().all()
    assert y[-1].isfinite().all()


def unpacked(ps: Pair, t: Tiling, w1: Tensor, w2: Tensor) -> list[Tensor]:
    """Read factors from packed weights, number by number."""
    split = t.split
    (_, cl), (e1i, e1l), (e2i, e2l) = split.common, split.outer, split.inner
    outer, inner = (torch.full(p.shape, torch.nan) for p in ps)
    for i, m, a, b, c, d, s in itertools.product(*map(range, (*split.common, e1i, e1l, e2i, e2l, split.between))):
        block, e1, e2, (tile, inside) = i * cl + m, a * e1l + b, c * e2l + d, divmod(s, t.block_s)
        h1, h2 = (c * split.between + s) * e2l + d, (a * split.between + s) * e1l + b
        outer[i * e1i + a, b * cl + m, :, h1] = w1[block, e1, : ps[0].b, tile, e2, inside]
        inner[i * e2i + c, d * cl + m, h2, :] = w2[block, tile, e2, e1, inside, : ps[1].c]
    return [outer, inner]


@pytest.mark.parametrize("name", PAIRS)
def test_packing(name: str) -> None:
    """Every number has its place, and all else is zero."""
    ps = PAIRS[name]
    schedule = blocks(ps)
    factors = [torch.rand(p.shape) + 1 for p in ps]
    packed = load(render(ps, schedule)).pack(*factors)
    t = tiles(ps, schedule)
    assert tuple(w.numel() for w in packed) == t.weights
    assert all(w.is_contiguous() for w in packed)
    for factor, found, weights in zip(factors, unpacked(ps, t, *packed), packed, strict=True):
        assert torch.equal(factor, found)
        assert weights.count_nonzero() == factor.numel()


def test_law() -> None:
    """Any two factors whose blocks nest."""
    rng = random.Random(7)
    for seed in range(12):
        common = rng.randint(1, 2), rng.randint(1, 3)
        nested = [rng.choice([(1, 1), (rng.randint(1, 5), 1), (1, rng.randint(1, 5))]) for _ in range(2)]
        e1, e2 = zip(*nested, strict=True)
        ps = pair(common, e1, e2, rng.randint(1, 9), rng.randint(1, 18), rng.randint(1, 20))
        split = refine(*ps)
        assert split is not None
        assert (split.common, split.outer, split.inner) == (common, e1, e2)
        check(ps, blocks(ps, p=rng.choice([4, 16])), rng.randint(1, 18), seed=seed)


def test_any_rank_and_factors_in_order() -> None:
    ps = PAIRS["chainable"]
    module = load(render(ps, blocks(ps)))
    x, factors = torch.randn(3, 2, ps[1].cols), [torch.randn(p.shape) for p in ps]
    y = module.ks_linear(x, *factors)
    assert y.shape == (3, 2, ps[0].rows)
    assert torch.equal(y.reshape(6, -1), module.ks_linear(x.reshape(6, -1), *factors))
    with pytest.raises(ValueError, match="factors of shapes"):
        module.ks_linear(x, *factors[::-1])
