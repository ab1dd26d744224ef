"""Layers without an interpreter: cards, what stands for kernels where dense is faster, and refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from pathlift.codegen.cache import Measured, Measurement
from pathlift.codegen.schedule import Form
from pathlift.codegen.select import Choice, key, ranked
from pathlift.ir.cost import DEVICES, Cost, GraphicsCard
from pathlift.ir.errors import ExecutionError, UsageError
from pathlift.ir.kronecker import Pattern, dense
from pathlift.runtime import cards, kernels
from pathlift.runtime.cards import card, obstacle, usable
from pathlift.runtime.factors import expand
from pathlift.runtime.kernels import default_precision, ks_linear
from pathlift.runtime.steps import Step, multiply
from pathlift.testing.kernels import reference

P = Pattern(2, 3, 5, 4)
CUDA = torch.device("cuda", 0)


def properties(name: str = "NVIDIA H100 80GB HBM3", **changed: Any) -> Any:
    base = {"name": name, "major": 9, "minor": 0, "multi_processor_count": 132, "shared_memory_per_block_optin": 232448}
    return SimpleNamespace(**{**base, **changed})


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that there is a card."""

    def pretend(found: Any) -> None:
        monkeypatch.setattr(cards, "_properties", lambda device: found)

    return pretend


class TestCards:
    def test_known_ones(self, on: Any) -> None:
        for name, count, major, shared, known in (
            ("NVIDIA H100 80GB HBM3", 132, 9, 232448, "h100"),
            ("NVIDIA H200", 132, 9, 232448, "h200"),
            ("NVIDIA A100-SXM4-80GB", 108, 8, 166912, "a100"),
        ):
            on(properties(name, multi_processor_count=count, major=major, shared_memory_per_block_optin=shared))
            assert card(CUDA) is DEVICES[known]

    def test_slices_and_unknown_ones_are_scaled(self, on: Any) -> None:
        h100, a100 = DEVICES["h100"], DEVICES["a100"]
        on(properties("NVIDIA H100 80GB HBM3 MIG 1g.10gb", multi_processor_count=33))
        assert (card(CUDA).multiprocessors, card(CUDA).flops) == (33, h100.flops / 4)
        on(properties("NVIDIA GeForce RTX 4090", major=8, minor=9, multi_processor_count=54,
                      shared_memory_per_block_optin=101376))  # fmt: skip
        found = card(CUDA)
        assert (found.arch, found.shared_memory, found.bandwidth) == ("sm_89", 101376, a100.bandwidth / 2)
        assert found.overhead == a100.overhead

    def test_obstacles(self, on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        on(properties(major=7, minor=5))
        assert obstacle(CUDA, torch.float32) == "compute capability 7.5 is below 8.0"
        with pytest.raises(UsageError, match=r"PL1447 .* cuda:0: compute capability 7.5.*cpu"):
            card(CUDA)
        on(properties(major=8))
        assert obstacle(CUDA, torch.bfloat16) == ""
        assert obstacle(CUDA, torch.float64) == "kernels do not compute in float64"
        monkeypatch.setattr(torch.version, "hip", "6.2")
        assert "NVIDIA" in obstacle(CUDA, torch.float32)
        monkeypatch.setattr(cards.importlib.util, "find_spec", lambda name: None)
        assert obstacle(CUDA, torch.float32) == "Triton is not installed"

    def test_a_cpu_is_none(self) -> None:
        assert not usable(torch.zeros(1))
        with pytest.raises(UsageError, match=r"PL1447 .* cpu: there are no kernels for cpu"):
            card(torch.device("cpu"))
        with pytest.raises(UsageError, match=r"PL1447 .* cpu: there are no kernels for cpu"):
            ks_linear(torch.zeros(1, P.cols), [torch.zeros(P.shape)])


def test_precision_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for precision in ("highest", "high", "medium"):
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda precision=precision: precision)
        found.append(default_precision())
    assert found == ["tf32x3", "tf32", "tf32"]
    monkeypatch.undo()
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert default_precision() == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert default_precision() == "tf32x3"


@pytest.mark.parametrize("activation", ["", "Relu", "Gelu", "GeluTanh"])
@pytest.mark.parametrize("layouts", list(itertools.product(("rows", "features"), repeat=2)))
def test_the_dense_product(layouts: Any, activation: str) -> None:
    reads, writes = layouts
    rng = torch.Generator().manual_seed(0)
    factors = [torch.randn(p.shape, generator=rng) for p in (Pattern(1, 4, 3, 2), Pattern(2, 3, 5, 1))]
    x, bias, residual = (torch.randn(s, generator=rng) for s in ((6, 10), (8,), (6, 8)))
    for epilogue in itertools.product((False, True), repeat=2):
        b, r = (value if present else None for value, present in zip((bias, residual), epilogue, strict=True))
        form = Form(reads=reads, writes=writes, bias=epilogue[0], residual=epilogue[1], activation=activation)
        y = multiply(
            x if reads == "rows" else x.T, factors, Step((), form, None), frozen=False, bias=b,
            residual=r if r is None or writes == "rows" else r.T,
        )  # fmt: skip
        expected = reference(x, factors, b, r, activation)
        torch.testing.assert_close(y if writes == "rows" else y.T, expected.float(), rtol=1e-5, atol=1e-5)


def test_the_expansion() -> None:
    factor = torch.randn(P.shape)
    np.testing.assert_array_equal(expand(factor).numpy(), dense(factor.numpy()))
    factor[0, 0, 0, 0] = torch.inf
    assert expand(factor).isinf().sum() == 1
    assert not expand(factor).isnan().any()


def test_torch_does_not_stand_for_what_is_more_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    here = DEVICES["h100"]
    seconds = Cost(0, 0, 1.0)

    def all_dense(patterns: Any, form: Form, *_: Any) -> Any:
        return SimpleNamespace(steps=[Choice(patterns, form, None, seconds, seconds, "")])

    monkeypatch.setattr(kernels, "route", all_dense)
    kernels.forget_routes()
    form = Form(precision="tf32x3", bias=True)

    def chosen(form: Form) -> list[bool]:
        steps = kernels._steps((P, Pattern(1, 40, 2, 1)), form, 64, here, None, None)  # type: ignore[arg-type]  # a card
        assert [s.form.bias for s in steps] == [True] if len(steps) == 1 else [False, True]
        return [s.schedule is None for s in steps]

    assert chosen(form) == [True]
    monkeypatch.setattr(kernels, "default_precision", lambda: "tf32")
    assert chosen(form) == [False, False]
    assert chosen(replace(form, precision="tf32")) == [True]
    assert chosen(Form("float16", "ieee", bias=True)) == [True]
    kernels.forget_routes()


def test_routes_are_chosen_once_until_something_is_measured() -> None:
    known, form, here = Measured(None), Form(precision="tf32x3"), DEVICES["h100"]

    def chosen() -> Any:
        (step,) = kernels._steps((P,), form, 64, here, None, known)  # type: ignore[arg-type]  # a card
        return step.schedule

    first = chosen()
    slower = ranked((P,), form, 64, here)[-1][0]  # type: ignore[arg-type]  # a card
    known.put(key((P,), form, 64, here), Measurement(slower, 1.0))  # type: ignore[arg-type]  # a card
    assert chosen() == first
    kernels.forget_routes()
    assert chosen() == slower


def test_a_pattern_that_no_schedule_fits_is_refused() -> None:
    wide = Pattern(1, 1, 2**27, 1)  # a tile of samples has more elements than offsets reach
    with pytest.raises(ExecutionError, match="none fits h100"):
        kernels._kernels((wide,), Form(precision="ieee"), 64, cast(GraphicsCard, DEVICES["h100"]))
