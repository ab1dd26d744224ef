"""The kernels that are used: those whose machine code neither spills nor needs more than there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pathlift.codegen import kernels as module
from pathlift.codegen.architectures import architecture, card_of
from pathlift.codegen.kernels import Kernel, Kernels
from pathlift.codegen.offline import Report
from pathlift.codegen.schedule import Form, Precision, Schedule
from pathlift.codegen.select import Choice, ranked, select
from pathlift.ir.cost import Cost
from pathlift.ir.errors import ExecutionError
from pathlift.ir.kronecker import Pattern

P, FORM, SAMPLES = Pattern(6, 64, 64, 1), Form(), 4096
CARD = card_of("sm_90")
FASTEST = [schedule for schedule, _ in ranked((P,), FORM, SAMPLES, CARD)]
GOOD = Report("sm_90", 0.0, 64, 0, 0, 1024, "", b"")
SPILLS = Report("sm_90", 0.0, 255, 16, 0, 1024, "", b"")
TOO_LARGE = Report("sm_90", 0.0, 64, 0, 0, 232_449, "", b"")
FAILS = ExecutionError("0930", "the kernel does not compile")


def of(outcomes: list[Report | ExecutionError], monkeypatch: pytest.MonkeyPatch) -> tuple[Kernels, list[bool]]:
    """Kernels of a compiler with these outcomes, the last one again and again; and whether 16 divided samples."""
    asked: list[bool] = []

    def compile_source(source: str, arch: str, *, samples_divisible_by_16: bool) -> Report:
        asked.append(samples_divisible_by_16)
        outcome = outcomes[min(len(asked), len(outcomes)) - 1]
        if isinstance(outcome, ExecutionError):
            raise outcome
        return outcome

    monkeypatch.setattr(module, "compile_source", compile_source)
    return Kernels(architecture("sm_90"), CARD), asked


def choice(form: Form = FORM) -> Choice:
    return select((P,), form, SAMPLES, CARD)


def test_the_fastest_is_used_and_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, asked = of([GOOD], monkeypatch)
    chosen = choice()
    step = kernels.step(chosen, SAMPLES)
    assert step.choice == chosen
    assert step.kernel is kernels.step(chosen, SAMPLES).kernel
    assert step.kernel is not None
    assert step.kernel.schedule == FASTEST[0]
    assert asked == [True]


def test_what_spills_or_does_not_fit_or_compile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, asked = of([SPILLS, TOO_LARGE, FAILS, GOOD], monkeypatch)
    step = kernels.step(replace(choice(), cost=Cost()), 4095)
    assert step.kernel is not None
    assert step.choice.schedule == step.kernel.schedule == FASTEST[3]
    assert step.choice.cost == dict(ranked((P,), FORM, SAMPLES, CARD))[FASTEST[3]]
    assert step.choice.reason.endswith("; 3 predicted to be faster are of no use: 16 bytes of registers are spilled")
    assert asked == [False] * 4


def test_dense_if_no_kernel_that_is_faster_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, asked = of([TOO_LARGE], monkeypatch)
    step = kernels.step(choice(), SAMPLES)
    assert step.kernel is None
    assert step.choice.schedule is None
    assert step.choice.cost == choice().dense
    assert step.choice.reason.startswith(f"dense: {len(asked)} kernels are of no use: 232,449 bytes of shared memory")
    faster = [s for s, cost in ranked((P,), FORM, SAMPLES, CARD) if cost.seconds <= choice().dense.seconds]
    assert len(asked) == min(len(faster), module._MOST_TRIED)


@pytest.mark.parametrize(("precision", "tried"), [("tf32x3", 1), ("ieee", module._MOST_TRIED)])
def test_a_slower_kernel_stands_for_a_dense_product_only_if_that_may_not_be(
    precision: Precision, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, asked = of([SPILLS], monkeypatch)
    chosen = choice(Form(precision=precision))
    assert chosen.schedule is not None
    tight = replace(chosen, dense=replace(chosen.cost, seconds=0.99 * chosen.cost.seconds))
    assert kernels.step(tight, SAMPLES).kernel is None
    assert len(asked) == tried


def test_dense_choices_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, asked = of([GOOD], monkeypatch)
    dense = Choice((P,), FORM, None, choice().dense, choice().dense, "dense")
    assert kernels.step(dense, SAMPLES).choice is dense
    assert asked == []


def test_other_failures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, _ = of([ExecutionError("0931", "no cuobjdump")], monkeypatch)
    with pytest.raises(ExecutionError, match="cuobjdump"):
        kernels.step(choice(), SAMPLES)


def test_names_of_files_are_names_of_modules() -> None:
    one, other = (Kernel((P, Pattern(1, 2, 3, 4)), Schedule("chain"), text, GOOD) for text in "ab")
    assert one.file.startswith("ks_chain_6_64_64_1__1_2_3_4_")
    assert one.file.removesuffix(".py").isidentifier()
    assert one.file != other.file


def test_a_kernel_shows_no_source() -> None:
    assert "import torch" not in repr(Kernel((P,), Schedule("dot"), "import torch", GOOD))
