"""`pathlift compare` on a domain: how it is given, what is answered, proved and refuted, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from pathlift.frontend.save import save
from pathlift.ir.text import parse_graph
from pathlift.models.certificates.distance import Comparison, Measured
from pathlift.passes.attacks.domain import Domain
from pathlift.testing.searches import few_steps

Cli = Callable[..., Any]
NET = """%x = Input : f32[N, 2]
%w = Param {{value=[[1.0, 2.0], [3.0, {0}]]}} : f32[2, 2]
%h = Gemm(%x, %w)
%r = Relu(%h)
%v = Param {{value=[[1.0, -1.0], [{1}, 0.5]]}} : f32[2, 2]
%y = Gemm(%r, %v)
return %y"""
LINE = "%{0} = Input : f32[N, {1}]\n%w = Param {{value={2}}} : f32[{1}, {3}]\n%y = Gemm(%{0}, %w)\nreturn %y"


@pytest.fixture(autouse=True)
def _shortly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The methods that cost one pass, unless a test is about all of them."""
    stages = Comparison.stages
    if "all_methods" not in request.fixturenames:
        monkeypatch.setattr(Comparison, "stages", lambda self: stages(self)[:3])
    with few_steps(1, attack=4):
        yield


@pytest.fixture
def all_methods() -> None:
    """Asks for all of them."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models; what one does to x ≥ 0 is monotone, so that at (1, 1) they differ by 2.125 and 0.25."""
    monkeypatch.chdir(tmp_path)
    for name, weights in (("a", (4.0, 1.0)), ("b", (4.5, 1.25))):
        save(parse_graph(NET.format(*weights)), f"{name}.onnx")
    return ["a.onnx", "b.onnx"]


@pytest.fixture
def compared(files: list[str], pathlift: Cli) -> Callable[..., Any]:
    def call(*options: str, models: Sequence[str] = (), code: int = 0) -> Any:
        outcome = pathlift("compare", *(models or files), "--budget", "60", "--format", "json", *options)
        assert outcome.code == code, outcome
        assert "Traceback" not in outcome.err
        return json.loads(outcome.out) if code in (0, 1, 5) else outcome

    return call


@pytest.mark.usefixtures("all_methods")
def test_the_answer(compared: Any) -> None:
    envelope = compared("--domain", "x=0:1")
    result = envelope["result"]
    wanted = {"bound", "methods", "domain", "sampled_max_l1", "looseness", "verdict", "norm", "tolerance", "vacuous"}
    assert wanted <= set(result)
    assert result["bound"]["per_output"] == pytest.approx([2.125, 0.25], rel=1e-9)
    assert result["bound"]["l1"] == pytest.approx(2.375, rel=1e-9)
    assert result["bound"]["l1"] >= 2.375
    assert result["bound"]["linf"] >= 2.125
    assert result["looseness"] == pytest.approx(1, rel=1e-6)
    assert set(result["methods"]) == {"interval", "differential", "path_metric", "joint", "ellipsoid", "refused"}
    assert all(result["methods"][name] >= 2.375 for name in result["methods"] if name != "refused")
    assert (result["verdict"], result["tolerance"]) == ("bounded", None)
    assert result["domain"] == {
        "inputs": {"x": {"low": 0.0, "high": 1.0}},
        "samples": 1,
        "radius": None,
        "uniform": True,
    }
    assert "per_sample" not in result


def test_no_domain_is_minus_one_to_one_and_said(compared: Any) -> None:
    envelope = compared()
    assert envelope["result"]["domain"]["inputs"]["x"] == {"low": -1.0, "high": 1.0}
    assert "[-1, 1]" in envelope["assumptions"][0]


def test_equal_models_do_not_differ(compared: Any) -> None:
    result = compared("--tol", "0", models=["a.onnx", "a.onnx"])["result"]
    assert (result["bound"]["l1"], result["verdict"], result["looseness"]) == (0.0, "proved", None)


def test_boxes_from_a_file(compared: Any) -> None:
    np.savez("box.npz", low=np.zeros((2, 2)), high=np.array([[1.0, 1.0], [2.0, 2.0]]))
    result = compared("--domain", "x=box.npz")["result"]
    assert [row["l1"] for row in result["per_sample"]] == pytest.approx([2.375, 4.75])
    assert result["bound"]["l1"] == max(row["l1"] for row in result["per_sample"])
    np.savez("one.npz", low=np.zeros(2), high=np.ones(2))
    assert compared("--domain", "x=one.npz")["result"]["bound"]["l1"] == pytest.approx(2.375)


def test_balls_around_samples_stay_within_the_domain(compared: Any) -> None:
    np.savez("s.npz", x=np.array([[0.5, 0.5], [1.0, 1.0]], np.float32))
    result = compared("--at", "s.npz", "--radius", "0.5", "--domain", "x=0:1")["result"]
    inputs = {"x": {"low": 0.0, "high": 1.0}}
    assert result["domain"] == {"inputs": inputs, "samples": 2, "radius": 0.5, "uniform": False}
    assert [row["l1"] for row in result["per_sample"]] == pytest.approx([2.375, 2.375])
    free = compared("--at", "s.npz", "--radius", "0.5")["result"]
    assert [row["l1"] for row in free["per_sample"]] == pytest.approx([2.375, 1.5 * 2.375])


def run_in_onnxruntime(file: str, feeds: dict[str, Any]) -> Any:
    (y,) = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feeds)
    return y.astype(np.float64)


@pytest.mark.parametrize(("norm", "largest"), [("l1", 2.375), ("linf", 2.125)])
def test_a_tolerance_is_proved_or_refuted(norm: str, largest: float, compared: Any, files: list[str]) -> None:
    options = ("--domain", "x=0:1", "--norm", norm, "--tol")
    result = compared(*options, f"{largest + 1e-6}")["result"]
    assert (result["verdict"], "witness" in result) == ("proved", False)
    assert not Path("witness.npz").exists()
    result = compared(*options, "1.5", code=1)["result"]
    assert (result["verdict"], result["witness"]) == ("refuted", "witness.npz")
    with np.load("witness.npz") as witness:
        feeds = dict(witness)
    assert (feeds["x"].dtype, feeds["x"].shape) == (np.float32, (1, 2))  # as the models take it
    assert ((feeds["x"] >= 0) & (feeds["x"] <= 1)).all()
    apart = np.abs(np.subtract(*(run_in_onnxruntime(file, feeds) for file in files)))
    assert (apart.sum() if norm == "l1" else apart.max()) > 1.5
    assert compared(*options, "1.5", code=1)["result"]["witness"] == "witness-2.npz"  # nothing is overwritten


def test_a_witness_that_the_models_cannot_take_exactly_is_kept_as_it_is(compared: Any) -> None:
    np.savez("box.npz", low=np.full((1, 2), 0.1), high=np.full((1, 2), 0.1))  # no float32 is in it
    compared("--domain", "x=box.npz", "--tol", "0.2", "--witness", "w.npz", code=1)
    with np.load("w.npz") as witness:
        assert witness["x"].dtype == np.float64
        assert witness["x"].tolist() == [[0.1, 0.1]]


def test_what_is_neither_is_inconclusive(compared: Any) -> None:
    bound = compared("--domain", "x=-1:1")["result"]
    between = (bound["sampled_max_linf"] + bound["bound"]["linf"]) / 2
    if not bound["bound"]["linf"] > between > bound["sampled_max_linf"]:
        pytest.fail("the bound is attained: this needs a pair of networks whose bound is loose")
    outcome = compared("--domain", "x=-1:1", "--norm", "linf", "--tol", repr(between), code=5)
    assert outcome["result"]["verdict"] == "inconclusive"


def test_a_reason_is_that_of_all_methods_that_have_it(compared: Any) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xy"]
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=opset), "q.onnx")
    refused = compared("--domain", "x=0:1", models=["a.onnx", "q.onnx"], code=4).err
    assert refused.startswith("PL0345 differential, path_metric, joint, ellipsoid: the networks are no pair")
    assert "; interval: PL0304 node 'quantize'" in refused


def test_boxes_that_an_interrupt_left_undone_are_not_proved(compared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Comparison.measure

    def interrupted(*args: Any, **kwargs: Any) -> Measured:
        measured = whole(*args, **kwargs)
        measured.outcome.interrupted = True
        return measured

    monkeypatch.setattr(Comparison, "measure", interrupted)
    np.savez("box.npz", low=np.zeros((2, 2)), high=np.array([[1.0, 1.0], [2.0, 2.0]]))
    result = compared("--domain", "x=box.npz", "--tol", "3", code=5)["result"]
    assert (result["verdict"], result["interrupted"], result["bound"]["l1"]) == ("inconclusive", True, None)
    assert compared("--domain", "x=0:1", "--tol", "3")["result"]["verdict"] == "proved"  # one box, and done


def test_an_interrupt_during_a_later_box_keeps_those_before(
    compared: Any, files: list[str], pathlift: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Comparison.measure, iter(range(9))

    def interrupted(*args: Any, **kwargs: Any) -> Measured:
        if next(calls) % 2:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr(Comparison, "measure", interrupted)
    np.savez("box.npz", low=np.zeros((3, 2)), high=np.ones((3, 2)))
    result = compared("--domain", "x=box.npz", code=5)["result"]
    assert (result["verdict"], result["interrupted"], result["bound"]["l1"]) == ("inconclusive", True, None)
    assert result["sampled_max_l1"] == pytest.approx(2.375)
    shown = pathlift("compare", *files, "--domain", "x=box.npz", "--budget", "60")
    assert (shown.code, shown.out.splitlines()[0].count("not all inputs")) == (5, 1)
    refused = compared("--domain", "x=box.npz", "-c", "c.json", code=4)
    assert "1 of 3 boxes were done" in refused.err
    next(calls)
    assert pathlift("compare", *files, "--domain", "x=0:1").code == 130  # nothing is known yet


def test_a_box_without_a_bound_leaves_the_whole_without_one(compared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = Comparison.measure, iter(range(9))

    def refused(*args: Any, **kwargs: Any) -> Measured:
        measured = whole(*args, **kwargs)
        if next(calls):
            measured.outcome.bounds.clear()
        return measured

    monkeypatch.setattr(Comparison, "measure", refused)
    np.savez("box.npz", low=np.zeros((2, 2)), high=np.ones((2, 2)))
    result = compared("--domain", "x=box.npz", code=5)["result"]
    assert (result["verdict"], result["interrupted"], result["bound"]["l1"]) == ("inconclusive", False, None)


def test_an_adversary_that_beats_a_bound_is_an_internal_error(
    compared: Any, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlift.passes.certificates.elementary.up", lambda x: 0.99 * x)
    outcome = compared("--domain", "x=0:1", "-c", "c.json", code=70)
    assert outcome.err.startswith("PL0940 the l1 bound ")
    assert not Path("c.json").exists()


ARRAYS = {
    "lo.npz": {"lo": np.zeros(2), "high": np.ones(2)},
    "wide.npz": {"low": np.zeros(5), "high": np.ones(5)},
    "nan.npz": {"low": np.array([0, np.nan]), "high": np.ones(2)},
    "words.npz": {"low": np.array(["a", "b"]), "high": np.ones(2)},
    "complex.npz": {"low": np.array([1j, 0]), "high": np.ones(2)},
    "empty.npz": {"low": np.zeros((0, 2)), "high": np.ones((0, 2))},
    "two.npz": {"low": np.zeros((2, 2)), "high": np.ones((2, 2))},
    "s.npz": {"x": np.zeros((3, 2))},
    "none.npz": {"x": np.zeros((0, 2))},
    "names.npz": {"q": np.zeros((3, 2)), "r": np.zeros((3, 2))},
    "shape.npz": {"x": np.zeros((3, 5))},
    "holes.npz": {"x": np.full((3, 2), np.nan)},
}
REFUSED = [
    ("--domain x=lo.npz", "PL1464"), ("--domain x=wide.npz", "PL1464"), ("--domain x=nan.npz", "PL1464"),
    ("--domain x=words.npz", "PL1464"), ("--domain x=complex.npz", "PL1464"), ("--domain x=empty.npz", "PL1464"),
    ("--domain x=gone.npz", "PL0470"), ("--domain x=junk.npz", "PL0478"), ("--domain x=1:0", "PL1464"),
    ("--domain x=0:1e999", "PL1464"), ("--domain x=-1e308:1e308", "PL1485"), ("--domain x=nan:1", "PL1465"),
    ("--domain q=0:1", "PL1463"), ("--domain x", "PL1465"), ("--at s.npz", "PL1462"), ("--radius 1", "PL1462"),
    ("--at s.npz --radius -1", "PL1462"), ("--at s.npz --radius nan", "PL1462"), ("--at s.npz --radius inf", "PL1462"),
    ("--at none.npz --radius 1", "PL1462"), ("--at names.npz --radius 1", "PL1462"),
    ("--at shape.npz --radius 1", "PL1462"), ("--at holes.npz --radius 1", "PL1462"),
    ("--at gone.npz --radius 1", "PL0470"), ("--at junk.npz --radius 1", "PL0478"),
    ("--at s.npz --radius 1 --domain x=5:7", "PL1462"), ("--at s.npz --radius 1 --domain x=two.npz", "PL1464"),
    ("--tol nan", "PL1467"), ("--tol -1", "PL1467"), ("--budget 0", "PL1467"), ("--seed -1", "PL0438"),
    ("--norm l7", "PL0400"), ("--chart c.txt", "PL0446"), ("-c there.json", "PL0703"), ("-c gone/c.json", "PL0705"),
    ("--tol 1 --witness there.json", "PL0703"), ("--tol 1 --witness gone/w.npz", "PL0705"),
    ("-c ./a.onnx --force", "PL1467"), ("--tol 1 --witness b.onnx --force", "PL1467"),
    ("-c same.svg --chart ./same.svg", "PL1467"), ("--tol 1 -c w.npz --witness w.npz", "PL1467"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error"), REFUSED, ids=[options for options, _ in REFUSED])
def test_what_is_refused(options: str, error: str, compared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Comparison, "measure")  # it is refused before any work is done
    for name, arrays in ARRAYS.items():
        np.savez(name, **arrays)  # type: ignore[arg-type]  # arrays by name: NumPy reads `allow_pickle` into it
    Path("junk.npz").write_bytes(b"junk")
    Path("there.json").write_text("mine")
    before = sorted(path.name for path in Path().iterdir())
    outcome = compared(*options.split(), code=2)
    assert (outcome.err[:6], json.loads(outcome.out)["error"]["code"]) == (error, error)
    assert sorted(path.name for path in Path().iterdir()) == before
    assert Path("there.json").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        LINE.format("x", 2, "[[1.0], [3.0]]", 1),
        LINE.format("x", 3, "[[1.0, 1.0], [3.0, 1.0], [1.0, 1.0]]", 2),
        "%x = Input : f32[N, 2]\n%z = Input : f32[N, 2]\n%y = Add(%x, %z)\nreturn %y",
        "%x = Input : f32[N, 2]\n%y = Relu(%x)\n%z = Abs(%x)\nreturn %y, %z",
    ],
)
def test_models_with_other_inputs_or_outputs_are_no_pair(text: str, compared: Any) -> None:
    save(parse_graph(text), "other.onnx")
    for models in (["a.onnx", "other.onnx"], ["other.onnx", "a.onnx"]):
        assert compared(models=models, code=2).err.startswith("PL1470")


def test_inputs_are_matched_by_place_and_called_as_in_the_first(compared: Any) -> None:
    save(parse_graph(NET.format(4.5, 1.25).replace("%x", "%q")), "q.onnx")
    assert compared("--domain", "x=0:1", models=["a.onnx", "q.onnx"])["result"]["bound"]["l1"] >= 2.375
    assert compared("--domain", "q=0:1", models=["a.onnx", "q.onnx"], code=2).err.startswith("PL1463")


@pytest.mark.usefixtures("all_methods")
def test_numbers_near_the_largest_end(compared: Any) -> None:
    result = compared("--domain", "x=-1e300:1e300")["result"]
    assert result["bound"]["linf"] >= result["sampled_max_linf"] > 1e300


def test_networks_without_common_layers_have_their_intervals(compared: Any) -> None:
    save(parse_graph(LINE.format("x", 2, "[[1.0, 2.0], [3.0, 4.0]]", 2)), "line.onnx")
    options = ("--domain", "x=0:1", "-c", "c.json")
    result = compared(*options, models=["a.onnx", "line.onnx"])["result"]
    assert result["bound"]["method"] == "interval"
    assert all(result["methods"]["refused"][name] for name in ("differential", "path_metric", "joint", "ellipsoid"))
    assert compared("--per-layer", models=["a.onnx", "line.onnx"], code=2).err.startswith("PL1468")


def test_a_verified_certificate_of_intervals(compared: Any, pathlift: Cli) -> None:
    save(parse_graph(LINE.format("x", 2, "[[1.0, 2.0], [3.0, 4.0]]", 2)), "line.onnx")
    compared("--domain", "x=0:1", "-c", "c.json", models=["a.onnx", "line.onnx"])
    assert pathlift("verify-cert", "c.json").code == 0


def test_a_chart_and_layers(compared: Any) -> None:
    result = compared("--domain", "x=0:1", "--chart", "layers.svg")["result"]
    assert Path("layers.svg").read_text().lstrip().startswith("<?xml")
    assert [row["node"] for row in result["layers"]] == ["y", "h"]
    # At (1, 1), y's weights alone act on 6 (at least), h's alone by 0.5.
    assert [row["measured"] for row in result["layers"]] == pytest.approx([1.5, 0.75])
    assert all(row["bound"] >= row["measured"] * (1 - 1e-9) for row in result["layers"])


def test_a_point_is_a_domain(compared: Any) -> None:
    corner = Domain.from_interval({"x": (1, 2)}, 1.0, 1.0)
    assert corner.open == ()
    result = compared("--domain", "x=1:1")["result"]
    assert result["looseness"] == pytest.approx(1, rel=1e-9)


def test_the_words_say_which_inputs(files: list[str], pathlift: Cli) -> None:
    np.savez("s.npz", x=np.full((2, 2), 0.5))
    np.savez("d.npz", low=np.zeros((1, 2)), high=np.array([[1.0, 0.5]]))
    for options, said in (
        ("--domain x=0:1", "for all inputs with x in [0, 1]"),
        ("--domain x=d.npz", "for all inputs in 1 given box, x in [0, 1]"),
        ("--at s.npz --radius 0.25 --domain x=0:1", "for all inputs within 0.25 of 2 samples, x in [0.25, 0.75]"),
    ):
        assert said in pathlift("compare", *files, *options.split()).out
