"""Kernels assigned to the layers of a graph, as hints that travel with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.codegen.ks_codegen import HINT, REASON, check_samples, hinted
from pathlift.codegen.products import products
from pathlift.codegen.schedule import Form, Schedule
from pathlift.codegen.witness import CodegenWitness
from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import Pattern
from pathlift.passes.pipeline import parse_pipeline, run_pipeline

OUTER, INNER = Pattern(1, 12, 16, 4), Pattern(4, 16, 64, 1)


def layers(
    dtype: str = "f32", *, read_twice: bool = False, bias_inside: bool = False, samples: Any = "N", inside: str = ""
) -> Graph:
    """Two factors of one product, and an activation."""
    rng, b = np.random.default_rng(0), Builder()
    kind = {"f32": np.float32, "f16": np.float16, "f64": np.float64}[dtype]

    def param(*shape: int) -> Value:
        return b.param(rng.standard_normal(shape).astype(kind))

    x = b.input("x", (samples, 256), dtype)
    bias = [param(INNER.rows)] if bias_inside else []
    h = b.op("KSLinear", x, param(*INNER.shape), *bias, name="inner", pattern=tuple(INNER), activation=inside)
    y = b.op("KSLinear", h, param(*OUTER.shape), param(48), name="outer", pattern=tuple(OUTER), activation="Relu")
    b.output(*([y, h] if read_twice else [y]))
    return b.finish()


def assigned(graph: Graph, options: str = "") -> tuple[Graph, str]:
    after, (step,) = run_pipeline(graph, parse_pipeline(f"ks-codegen{options}"))
    return after, step.note


def node(graph: Graph, name: str) -> str:
    (key,) = (k for k in graph.order if name in graph[k].names)
    return key


def metadata(graph: Graph, name: str) -> dict[str, str]:
    return dict(graph[node(graph, name)].origin.metadata)


class TestProducts:
    def test_factors_of_a_product_belong_together(self) -> None:
        (found,) = products(layers())
        assert found.patterns == (OUTER, INNER)
        assert found.form == Form(bias=True, activation="Relu")
        assert (found.samples, found.dtype) == (None, "float32")

    @pytest.mark.parametrize("how", [{"read_twice": True}, {"bias_inside": True}, {"inside": "Relu"}])
    def test_what_else_is_read_or_added_parts_them(self, how: dict[str, Any]) -> None:
        assert sorted(len(p.keys) for p in products(layers(**how))) == [1, 1]

    def test_types_and_extents(self) -> None:
        (half,) = products(layers("f16", samples=7), "tf32")
        assert half.form == Form("float16", "ieee", bias=True, activation="Relu")
        assert half.samples == 7
        assert [p.form for p in products(layers("f64"))] == [None]

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("second", [False, True])
    def test_layers_of_two_layouts_are_two_products(self, first: bool, second: bool) -> None:
        b, square = Builder(), Pattern(1, 2, 2, 2)
        h = b.input("x", (4, 4), "f32")
        for feature_major in (first, second):
            w = b.param(np.ones(square.shape, np.float32))
            h = b.op("KSLinear", h, w, pattern=tuple(square), feature_major=feature_major)
        assert len(list(products(b.finish(h)))) == (1 if first == second else 2)

    @pytest.mark.parametrize(("shape", "feature_major"), [((3, 5, 4), False), ((4, 15), True)])
    def test_samples_are_all_but_features(self, shape: tuple[int, ...], feature_major: bool) -> None:
        b, square = Builder(), Pattern(1, 2, 2, 2)
        w = b.param(np.ones(square.shape, np.float32))
        y = b.op("KSLinear", b.input("x", shape), w, pattern=tuple(square), feature_major=feature_major)
        assert [p.samples for p in products(b.finish(y))] == [15]


def test_each_layer_is_told_why() -> None:
    after, note = assigned(layers())
    assert "'inner' (4,16,64,1): " in note
    assert "'outer' (1,12,16,4): " in note
    assert all(REASON in metadata(after, name) for name in ("inner", "outer"))
    assert hinted(after)


@pytest.mark.parametrize("options", ["", "{device=a100, samples=25088}", "{precision=ieee}", "{samples=1}"])
def test_hints_are_what_was_chosen(options: str) -> None:
    after, _ = assigned(layers(), options)
    arch = "sm_80" if "a100" in options else "sm_90"
    for key, found in hinted(after).items():
        assert key.arch == arch
        assert found.seconds > 0
        assert found.schedule is None or found.schedule.form == key.form
    assert any((OUTER in key.patterns) for key in hinted(after))


def test_hints_are_of_no_version_and_of_the_samples_that_are_known() -> None:
    after, _ = assigned(layers(samples=7), "{precision=ieee}")
    assert {(key.triton, key.samples) for key in hinted(after)} == {("", 8)}


def noted(graph: Graph, name: str, text: str) -> Graph:
    """Put a hint on a layer."""
    key, builder = node(graph, name), graph.edit()
    builder.replace_node(Value(key), origin=replace(graph[key].origin, metadata=((HINT, text),)))
    return builder.finish()


def test_hints_are_at_the_outermost_layer_of_their_kernel() -> None:
    after, note = assigned(noted(layers(), "inner", "from before"), "{precision=ieee}")
    assert "part of 'outer'" in note
    assert REASON in metadata(after, "inner")
    assert HINT not in metadata(after, "inner")
    assert json.loads(metadata(after, "outer")[HINT])["patterns"] == f"{OUTER}{INNER}"


def test_running_it_again_changes_nothing() -> None:
    after, _ = assigned(layers())
    again, _ = assigned(after)
    assert again is after
    other, _ = assigned(after, "{device=a100, samples=25088}")
    assert {key.arch for key in hinted(other)} == {"sm_80"}


def test_hints_are_saved(tmp_path: Path) -> None:
    after, _ = assigned(layers(samples=4096), "{precision=ieee}")
    save(after, tmp_path / "m.onnx")
    assert hinted(load(tmp_path / "m.onnx")) == hinted(after)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"patterns": "(1,1,1,1)"}', "[" * 10**5])
def test_hints_of_a_file_are_not_trusted(text: str) -> None:
    assert hinted(noted(layers(), "outer", text)) == {}


def test_float64_has_no_kernels() -> None:
    after, note = assigned(layers("f64"))
    assert "no kernel: float64 is none of float32, float16 and bfloat16" in note
    assert hinted(after) == {}


def test_it_composes_with_epilogues_and_layouts() -> None:
    after, steps = run_pipeline(layers(), parse_pipeline("ks-epilogue,ks-layout,ks-codegen{precision=ieee}"))
    assert [step.changed for step in steps] == [False, True, True]
    forms = [(key.form.reads, key.form.writes) for key in hinted(after)]
    assert forms
    assert {forms[0][0], forms[-1][1]} == {"features"}


def test_a_graph_without_layers_stays(digits: Path) -> None:
    graph = load(digits)
    after, note = assigned(graph)
    assert after is graph
    assert note == ""


@pytest.mark.parametrize(
    ("options", "code"), [("{device=cpu}", "PL1437"), ("{device=gtx}", "PL1437"), ("{samples=0}", "PL1436")]
)
def test_refusals(options: str, code: str) -> None:
    with pytest.raises(UsageError) as raised:
        assigned(layers(), options)
    assert raised.value.code == code


@pytest.mark.parametrize("samples", [0, -1, 2.5, "8"])
def test_numbers_of_samples_that_are_none(samples: Any) -> None:
    with pytest.raises(UsageError, match=f"PL1436 {samples!r}"):
        check_samples(samples)


class TestWitness:
    def rewritten(self, options: str = "{precision=ieee}") -> tuple[Graph, Graph, CodegenWitness]:
        graph = layers()
        (pipeline,) = parse_pipeline(f"ks-codegen{options}")
        done = pipeline.run(graph)
        assert isinstance(done.witness, CodegenWitness)
        return graph, done.graph, done.witness

    def test_other_weights_are_found(self) -> None:
        graph, after, witness = self.rewritten()
        key = node(graph, "inner")
        builder = after.edit()
        builder.replace_node(Value(key), attrs={"pattern": (4, 16, 64, 1), "activation": "Relu"})
        with pytest.raises(WitnessError) as raised:
            witness.check(graph, builder.finish())
        assert raised.value.code == "PL0815"

    def test_other_outputs_are_found(self) -> None:
        graph, after, witness = self.rewritten()
        builder = after.edit()
        with pytest.raises(WitnessError) as raised:
            witness.check(graph, builder.finish(Value(node(after, "inner"))))
        assert raised.value.code == "PL0815"

    @pytest.mark.parametrize(
        "lost",
        [
            "(torch.zeros_like(factor),)",
            "(factor.contiguous()[:-1],)",
            "(factor.flip(0).contiguous(), factor)",
            "(factor.clamp(max=2).contiguous(),)",
            "(factor.float().half().to(factor.dtype).contiguous(),)",
        ],
    )
    def test_packing_that_loses_something_is_found(self, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from pathlift.codegen import witness as module

        honest = module.render
        graph, after, witness = self.alone(group=1)
        broken = honest.__wrapped__ if hasattr(honest, "__wrapped__") else honest
        monkeypatch.setattr(
            module, "render", lambda *of: broken(*of).replace("return (factor.contiguous(),)", f"return {lost}")
        )
        with pytest.raises(WitnessError) as raised:
            witness.check(graph, after)
        assert raised.value.code == "PL0816"

    def test_packing_of_two_factors_that_loses_something_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pathlift.codegen import witness as module

        honest = module.render
        graph, after, witness = self.rewritten()
        assert any(len(choice.patterns) == 2 for choice in witness.choices.values())
        witness.check(graph, after)
        monkeypatch.setattr(module, "render", lambda *of: honest(*of).replace("return w1.con", "return w1.flip(0).con"))
        witness.check(graph, after)  # another order is none of its business
        monkeypatch.setattr(module, "render", lambda *of: honest(*of).replace("return w1.con", "return w1[:, 1:].con"))
        with pytest.raises(WitnessError) as raised:
            witness.check(graph, after)
        assert raised.value.code == "PL0816"

    def test_merged_blocks_hold_each_weight_once(self) -> None:
        graph, after, witness = self.alone(group=2)
        witness.check(graph, after)

    def alone(self, group: int) -> tuple[Graph, Graph, CodegenWitness]:
        """The outer factor in a kernel of its own."""
        graph, after, witness = self.rewritten()
        (key,) = (k for k, choice in witness.choices.items() if OUTER in choice.patterns)
        dot = replace(witness.choices[key], patterns=(OUTER,), schedule=Schedule("dot", group=group))
        return graph, after, replace(witness, choices={key: dot})
