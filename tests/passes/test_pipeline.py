"""Pipelines, and the passes that every pipeline needs."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError, TextError, UnsupportedError, UsageError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.passes import registry
from pathlift.passes.base import Effect, Pass, Rewritten, Transform, Witness
from pathlift.passes.pipeline import PassFailedError, parse_pipeline, run_pipeline
from pathlift.passes.rewrites.dead_code import DeadCode
from pathlift.passes.rewrites.strip_head import StripHead


class Claim(Witness):
    def check(self, before: Graph, after: Graph) -> None:
        raise WitnessError("0899", "the claim does not hold")


class Nothing(Witness):
    def check(self, before: Graph, after: Graph) -> None:
        pass


@dataclass(frozen=True)
class Example(Transform):
    """An example."""

    name: ClassVar[str] = "example"
    norm: Literal["l1", "l2"]
    exact: bool = False
    sizes: tuple[int, ...] = ()
    limit_to: float | None = None
    layers: str = ""
    names: tuple[str, ...] = ()
    seed: int | None = 0
    bits: Literal[4, 8] = 8
    shape: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.limit_to == 0:
            raise ValueError("nothing is left")
        if self.limit_to == -1:
            raise UsageError("0499", "limit-to is negative")

    def run(self, graph: Graph) -> Rewritten:
        return Rewritten(graph, Claim())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> type[Pass]:
        return Example if name == "example" else registry.find_pass(name)

    monkeypatch.setattr("pathlift.passes.pipeline_text.find_pass", find)


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
    ("option", "field", "value"),
    [
        ("limit-to=1e-3", "limit_to", 1e-3),
        ("limit-to = inf ", "limit_to", math.inf),
        ("limit-to=-2.5", "limit_to", -2.5),
        ("limit-to=none", "limit_to", None),
        ("seed=none", "seed", None),
        ("seed=7", "seed", 7),
        ("bits=4", "bits", 4),
        ("exact=false", "exact", False),
        ("sizes=[]", "sizes", ()),
        ("sizes=3", "sizes", (3,)),
        ("sizes=[ 1 ,2, ]", "sizes", (1, 2)),
        ("layers=lq:2", "layers", "lq:2"),
        ("layers=fc*.weight", "layers", "fc*.weight"),
        ("layers=a=b", "layers", "a=b"),
        ("layers=none", "layers", "none"),
        ('layers="fc*, {head}"', "layers", "fc*, {head}"),
        ("layers='a\"b]'", "layers", 'a"b]'),
        ('layers=""', "layers", ""),
        ("names=[a, 'b,c', \"d]\"]", "names", ("a", "b,c", "d]")),
    ],
)
def test_values_are_read_as_the_field_says(option: str, field: str, value: object) -> None:
    (p,) = parse_pipeline(f"example{{norm=l1,{option}}}")
    assert repr(getattr(p, field)) == repr(value)


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("nonsense", "PL0650", "there are: path-norm, "),
        ("dead_code", "PL0650", "did you mean 'dead-code'?"),
        ("Strip-Heads", "PL0650", "did you mean 'strip-head'?"),
        ("dead-code,,strip-head", "PL0651", "for example"),
        ("dead-code{", "PL0651", "for example"),
        ("dead-code strip-head", "PL0651", "for example"),
        ("example{layers='}", "PL0651", "for example"),
        ("dead-code{=}", "PL0652", "option=value"),
        ("dead-code{x=1}", "PL0653", "there are: none"),
        ("example{nrom=l1}", "PL0653", "did you mean 'norm'?"),
        ("example{limit_too=1}", "PL0653", "did you mean 'limit-to'?"),
        ("example{norm=l3}", "PL0654", "it is of type Literal['l1', 'l2']"),
        ("example{norm=l1,exact=yes}", "PL0654", "it is of type bool"),
        ("example{norm=l1,sizes=[a]}", "PL0654", "it is of type tuple[int, ...]"),
        ("example{norm=l1,sizes=[1,,2]}", "PL0654", "it is of type tuple[int, ...]"),
        ("example{norm=l1,seed=1e3}", "PL0654", "it is of type int | None"),
        ("example{norm=l1,exact=none}", "PL0654", "it is of type bool"),
        ("example{norm=l1,limit-to=nan}", "PL0654", "it is of type float | None"),
        ("example{norm=l1,shape=H=3}", "PL0654", "it is of type tuple[tuple[str, int], ...]"),
        ("example{norm=l1,layers=a'b}", "PL0651", "for example"),
        ("example{norm=l1,layers=}", "PL0652", "option=value"),
        ("example{norm=l1,norm=l2}", "PL0656", ""),
        ("example", "PL0655", "example{norm=…}"),
        ("example{norm=l1,limit-to=0}", "PL0657", ""),
    ],
)
def test_what_does_not_parse_is_a_coded_error(text: str, code: str, hint: str) -> None:
    with pytest.raises(TextError) as error:
        parse_pipeline(text)
    assert error.value.code == code
    assert error.value.hint.startswith(hint)
    assert bool(hint) == bool(error.value.hint)


def test_a_pass_may_refuse_its_options_by_a_code_of_its_own() -> None:
    with pytest.raises(UsageError, match="negative"):
        parse_pipeline("example{norm=l1,limit-to=-1}")


def test_passes_run_in_order_and_are_seen() -> None:
    before, seen = graph(), []
    after, steps = run_pipeline(
        before, parse_pipeline("dead-code,strip-head,dead-code"), after_each=lambda n, g: seen.append((n, len(g)))
    )
    assert [s.changed for s in steps] == [True, True, False]
    assert [n for n, _ in seen] == ["dead-code", "strip-head", "dead-code"]
    assert [after[key].op for key in after] == ["Input", "Relu", "Identity"]
    assert "dead" in before
    assert (steps[0].name, steps[0].note, steps[0].effect) == ("dead-code", "3 nodes removed", Effect.KEEPS)


def test_a_false_witness_is_an_internal_error() -> None:
    with pytest.raises(WitnessError, match=r" pass 'example' of package \w+: the claim does not hold hint: ") as error:
        run_pipeline(graph(), [Example("l1")])
    assert (error.value.code, error.value.exit_code) == ("PL0899", 70)


def test_an_analysis_in_a_pipeline_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'path-norm' is an analysis"):
        parse_pipeline("path-norm{q=[1,2]}")


def mangled(graph: Graph) -> Graph:
    """A graph that no builder would make: an output that is not there."""
    return Graph(graph.nx, (Value("nowhere"),))


class Talkative(Nothing):
    def describe(self) -> str:
        raise KeyError("label")


@pytest.mark.parametrize(
    ("returned", "code", "message"),
    [
        (lambda _: 1 / 0, "PL0810", "failed with ZeroDivisionError: division by zero"),
        (lambda _: None, "PL0811", "returned an object of type NoneType, not Rewritten"),
        (lambda g: Rewritten(g, cast(Any, None)), "PL0811", "returned Graph and NoneType, not a Graph and a Witness"),
        (lambda g: Rewritten(mangled(g), Nothing()), "PL0812", "made an invalid graph: output 'nowhere'.0"),
        (lambda g: g.edit().finish("gone"), "PL0812", "made an invalid graph: there is no value 'gone'"),
        (lambda g: Rewritten(g, Talkative()), "PL0810", "failed with KeyError: 'label'"),
    ],
    ids=["raises", "returns nothing", "no witness", "invalid graph", "builder", "describe"],
)
def test_a_broken_pass_is_named(returned: Callable[[Graph], Any], code: str, message: str) -> None:
    class Broken(Example):
        def run(self, graph: Graph) -> Rewritten:
            result: Rewritten = returned(graph)
            return result

    with pytest.raises(PassFailedError) as error:
        run_pipeline(graph(), [Broken("l1")])
    assert (error.value.code, error.value.exit_code) == (code, 70)
    assert error.value.message.startswith(f"pass 'example' of package {Broken.__module__.partition('.')[0]} {message}")


def test_what_a_pass_refuses_is_passed_on() -> None:
    refusal = UnsupportedError("0304", "dynamic weight", node="conv3", op="Conv")

    class Refuses(Example):
        def run(self, graph: Graph) -> Rewritten:
            raise refusal

    with pytest.raises(PathliftError) as error:
        run_pipeline(graph(), [Refuses("l1")])
    assert error.value is refusal


def test_unchanged_means_the_same_graph() -> None:
    clean = run_pipeline(graph(), parse_pipeline("dead-code,strip-head"))[0]
    for p in (DeadCode(), StripHead()):
        assert p.run(clean).graph is clean


@pytest.mark.parametrize("name", registry.pass_names())
def test_every_pass_is_a_frozen_dataclass_with_help(name: str) -> None:
    cls = registry.find_pass(name)
    assert cls.name == name
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert cls.summary().endswith(".")
