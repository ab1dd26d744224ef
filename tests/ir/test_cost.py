"""The cost model against counts, and against speed-ups that were measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.cost import DEVICES, Cost, Device
from pathlift.ir.kronecker import Pattern

EXTENTS = st.integers(1, 64)
PATTERNS = st.builds(Pattern, EXTENTS, EXTENTS, EXTENTS, EXTENTS)
# ONNX Runtime, one thread: time of the dense product over that of the layer, with 1568 samples and with 8.
MEASURED = {
    (1, 192, 48, 2): (0.86, 0.56),
    (3, 192, 48, 4): (4.3, 2.9),
    (1, 768, 192, 2): (1.5, 0.82),
    (1, 64, 64, 16): (5.4, 3.0),
    (4, 128, 32, 4): (4.6, 2.8),
    (6, 64, 64, 1): (3.5, 2.0),
    (16, 64, 64, 1): (8.8, 6.1),
    (2, 48, 192, 1): (1.8, 0.86),
}


@pytest.mark.parametrize("samples", [1568, 8])
@pytest.mark.parametrize("numbers", MEASURED)
def test_speedups_on_a_cpu_are_those_measured(numbers: tuple[int, int, int, int], samples: int) -> None:
    cpu, p = DEVICES["cpu"], Pattern(*numbers)
    measured = MEASURED[numbers][samples == 8]
    predicted = cpu.dense(samples, p.rows, p.cols).seconds / cpu.kronecker(samples, p).seconds
    assert (predicted > 1) == (measured > 1) or 0.8 < predicted < 1.2
    assert measured / 1.7 < predicted < measured * 1.7


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@given(n=st.integers(0, 4096), p=PATTERNS, itemsize=st.sampled_from([1, 2, 4, 8]))
def test_counts(device: Device, n: int, p: Pattern, itemsize: int) -> None:
    sparse, dense = device.kronecker(n, p, itemsize), device.dense(n, p.rows, p.cols, itemsize)
    assert sparse.flops == 2 * n * p.a * p.b * p.c * p.d
    assert dense.flops == sparse.flops * p.a * p.d
    assert dense.bytes - sparse.bytes == itemsize * (p.a * p.d - 1) * p.size
    assert dense.bytes == itemsize * (n * p.rows + n * p.cols + p.rows * p.cols)
    assert min(sparse.seconds, dense.seconds) >= device.overhead


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@given(n=st.integers(0, 4096), p=PATTERNS)
def test_time_grows_with_samples_and_with_blocks(device: Device, n: int, p: Pattern) -> None:
    for larger in (device.kronecker(n + 1, p), device.kronecker(n, p._replace(a=p.a + 1))):
        assert larger.seconds >= device.kronecker(n, p).seconds
    assert device.kronecker(n, p, feature_major=True).seconds <= device.kronecker(n, p).seconds
    assert device.batched(n, p).seconds <= device.kronecker(n, p, feature_major=True).seconds


def test_a_card_is_bound_by_arithmetic_or_by_traffic() -> None:
    card = DEVICES["h100"]
    assert card.dense(4096, 4096, 4096).seconds == pytest.approx(2 * 4096**3 / 6e13 + 3e-6)
    assert card.dense(4096, 4096, 4096, 2).seconds == pytest.approx(2 * 4096**3 / 7.9e14 + 3e-6)
    assert card.dense(1, 4096, 4096).seconds == pytest.approx(4 * 4096**2 / 3e12 + 3e-6, rel=1e-3)
    assert card.dense(4096, 4096, 4096, 8).seconds == pytest.approx(4 * 4096**3 / 6e13 + 3e-6)


def test_half_precision_is_no_faster_on_a_cpu() -> None:
    cpu, p = DEVICES["cpu"], Pattern(2, 64, 64, 4)
    assert cpu.kronecker(64, p, 2).seconds == cpu.kronecker(64, p, 4).seconds < cpu.kronecker(64, p, 8).seconds


def test_moving_reads_and_writes() -> None:
    moved = DEVICES["h100"].moved(3 * 10**9)
    assert (moved.flops, moved.bytes) == (0, 24 * 10**9)
    assert moved.seconds == pytest.approx(8e-3, rel=1e-3)
    cpu = DEVICES["cpu"]
    within, beyond = (cpu.moved(n).seconds - cpu.overhead for n in (10**5, 10**7))
    assert beyond > 200 * within


def test_costs_add_up() -> None:
    assert sum([Cost(1, 2, 3.0), Cost(4, 5, 6.0)], Cost()) == Cost(5, 7, 9.0)


def test_pieces_move_faster_than_elements() -> None:
    cpu, card, n = DEVICES["cpu"], DEVICES["a100"], 10**6
    assert cpu.moved(n, run=64).seconds < cpu.moved(n, run=1).seconds < cpu.gathered(n).seconds
    assert card.moved(n, run=64) == card.moved(n) == card.gathered(n)


def test_what_is_spelled_out_costs_transpositions() -> None:
    p, n = Pattern(16, 64, 64, 1), 1568
    for device in DEVICES.values():
        plain = device.spelled_out(n, p)
        assert plain == device.batched(n, p)
        moved = device.spelled_out(n, p, moves=[(p.cols, 64), (p.rows, 64)])
        assert moved.seconds > plain.seconds
    assert DEVICES["cpu"].spelled_out(n, p, moves=[(p.cols, 1)] * 9).seconds == DEVICES["cpu"].kronecker(n, p).seconds
