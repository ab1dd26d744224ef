"""`pathlift compare --modulo none`: two files run on the same inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.text import parse_graph
from pathlift.report.distance import DistanceResult
from pathlift.report.equivalence import EquivalenceResult
from pathlift.report.sameness import SamenessResult
from pathlift.testing.onnx_models import info, model, node
from pathlift.verbs.compare import compare

Cli = Callable[..., Any]
LINE = "%x = Input : {1}[N, 2]\n%w = Param {{value=[[{0}], [1.0]]}} : {1}[2, 1]\n%y = Gemm(%x, %w)\nreturn %y"


def line(weight: float, dtype: str = "f32") -> Any:
    return parse_graph(LINE.format(weight, dtype))


def judged(a: Any, b: Any, **options: Any) -> SamenessResult:
    result = compare(a, b, modulo="none", **options)
    assert isinstance(result, SamenessResult)
    return result


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two models, that part at 1e9 only: nothing that is drawn is as large."""
    monkeypatch.chdir(tmp_path)
    limit = numpy_helper.from_array(np.float32(1e9), "limit")
    onnx.save(model([node("Relu", "x", "h"), node("Neg", "h", "y")], [info("x")], [info("y")]), "a.onnx")
    cut = [node("Relu", "x", "h"), node("Min", "h limit", "m"), node("Neg", "m", "y")]
    onnx.save(model(cut, [info("x")], [info("y")], [limit]), "b.onnx")
    return "a.onnx", "b.onnx"


def test_a_model_is_itself(pathlift: Cli, digits: Path) -> None:
    outcome = pathlift("compare", str(digits), str(digits), "--modulo", "none")
    assert outcome.code == 0
    assert outcome.out.startswith("same: all outputs agree on 29 inputs; tolerance 0.0001\n")


def test_the_figures(pathlift: Cli, tmp_path: Path, digits: Path) -> None:
    proto = onnx.load(digits)
    (bias,) = (t for t in proto.graph.initializer if t.name == "classes.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1), bias.name))
    onnx.save(proto, other := str(tmp_path / "other.onnx"))
    outcome = pathlift("compare", str(digits), other, "--modulo", "none", "--format", "json")
    told = json.loads(outcome.out)["result"]
    assert (outcome.code, told["verdict"], told["tolerance"], told["samples"]) == (1, "different", 1e-4, 29)
    (output,) = told["outputs"]
    assert (output["name"], output["same"]) == ("logits", False)
    assert output["values"][1] - output["values"][0] == pytest.approx(1, rel=1e-5)
    assert [v["node"] for v in told["parting"]["values"]] == ["classes"]
    assert (
        "they part at classes (Gemm): all that it reads agrees (relu_1)"
        in pathlift("compare", str(digits), other, "--modulo", "none").out
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("f64", 1e-9), ("f32", 1e-4), ("f16", 5e-2)])
def test_the_tolerance_is_that_of_the_coarsest_format(dtype: str, tolerance: float) -> None:
    for off, verdict in ((0.0, "same"), (0.2 * tolerance, "same"), (8 * tolerance, "different")):
        found = judged(line(1.0, dtype), line(1.0 + off, dtype))
        assert (found.verdict, found.tolerance) == (verdict, tolerance)


def test_the_tolerance_is_the_one_that_is_asked_for() -> None:
    assert judged(line(1.0), line(1.01), tolerance=0.2).verdict == "same"
    assert judged(line(1.0), line(1.01), tolerance=0.001).verdict == "different"


def test_a_coarser_copy_takes_the_same_inputs() -> None:
    assert judged(line(1.0), line(1.0, "f16")).verdict == "same"
    assert judged(line(1.0, "f16"), line(1.5)).verdict == "different"


def test_samples_show_what_is_not_drawn(pathlift: Cli, files: tuple[str, str]) -> None:
    assert pathlift("compare", *files, "--modulo", "none").code == 0
    np.savez("s.npz", x=np.array([[1.0, 2e9]], np.float32))
    outcome = pathlift("compare", *files, "--modulo", "none", "--at", "s.npz", "--witness", "w.npz", "--format", "json")
    told = json.loads(outcome.out)["result"]
    assert (outcome.code, told["given"], told["outputs"][0]["input"]) == (1, 1, "given")
    assert told["parting"]["values"][0]["value"] == "y"  # Min has no counterpart
    with np.load(told["witness"]) as witness:
        assert witness["x"].tolist() == [[1.0, 2e9]]
    assert pathlift("compare", *files, "--modulo", "none", "--at", "w.npz").code == 1


def test_given_inputs_show_where_they_part(files: tuple[str, str]) -> None:
    """A difference on a sample goes before larger ones on what is drawn."""
    found = judged(line(1.0), line(-1.0), at={"x": np.array([[1.0, 100.0]], np.float32)})
    assert found.parting is not None
    assert found.parting.input == "given"
    assert found.outputs[0].largest.relative > found.parting.values[0].difference.relative


def test_samples_go_in_the_batches_that_a_file_fixes() -> None:
    fixed = [LINE.format(w, "f32").replace("[N,", "[2,") for w in (1.0, 2.0)]
    rows = np.array([[0.0, 1.0]] * 3 + [[1.0, 1.0]] + [[0.0, 1.0]], np.float32)
    found = judged(*map(parse_graph, fixed), at={"x": rows})
    assert (found.given, found.parting and found.parting.input) == (2, "given 2 to 3")
    assert "the last 1 of 5 samples are left out" in found.warnings[-1]


class Batches:
    """What a quantizer is calibrated on."""

    def __init__(self) -> None:
        self.left = [{"image": np.random.default_rng(0).random((8, 1, 8, 8), np.float32)}]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


def test_an_int8_file_of_another_tool(tmp_path: Path, digits: Path) -> None:
    from onnxruntime.quantization import quantize_static

    quantize_static(str(digits), other := str(tmp_path / "int8.onnx"), Batches())
    images = {"image": np.random.default_rng(1).random((4, 1, 8, 8), np.float32)}
    found = judged(str(digits), other, at=images)
    assert found.parting is not None
    assert (found.verdict, found.parting.matched_by, found.parting.input) == ("different", "names", "given")
    assert found.parting.values[0].node == "stem"
    assert 1e-4 < found.parting.values[0].difference.relative < 0.1
    assert judged(str(digits), other, at=images, tolerance=100.0).verdict == "same"


def test_nan_is_nan(files: tuple[str, str]) -> None:
    assert judged(*files, at={"x": np.array([[nan, -1.0]], np.float32)}).verdict == "same"


def one(op: str, *, dtype: int = TensorProto.FLOAT, out: int | None = None, **attributes: Any) -> bytes:
    proto = model(
        [node(op, "x", "y", **attributes)],
        [info("x", ("N", 4), dtype)],
        [info("y", None if out is None else ("N", 1), out or dtype)],
    )
    return bytes(proto.SerializeToString())


def integers(count: int) -> bytes:
    table = numpy_helper.from_array(np.arange(count) + 2**40, "t")
    proto = model(
        [node("Gather", "t x", "y")],
        [info("x", ("N",), TensorProto.INT64)],
        [info("y", ("N",), TensorProto.INT64)],
        [table],
    )
    return bytes(proto.SerializeToString())


def test_integers_are_to_be_equal() -> None:
    assert judged(one("ArgMax", out=7, axis=1), one("ArgMax", out=7, axis=1)).verdict == "same"
    assert judged(one("ArgMax", out=7, axis=1), one("ArgMin", out=7, axis=1)).verdict == "different"
    plus = integers(2)
    proto = onnx.load_from_string(plus)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.arange(2) + 2**40 + 1, "t"))
    other = proto.SerializeToString()
    found = judged(plus, other)  # 1 in 2^40 is no rounding
    assert (found.verdict, found.outputs[0].absolute) == ("different", 1.0)
    assert judged(plus, other, tolerance=1e-6).verdict == "same"


def test_texts_are_compared_on_samples(tmp_path: Path) -> None:
    made = [one("Identity", dtype=TensorProto.STRING), one("Identity", dtype=TensorProto.STRING)]
    with pytest.raises(UnsupportedError, match="PL0395"):
        judged(*made)
    found = judged(*made, at={"x": np.array([["a", "b", "c", "d"]])})
    assert (found.verdict, found.samples) == ("same", 1)
    assert "only given ones were tried" in found.warnings[-1]


def test_a_model_that_fails_where_the_other_runs_is_different() -> None:
    found = judged(integers(2), integers(1))
    assert found.verdict == "different"
    assert found.reason.startswith("the second model fails where the other runs: ")
    assert found.parting is None


def test_other_inputs_are_a_difference(pathlift: Cli, files: tuple[str, str], digits: Path) -> None:
    outcome = pathlift("compare", files[0], str(digits), "--modulo", "none")
    assert outcome.code == 1
    assert outcome.out.startswith("different: input 'x' of the first is f32[N, 2], 'image' of the second ")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--modulo", "none,rescaling"], "PL0452"),
        (["--modulo", "none", "--tolerance", "-1"], "PL0453"),
        (["--modulo", "none", "--domain", "x=0:1"], "PL1466"),
        (["--modulo", "none", "--per-layer"], "PL1466"),
        (["--modulo", "none", "--radius", "1"], "PL1466"),
        (["--modulo", "rescaling", "--at", "s.npz"], "PL1466"),
        (["--modulo", "none", "--at", "missing.npz"], "PL0470"),
    ],
)
def test_usage(pathlift: Cli, files: tuple[str, str], options: list[str], code: str) -> None:
    outcome = pathlift("compare", *files, *options)
    assert (outcome.code, outcome.err[:6]) == (2, code)


def test_models_that_cannot_be_compared() -> None:
    random = model([node("RandomNormalLike", "x", "y")], [info("x")], [info("y")]).SerializeToString()
    with pytest.raises(UnsupportedError, match="PL0398"):
        judged(random, random)
    foreign = model(
        [node("Secret", "x", "y", domain="else")], [info("x")], [info("y")], opsets=(("", 18), ("else", 1))
    ).SerializeToString()
    with pytest.raises(UnsupportedError, match=r"PL0399.*the first model does not run"):
        judged(foreign, foreign)


def test_every_answer_has_a_verdict_and_modulo_may_be_a_string() -> None:
    equal = [compare(line(1.0), line(1.0), modulo=m) for m in ("rescaling", "rescaling,permutation", ())]
    assert [type(r) for r in equal] == [EquivalenceResult] * 3
    assert [r.verdict for r in equal] == ["equivalent"] * 3
    assert [r.modulo for r in equal if isinstance(r, EquivalenceResult)] == [
        ("rescaling",), ("rescaling", "permutation"), (),
    ]  # fmt: skip
    bounded = compare(line(1.0), line(1.0), budget=0.1)
    assert isinstance(bounded, DistanceResult)
    assert bounded.verdict == "bounded"
    with pytest.raises(UsageError, match="PL0452"):
        compare(line(1.0), line(1.0), modulo="rotation")
