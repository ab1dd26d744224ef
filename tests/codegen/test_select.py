"""Choices of schedules: the model's order of things, dense where it wins, measurements before predictions."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from pathlift.codegen.cache import Measured, Measurement
from pathlift.codegen.fits import misfit
from pathlift.codegen.predict import dense, predict, shared_memory, traffic
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.select import bucket, key, ranked, select
from pathlift.codegen.space import space
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.kronecker import Pattern

H100, A100 = (card for name in ("h100", "a100") if isinstance(card := DEVICES[name], GraphicsCard))
PATTERNS = [
    Pattern(6, 64, 64, 1),
    Pattern(1, 192, 48, 2),
    Pattern(2, 48, 64, 16),
    Pattern(1, 5, 7, 3),
    Pattern(3, 1, 1, 1),
]
FORMS = [Form(), Form(precision="ieee"), Form("float16", "ieee"), Form("bfloat16", "ieee", "features", "features")]


@pytest.mark.parametrize("n", [1, 16, 4096])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_every_layer_has_schedules_and_all_fit(pattern: Pattern, form: Form, n: int) -> None:
    for card in (H100, A100):
        options = list(space((pattern,), form, n, card))
        assert options
        assert len(set(options)) == len(options)
        assert not any(misfit((pattern,), s) for s in options)
        assert not any(s.descriptors for s in options if card is A100)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_tiles_have_room_on_the_card(pattern: Pattern) -> None:
    for card in (H100, A100):
        options = [s for s in space((pattern,), Form(precision="tf32"), 4096, card) if s.template != "decode"]
        assert all(shared_memory((pattern,), s) <= card.shared_memory for s in options)


@pytest.mark.parametrize("n", [1, 3, 16])
def test_sums_of_products_are_for_all_samples_at_once(n: int) -> None:
    options = space((PATTERNS[0],), Form(), n, H100)
    assert {s.block_n for s in options if s.template == "decode"} == {bucket(n)}


@pytest.mark.parametrize(("n", "rounded"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (25088, 32768)])
def test_samples_are_rounded_up(n: int, rounded: int) -> None:
    assert bucket(n) == rounded


def test_predictions_count_padding_and_traffic() -> None:
    p, s = Pattern(2, 65, 33, 1), Schedule("dot", Form(bias=True), 64, 64, 32)
    cost = predict((p,), s, 100, H100)
    assert cost.flops == 2 * 2 * 128 * 128 * 64
    assert cost.bytes == 4 * (100 * (130 + 66) + 2 * 65 * 33 + 130) == traffic((p,), s.form, 100)
    assert traffic((p,), replace(s.form, residual=True), 100) - cost.bytes == 4 * 100 * 130


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"group": 2}),  # d = 1 aside, merged neighbours cost as many times the arithmetic
        ({"block_n": 128}, {"block_n": 16}),
    ],
)
def test_arithmetic_decides_where_it_is_most(better: dict[str, int], worse: dict[str, int]) -> None:
    p, s = Pattern(1, 1024, 1024, 8), Schedule("dot", Form(reads="features", writes="features"), warps=8)
    first, second = (predict((p,), replace(s, **change), 25088, H100).seconds for change in (better, worse))  # type: ignore[arg-type]  # a schedule's fields
    assert first < second


def test_contiguous_reads_decide_where_traffic_is_most() -> None:
    p = Pattern(8, 64, 64, 16)
    apart, together = (predict((p,), Schedule("dot", Form("float16", "ieee"), group=g), 25088, H100) for g in (1, 4))
    assert together.seconds < apart.seconds


def test_few_programs_do_not_fill_a_card() -> None:
    s = Schedule("dot", Form("float16", "ieee"), 128, 128)
    one, many, full = (predict((Pattern(a, 128, 4096, 1),), s, 128, H100) for a in (1, 32, H100.multiprocessors))
    assert many.seconds < 8 * one.seconds
    assert one.seconds == pytest.approx(full.seconds)


def test_dense_wins_where_nothing_is_saved() -> None:
    form = Form("bfloat16", "ieee")
    choice = select((Pattern(1, 768, 768, 1),), form, 4096, H100)
    assert choice.cost.seconds <= choice.dense.seconds
    small = select((Pattern(1, 192, 48, 2),), form, 25088, H100)
    assert small.schedule is None
    assert small.reason.startswith("dense: ")
    assert small.cost == small.dense == dense((Pattern(1, 192, 48, 2),), form, 32768, H100)


def test_dense_products_are_in_tf32_only_if_asked_for() -> None:
    large = (Pattern(1, 4096, 4096, 1),)
    tf32, others = (dense(large, Form(precision=p), 4096, H100).seconds for p in ("tf32", "tf32x3"))  # type: ignore[arg-type]  # precisions
    assert others > 4 * tf32


def test_measurements_are_of_one_version_of_triton() -> None:
    assert key((PATTERNS[0],), Form(), 7, H100).triton == version("triton")


def test_ieee_is_never_dense_nor_merged() -> None:
    form = Form(precision="ieee")
    for p in (Pattern(1, 192, 48, 2), Pattern(1, 768, 192, 2)):
        assert all(s.group == 1 for s, _ in ranked((p,), form, 256, H100) if s.template == "dot")
        assert select((p,), form, 256, H100).schedule is not None


def test_the_best_prediction_is_taken() -> None:
    p, form = Pattern(6, 64, 64, 16), Form()
    options = ranked((p,), form, 32768, H100)
    assert [c.seconds for _, c in options] == sorted(c.seconds for _, c in options)
    choice = select((p,), form, 25088, H100)
    assert (choice.schedule, choice.cost) == options[0]
    assert "of which memory traffic takes 90 %" in choice.reason


def test_measurements_come_before_predictions() -> None:
    p, form, measured = (Pattern(6, 64, 64, 16),), Form(), Measured(None)
    slow = ranked(p, form, 32768, H100)[-1][0]
    measured.put(key(p, form, 25088, H100), Measurement(slow, 1e-3))
    choice = select(p, form, 25088, H100, measured)
    assert (choice.schedule, choice.cost.seconds) == (slow, 1e-3)
    assert "1000.0 µs measured" in choice.reason
    assert select(p, form, 25088, A100, measured).schedule != slow
    assert select(p, form, 60000, H100, measured).schedule != slow


def test_a_dense_measurement_is_no_choice_of_ieee() -> None:
    p, form, measured = (Pattern(6, 64, 64, 16),), Form(precision="ieee"), Measured(None)
    measured.put(key(p, form, 64, H100), Measurement(None, 1e-9))
    assert select(p, form, 64, H100, measured).schedule is not None


@pytest.mark.parametrize(
    "absurd",
    [
        Schedule("dot", block_n=2**20, block_p=2**10, block_k=2**20),
        Schedule("dot", warps=1024),
        Schedule("dot", stages=10**6),
        Schedule("decode", block_n=1, block_p=1, block_k=1),
        Schedule("gradient"),
    ],
)
def test_a_measurement_of_what_nobody_would_try_does_not_count(absurd: Schedule) -> None:
    """A file may say anything: its schedules neither keep a compiler busy for hours, nor a card."""
    p, measured = (Pattern(6, 64, 64, 16),), Measured(None)
    measured.put(key(p, Form(), 4096, H100), Measurement(absurd, 1e-9))
    assert select(p, Form(), 4096, H100, measured) == select(p, Form(), 4096, H100)
