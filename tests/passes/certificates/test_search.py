"""The search: shares of the time, refusals, interrupts; and the replay of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from pathlift.ir.errors import InvalidModelError, PathliftError, UnsupportedError
from pathlift.ir.text import parse_graph
from pathlift.passes.certificates.blame import blame
from pathlift.passes.certificates.elementary import Differential, Gap, total
from pathlift.passes.certificates.encoding import decode, encode
from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.certificates.search import Outcome, Stage, Step, replay, search
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.record import record

NET = """%x = Input : f32[N, 2]
%w = Param {{value=[[1.0, 2.0], [3.0, {0}]]}} : f32[2, 2]
%h = Gemm(%x, %w)
%r = Relu(%h)
%v = Param {{value=[[1.0], [{1}]]}} : f32[2, 1]
%y = Gemm(%r, %v)
return %y"""


def problem(first: tuple[float, float] = (4.0, 1.0), second: tuple[float, float] = (4.5, 1.0)) -> Problem:
    sides = [record(parse_graph(NET.format(*w)), {"x": (1, 2)}) for w in (first, second)]
    return Problem(sides[0], sides[1], [Box(torch.zeros(1, 2).double(), torch.ones(1, 2).double())])


class Fixed:
    """A method that knows some bounds."""

    name = "fixed"

    def __init__(self, *values: float, then: type[BaseException] | None = None) -> None:
        self.values, self.then, self.checked = values, then, 0

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        for value in self.values:
            yield Bound(self.name, torch.tensor([value]).double(), value, {"v": torch.tensor([value]).double()})
        if self.then is not None:
            raise self.then

    def check(self, problem: Problem, parameters: Mapping[str, torch.Tensor]) -> Bound:
        self.checked += 1
        value = float(parameters["v"])
        return Bound(self.name, torch.tensor([value]).double(), value, parameters)


class Refusing(Fixed):
    name = "refusing"

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        raise UnsupportedError("1391", "too wide", node="fc", op="Gemm")
        yield


def test_the_monotone_network_attains_its_bound() -> None:
    outcome = search(problem(), [Stage(Differential()), Stage(Gap())], 1.0)
    assert outcome.l1 == pytest.approx(0.5, rel=1e-12)  # at the corner x = (1, 1)
    assert outcome.l1 >= 0.5
    assert outcome.best("l1") == "differential"
    assert outcome.bounds["interval"].l1 == pytest.approx(10.5)


def test_of_a_method_the_smallest_bound_is_kept_and_the_last_one_is_a_step() -> None:
    outcome = search(problem(), [Stage(Fixed(3.0, 1.0, 2.0))], 1.0)
    assert outcome.bounds["fixed"].l1 == 1.0
    (step,) = outcome.steps
    assert float(step.parameters["v"]) == 2.0


def test_a_refusal_leaves_the_others_alone() -> None:
    outcome = search(problem(), [Stage(Refusing()), Stage(Differential())], 1.0)
    assert set(outcome.bounds) == {"differential"}
    assert "too wide" in outcome.refused["refusing"]
    assert "'fc'" in outcome.refused["refusing"]


def test_cheap_methods_run_without_time_and_costly_ones_do_not() -> None:
    outcome = search(problem(), [Stage(Differential()), Stage(Fixed(0.1), 0.5)], 0.0)
    assert set(outcome.bounds) == {"differential"}
    assert "budget" in outcome.refused["fixed"]


def test_an_interrupt_keeps_what_was_found_and_checks_it() -> None:
    method = Fixed(3.0, 2.0, then=KeyboardInterrupt)
    outcome = search(problem(), [Stage(Differential()), Stage(method, 0.5), Stage(Gap())], 9.0)
    assert outcome.interrupted
    assert method.checked == 1
    assert outcome.bounds["fixed"].l1 == 2.0
    assert "interval" not in outcome.bounds
    assert [s.method for s in outcome.steps] == ["differential", "fixed"]


def test_an_interrupt_before_anything_is_known_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        search(problem(), [Stage(Fixed(then=KeyboardInterrupt), 0.5)], 9.0)


def test_the_smallest_sum_may_come_from_several_methods() -> None:
    outcome = Outcome()
    outcome.keep(Bound("one", torch.tensor([1.0, 9.0]).double(), 10.0))
    outcome.keep(Bound("two", torch.tensor([9.0, 1.0]).double(), 10.0))
    assert outcome.linf == 1.0
    assert 2.0 <= outcome.l1 < 2.0 + 1e-12


def test_replaying_finds_the_same() -> None:
    outcome = search(problem(), [Stage(Differential()), Stage(Fixed(2.0), 0.5)], 9.0)
    again = replay(problem(), {"differential": Differential(), "fixed": Fixed()}, decode(encode(outcome.steps)))
    assert (again.l1, again.linf) == (outcome.l1, outcome.linf)
    assert encode(again.steps) == encode(outcome.steps)
    with pytest.raises(PathliftError, match="PL0191"):
        replay(problem(), {}, outcome.steps)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_parameters_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(InvalidModelError, match="PL0192"):
        decode(encode([Step("m", {"t": torch.tensor([1.0, value]).double()})]))


def _damaged() -> Iterator[Any]:
    good = encode([Step("m", {"t": torch.arange(3.0).double()})])[0]
    array = good["parameters"]["t"]
    yield from (None, 3, ["m"], [{}], [{"method": "m", "parameters": 3}])
    for change in (
        {"shape": [4]},
        {"shape": [-3]},
        {"shape": [2**40]},
        {"dtype": "object"},
        {"data": "!"},
        {"data": "AAAA"},
    ):
        yield [{"method": "m", "parameters": {"t": array | change}}]


@pytest.mark.parametrize("steps", list(_damaged()))
def test_what_is_no_list_of_steps_is_refused(steps: Any) -> None:
    with pytest.raises(InvalidModelError, match="PL0192"):
        decode(steps)


def test_sums_are_rounded_up() -> None:
    from fractions import Fraction

    sizes = torch.rand(10_001, generator=torch.Generator().manual_seed(0)).double() * 0.1
    assert Fraction(total(sizes)) >= sum(Fraction(x) for x in sizes.tolist())
    assert total(torch.tensor([float("inf"), 1.0]).double()) == float("inf")


def test_blame_is_of_one_layer_at_a_time() -> None:
    both = problem(second=(4.5, 1.25))
    corner = [torch.ones(1, 2).double()]
    first, second = blame(both, [corner])
    assert (first.node, second.node) == ("h", "y")
    assert first.measured == pytest.approx(0.5)  # 6 + 4.5 − (6 + 4) at the corner
    assert second.measured == pytest.approx(1.5)  # 6 · 0.25
    assert first.bound == pytest.approx(0.5)
    assert second.bound == pytest.approx(1.5)
