"""Pipelines, and the passes that every pipeline needs."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import TextError, UsageError, WitnessError
from pathlift.ir.graph import Graph
from pathlift.passes import base
from pathlift.passes.base import Pass, Rewritten, Transform, Witness
from pathlift.passes.dead_code import DeadCode
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.passes.strip_head import StripHead


class Claim(Witness):
    def check(self, before: Graph, after: Graph) -> None:
        raise WitnessError("0899", "the claim does not hold")


@dataclass(frozen=True)
class Example(Transform):
    """An example."""

    name: ClassVar[str] = "example"
    norm: Literal["l1", "l2"]
    exact: bool = False
    sizes: tuple[int, ...] = ()
    limit_to: float | None = None

    def run(self, graph: Graph) -> Rewritten:
        return Rewritten(graph, Claim())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> type[Pass]:
        return Example if name == "example" else base.find_pass(name)

    monkeypatch.setattr("pathlift.passes.pipeline.find_pass", find)


def graph() -> Graph:
    b = Builder()
    x = b.input("x", ("N", 2))
    b.op("Relu", b.op("Gemm", x, b.param([[1.0], [2.0]], "unused")), name="dead")
    return b.finish(b.op("Softmax", b.op("Relu", x), name="y"))


def test_options_are_the_fields() -> None:
    (p,) = parse_pipeline("example{norm=l2, exact=true, sizes=[1, 2], limit-to=none}")
    assert p == Example("l2", True, (1, 2), None)
    assert parse_pipeline(" dead-code , strip-head ") == (DeadCode(), StripHead())
    assert parse_pipeline("") == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "PL0650"),
        ("dead-code,,strip-head", "PL0651"),
        ("dead-code{", "PL0651"),
        ("dead-code{=}", "PL0652"),
        ("dead-code{x=1}", "PL0653"),
        ("example{norm=l3}", "PL0654"),
        ("example{norm=l1,exact=yes}", "PL0654"),
        ("example{norm=l1,sizes=[a]}", "PL0654"),
        ("example", "PL0655"),
    ],
)
def test_what_does_not_parse_is_a_coded_error(text: str, code: str) -> None:
    with pytest.raises(TextError) as error:
        parse_pipeline(text)
    assert error.value.code == code


def test_passes_run_in_order_and_are_seen() -> None:
    before, seen = graph(), []
    after, steps = run_pipeline(
        before, parse_pipeline("dead-code,strip-head,dead-code"), after_each=lambda n, g: seen.append((n, len(g)))
    )
    assert [s.changed for s in steps] == [True, True, False]
    assert [n for n, _ in seen] == ["dead-code", "strip-head", "dead-code"]
    assert [after[key].op for key in after] == ["Input", "Relu", "Identity"]
    assert "dead" in before
    assert steps[0].rewritten.witness.describe() == "3 nodes removed"


def test_a_false_witness_is_an_internal_error() -> None:
    with pytest.raises(WitnessError) as error:
        run_pipeline(graph(), [Example("l1")])
    assert error.value.exit_code == 70


def test_an_analysis_in_a_pipeline_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        run_pipeline(graph(), parse_pipeline("path-norm{q=[1,2]}"))


def test_unchanged_means_the_same_graph() -> None:
    clean = run_pipeline(graph(), parse_pipeline("dead-code,strip-head"))[0]
    for p in (DeadCode(), StripHead()):
        assert p.run(clean).graph is clean


@pytest.mark.parametrize("name", base.pass_names())
def test_every_pass_is_a_frozen_dataclass_with_help(name: str) -> None:
    cls = base.find_pass(name)
    assert cls.name == name
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert cls.summary().endswith(".")
