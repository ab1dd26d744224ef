"""Routes through products of several factors, against all of them tried one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import pytest

from pathlift.codegen.cache import Measured, Measurement
from pathlift.codegen.route import Route, route
from pathlift.codegen.schedule import Form
from pathlift.codegen.select import key, select
from pathlift.ir.cost import DEVICES, GraphicsCard
from pathlift.ir.kronecker import parse_patterns

CARD = cast(GraphicsCard, DEVICES["h100"])
BIG = parse_patterns("(1,192,48,2)(2,48,192,1)")
LONG = parse_patterns("(1,4,4,256)(4,16,16,16)(64,4,4,4)(256,4,4,1)")


def tried(form: Form, samples: int, patterns: tuple) -> Iterator[float]:  # type: ignore[type-arg]  # of patterns
    """The cost of every way to cut a product into kernels of one and two factors, in all layouts."""
    if not patterns:
        return
    n = len(patterns)
    for cuts in itertools.product((False, True), repeat=n - 1):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [n]
        starts = [0, *ends[:-1]]
        if max(e - s for s, e in zip(starts, ends, strict=True)) > 2:
            continue
        for inner in itertools.product(("rows", "features"), repeat=len(ends) - 1):
            layouts = [form.writes, *inner, form.reads]
            total, possible = 0.0, True
            for i, (s, e) in enumerate(zip(starts, ends, strict=True)):
                last = i == 0
                part = Form(
                    form.dtype, form.precision, layouts[i + 1], layouts[i],
                    form.bias and last, form.residual and last, form.activation if last else "",
                )  # fmt: skip
                choice = select(patterns[s:e], part, samples, CARD)
                possible &= choice.schedule is not None or e == s + 1
                total += choice.cost.seconds
            if possible:
                yield total


@pytest.mark.parametrize("samples", [1, 256, 32768])
@pytest.mark.parametrize("form", [Form(bias=True), Form("bfloat16", "ieee"), Form(precision="ieee", activation="Relu")])
@pytest.mark.parametrize("patterns", [BIG, LONG, BIG[:1]])
def test_no_other_route_is_faster(patterns: tuple, form: Form, samples: int) -> None:  # type: ignore[type-arg]  # of patterns
    found = route(patterns, form, samples, CARD)
    best = min(tried(form, samples, patterns))
    if form.precision == "ieee" and form.itemsize == 4:
        assert found.cost.seconds == pytest.approx(best)
        assert all(step.schedule is not None for step in found.steps)
    else:
        assert found.cost.seconds == pytest.approx(min(best, found.dense.seconds))


def joined(found: Route) -> None:
    """Steps fit each other: factors in order, each result in the layout in which the next one reads it."""
    for before, after in itertools.pairwise(found.steps):
        assert before.form.writes == after.form.reads
        assert (before.form.bias, before.form.residual, before.form.activation) == (False, False, "")


@pytest.mark.parametrize("reads", ["rows", "features"])
@pytest.mark.parametrize("writes", ["rows", "features"])
def test_steps_are_joined(reads: str, writes: str) -> None:
    form = Form(precision="ieee", reads=reads, writes=writes, bias=True, residual=True, activation="Relu")  # type: ignore[arg-type]  # layouts
    found = route(LONG, form, 4096, CARD)
    joined(found)
    assert [p for step in reversed(found.steps) for p in step.patterns] == list(LONG)
    assert (found.steps[0].form.reads, found.steps[-1].form.writes) == (reads, writes)
    last = found.steps[-1].form
    assert (last.bias, last.residual, last.activation) == (True, True, "Relu")


def test_one_dense_product_may_stand_for_all() -> None:
    found = route(BIG, Form("bfloat16", "ieee"), 1, CARD)
    (step,) = found.steps
    assert step.schedule is None
    assert step.patterns == BIG
    assert found.reason.startswith("dense: ")
    assert found.cost == found.dense


def test_measurements_change_the_route() -> None:
    form, measured = Form(), Measured(None)
    slow = route(BIG, form, 4096, CARD)
    for p in BIG:
        best = select((p,), form, 4096, CARD).schedule
        measured.put(key((p,), form, 4096, CARD), Measurement(best, 1e-9))
    fast = route(BIG, form, 4096, CARD, measured)
    assert fast.cost.seconds == pytest.approx(2e-9)
    assert fast.cost.seconds < slow.cost.seconds
    assert " then " in fast.reason


def test_two_factors_in_the_midst_of_others_are_never_dense() -> None:
    measured = Measured(None)
    for reads, writes in itertools.product(("rows", "features"), repeat=2):
        form = Form(reads=reads, writes=writes)  # type: ignore[arg-type]  # layouts
        measured.put(key(LONG[1:3], form, 4096, CARD), Measurement(None, 1e-12))
    steps = route(LONG, Form(), 4096, CARD, measured).steps
    assert len(steps) > 1
    assert all(step.schedule is not None or len(step.patterns) == 1 for step in steps)
