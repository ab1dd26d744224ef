"""Trials of two models: what rounding explains, which input is the worst, what both take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.ir.text import parse_graph
from pathlift.models.reference import open_session
from pathlift.models.sameness.difference import Limits
from pathlift.models.sameness.ports import Ports, ports
from pathlift.models.sameness.trials import Trial, Trials
from pathlift.report.sameness import Difference

LINE = "%x = Input : {1}[N, 2]\n%w = Param {{value=[[{0}], [1.0]]}} : {1}[2, 1]\n%y = Gemm(%x, %w)\nreturn %y"


def matched(a: Any, b: Any) -> Ports:
    found = ports(a, b)
    assert isinstance(found, Ports)
    return found


class Nudged:
    """Draws that move the first element by a rounding, up or down."""

    def __init__(self) -> None:
        self.sign = 1

    def nudged(self, feeds: Any, step: float) -> Any:
        self.sign = -self.sign
        return {"x": (feeds["x"] * np.array([1 + self.sign * step, 1.0])).astype(np.float32)}


@pytest.mark.parametrize(("x", "left_out"), [([1.0, -1.0], 1), ([1.0, 1.0], 0)])
def test_what_rounding_moves_as_much_is_left_out_unless_it_was_given(x: list[float], left_out: int) -> None:
    """The models are 1.000002 x₀ + x₁ and x₀ + x₁: a rounding or two of each other where the sum does not cancel."""
    a, b = (parse_graph(LINE.format(w, "f32")) for w in ("1.000002", "1.0"))
    trials = Trials(open_session(a), open_session(b), matched(a, b), Limits(1e-4), 2.0**-23)
    feeds = {"x": np.array([x], np.float32)}
    trials._try("drawn", feeds, Nudged())  # type: ignore[arg-type]  # as much of probes as it takes
    assert (len(trials.ran), trials.ill_conditioned) == (1 - left_out, left_out)
    trials.given([("given", feeds)])
    assert trials.worst.is_given or not left_out
    assert trials.worst.same == (not left_out)


def test_a_difference_that_is_no_rounding_stays() -> None:
    a, b = (parse_graph(LINE.format(w, "f32")) for w in ("1.01", "1.0"))
    trials = Trials(open_session(a), open_session(b), matched(a, b), Limits(1e-4), 2.0**-23)
    trials._try("drawn", {"x": np.array([[1.0, 1.0]], np.float32)}, Nudged())  # type: ignore[arg-type]  # as above
    assert (trials.ill_conditioned, trials.worst.same) == (0, False)


def test_the_worst() -> None:
    graph = parse_graph(LINE.format("1.0", "f32"))
    trials = Trials(None, None, matched(graph, graph), Limits(0.1), 0.0)

    def trial(kind: str, relative: float, reason: str = "") -> Trial:
        return Trial(kind, {}, (Difference(1.0, relative),), (relative > 0.1,), reason)

    small, large, mine, fails = trial("a", 0.2), trial("b", 0.4), trial("given", 0.3), trial("c", 0.0, "it fails")
    for ran, worst in (
        ([small, large], large),
        ([large, small], large),
        ([large, mine], mine),
        ([large, trial("given", 0.05)], large),
        ([fails, mine], fails),
    ):
        trials.ran = ran
        assert trials.worst is worst


def test_both_models_take_the_same_numbers() -> None:
    a, b = (parse_graph(LINE.format("1.0", dtype)) for dtype in ("f32", "f16"))
    for pair in ((a, b), (b, a)):
        both = matched(*pair)
        assert both.signature({}, 10**9) == {"x": (np.dtype(np.float16), (2, 2))}
        feeds = {"x": np.array([[0.1, 3.0]], np.float16)}
        taken = [both.for_first(feeds)["x"], both.for_second(feeds)["x"]]
        assert {x.dtype for x in taken} == {np.dtype(np.float16), np.dtype(np.float32)}
        assert np.array_equal(*taken)


def test_ports_go_by_name_if_names_are_the_same() -> None:
    text = "%{0} = Input : f32[N, 2]\n%{1} = Input : f32[N, 2]\n%p = Sub(%a, %b)\n%q = Neg(%p)\nreturn %{2}, %{3}"
    a, b = parse_graph(text.format(*"abpq")), parse_graph(text.format(*"baqp"))
    found = matched(a, b)
    assert [(a.name_of(x), b.name_of(y)) for x, y in found.inputs] == [("a", "a"), ("b", "b")]
    assert found.output_names == (("p", "p"), ("q", "q"))
    other = parse_graph("%c = Input : f32[N, 2]\n%d = Input : f32[M, 2]\n%r = Sub(%c, %d)\n%s = Neg(%r)\nreturn %r, %s")
    assert matched(a, other).output_names == (("p", "r"), ("q", "s"))


def test_an_extent_that_one_model_fixes_is_the_others() -> None:
    a, b = (parse_graph(f"%x = Input : f32[N, {n}]\n%y = Relu(%x)\nreturn %y") for n in ("W", "5"))
    assert matched(a, b).signature({}, 10**9) == {"x": (np.dtype(np.float32), (2, 5))}
    assert matched(b, a).signature({}, 10**9) == {"x": (np.dtype(np.float32), (2, 5))}


@pytest.mark.parametrize("other", ["%x = Input : i64[N, 2]", "%x = Input : f32[N, 3]", "%x = Input : f32[N]"])
def test_other_interfaces_are_told(other: str) -> None:
    a, b = (parse_graph(f"{line}\n%y = Neg(%x)\nreturn %y") for line in ("%x = Input : f32[N, 2]", other))
    assert isinstance(ports(a, b), str)
