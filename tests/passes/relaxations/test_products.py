"""Products of two values in both networks: their linear parts, and what these leave."""

from __future__ import annotations

import pytest
import torch

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.products import ProductRelaxation
from pathlift.passes.tape.steps import Bilinear

Tensor = torch.Tensor
KINDS = {
    "elementwise": ((3, 4), (3, 4), torch.mul, 1),
    "broadcast": ((3, 4), (1, 4), torch.mul, 1),
    "matrices": ((2, 3), (3, 4), torch.matmul, 3),
}


def triple(shape: tuple[int, ...], g: torch.Generator) -> tuple[Triple, list[tuple[Tensor, Tensor]]]:
    centre, reach = torch.randn(2, *shape, generator=g, dtype=torch.float64)
    apart = 0.3 * torch.randn(shape, generator=g, dtype=torch.float64)
    points = []
    for _ in range(60):
        u, v = 2 * torch.rand(2, *shape, generator=g, dtype=torch.float64) - 1
        points.append((centre + reach * u.sign(), apart + 0.2 * v.sign()))
    a = Box(centre - reach.abs(), centre + reach.abs())
    d = Box(apart - 0.2, apart + 0.2)
    return Triple(a, a.plus(d), d), points


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alone", [False, True])
def test_products_are_above_their_relaxation(kind: str, alone: bool) -> None:
    xs, ys, f, terms = KINDS[kind]
    g = torch.Generator().manual_seed(3)
    (tx, px), (ty, py) = triple(xs, g), triple(ys, g)
    shape = tuple(f(torch.zeros(xs), torch.zeros(ys)).shape)
    step = Bilinear("m", (0, 1), (xs, ys), shape, f, terms)
    relaxed = ProductRelaxation.of(step, tx, ty, alone=alone)
    assert relaxed is not None
    p, q = torch.randn(2, 20, *shape, generator=g, dtype=torch.float64)
    p[:8] = 0
    q[8:12] = 0
    parts, offset = relaxed.rows(p, None if alone else q)
    closest = torch.full((20,), torch.inf, dtype=torch.float64)
    for (x, dx), (y, dy) in zip(px, py, strict=True):
        exact = p * f(x, y) if alone else p * f(x, y) + q * (f(x + dx, y + dy) - f(x, y))
        bound = offset.clone()
        for position, r, s in parts:
            z, d = ((x, dx), (y, dy))[position]
            bound = bound + (r * z).flatten(1).sum(1) + (0 if s is None else (s * d).flatten(1).sum(1))
        margin = exact.flatten(1).sum(1) - bound
        assert bool((margin >= -1e-12).all())
        closest = torch.minimum(closest, margin)
    size = p.abs().flatten(1).sum(1) + q.abs().flatten(1).sum(1)
    assert bool((closest < 6 * size).all())


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_points_are_exact(kind: str) -> None:
    xs, ys, f, terms = KINDS[kind]
    g = torch.Generator().manual_seed(4)
    x, dx = torch.randn(2, *xs, generator=g, dtype=torch.float64)
    y, dy = torch.randn(2, *ys, generator=g, dtype=torch.float64)
    shape = tuple(f(x, y).shape)
    points = [Triple(Box.point(z), Box.point(z + d), Box.point(d)) for z, d in ((x, dx), (y, dy))]
    relaxed = ProductRelaxation.of(Bilinear("m", (0, 1), (xs, ys), shape, f, terms), *points, alone=False)
    assert relaxed is not None
    p, q = torch.randn(2, 5, *shape, generator=g, dtype=torch.float64)
    parts, bound = relaxed.rows(p, q)
    for position, r, s in parts:
        z, d = ((x, dx), (y, dy))[position]
        bound = bound + (r * z).flatten(1).sum(1) + (0 if s is None else (s * d).flatten(1).sum(1))
    exact = p * f(x, y) + q * (f(x + dx, y + dy) - f(x, y))
    torch.testing.assert_close(bound, exact.flatten(1).sum(1), rtol=1e-9, atol=1e-9)


def test_where_boxes_are_unbounded_there_is_none() -> None:
    step = Bilinear("m", (0, 1), ((1,), (1,)), (1,), torch.mul, 1)
    known = Box(torch.zeros(1).double(), torch.ones(1).double())
    t, u = Triple(known, known, known), Triple(Box.anything((1,)), known, known)
    assert ProductRelaxation.of(step, t, u, alone=True) is None
    assert ProductRelaxation.of(step, t, t, alone=False) is not None


def test_a_product_at_a_corner_is_reached() -> None:
    # One element, P·xy with x, y in [0, 1]: xy ≥ ½x + ½y − ½, with equality at (0, 1) and (1, 0).
    step = Bilinear("m", (0, 1), ((1,), (1,)), (1,), torch.mul, 1)
    box = Box(torch.zeros(1).double(), torch.ones(1).double())
    t = Triple(box, box, Box.zero((1,)))
    relaxed = ProductRelaxation.of(step, t, t, alone=True)
    assert relaxed is not None
    parts, offset = relaxed.rows(torch.ones(1, 1).double(), None)
    assert [float(r) for _, r, _ in parts] == [0.5, 0.5]
    assert float(offset) == pytest.approx(-0.5)
