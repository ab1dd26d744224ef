"""The constants of the generalization theorem, and the factors that were published for ResNets."""

from __future__ import annotations

from dataclasses import replace
from math import log, pi, sqrt

import pytest

from pathlift.frontend.load import load
from pathlift.passes.generalization.constants import Constants, constants
from pathlift.passes.generalization.rademacher import deviation, gap, grid_point
from pathlift.passes.sizes import resolve_inputs
from pathlift.testing import zoo

SAMPLES = 0.99 * 1281167


def resnet(depth: int) -> Constants:
    graph = load(zoo.export(f"resnet{depth}", image=32, width=0.125))
    return replace(constants(graph, resolve_inputs(graph, {})), d_in=3 * 224**2)


def check(depth: int, published: float, sharpened: float) -> None:
    """Figures of arXiv 2310.01225 for ImageNet, 4·B·C/√n with B = 2.64."""
    found = resnet(depth)
    assert (found.depth, found.types, found.fan_in, found.pools, found.d_out) == (depth, 1, 9, 1, 1000)
    factor = 4 * 2.64 / sqrt(SAMPLES)
    assert factor * found.published == pytest.approx(published, abs=0.0005)
    assert factor * found.sharpened == pytest.approx(sharpened, abs=0.0005)
    assert found.sharpened_is_proved
    assert found.counted < found.sharpened == found.proved < found.published


def test_the_published_formula() -> None:
    found = Constants(depth=18, types=1, fan_in=9, pools=1, d_in=3 * 224**2, d_out=1000, log_words=0.0)
    factor = 4 * 2.64 / sqrt(SAMPLES)
    assert factor * found.published == pytest.approx(0.088, abs=0.0005)
    assert factor * found.sharpened == pytest.approx(0.060, abs=0.0005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "published", "sharpened"),
    [(18, 0.088, 0.060), (34, 0.115, 0.072), (50, 0.136, 0.082), (101, 0.189, 0.108), (152, 0.229, 0.129)],
)
def test_the_published_factors(depth: int, published: float, sharpened: float) -> None:
    check(depth, published, sharpened)


def test_what_is_not_proved_is_no_headline() -> None:
    found = Constants(depth=1, types=4, fan_in=4, pools=2, d_in=3, d_out=2, log_words=20.0)
    assert not found.sharpened_is_proved
    assert found.proved == found.counted == pytest.approx(sqrt(20 + log(2 * 4 * 2)))


def test_the_count_of_a_linear_network() -> None:
    found = Constants(depth=1, types=0, fan_in=1, pools=0, d_in=3, d_out=2, log_words=0.0)
    assert found.counted == pytest.approx(sqrt(log(16)))
    assert found.sharpened == pytest.approx(sqrt(log(3 * 8)))
    assert found.published == pytest.approx(sqrt(log(3) + log(3 * 8)))


def test_the_gap_is_rounded_up_and_never_overflows() -> None:
    assert gap(0.5, 2.0, 3.0, 1.0).value == pytest.approx(120)
    assert gap(0.5, 2.0, 3.0, 1.0).value >= 120
    assert gap(0.5, 2.0, 3.0, 400.0).value is None
    assert gap(0.5, 2.0, 3.0, None) == (gap(1.0, 1.0, 1.0, None))


@pytest.mark.parametrize("log10_r", [None, -3.0, 0.0, 0.01, 0.3010299956639812, 2.5, 30.0])
def test_the_grid_is_above_the_norm(log10_r: float | None) -> None:
    point = grid_point(log10_r)
    assert log10_r is None or log10_r <= point.log10_r
    assert point.log10_r <= max(0.0, log10_r or 0.0) + 2 * 0.0376286
    assert point.share <= 6 / (pi * point.index) ** 2


def test_the_shares_of_the_grid_add_up_to_one() -> None:
    total = sum(6 / (pi * k) ** 2 for k in range(1, 200_000))
    assert 0.99999 < total < 1


def test_deviation() -> None:
    assert deviation(200, 0.1) == pytest.approx(3 * sqrt(log(20) / 400))
