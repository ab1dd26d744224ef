"""`pathlift compare --modulo`: the same function under other weights, and functions that only look alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.frontend.save import save
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, Param
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.passes.rescaling.rescaled import RescalingWitness
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.report.equivalence import EquivalenceResult
from pathlift.verbs.compare import compare

Cli = Callable[..., Any]
DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"


def equivalence(a: Graph, b: Graph, **options: Any) -> EquivalenceResult:
    result = compare(a, b, **{"modulo": ("rescaling",), **options})
    assert isinstance(result, EquivalenceResult)
    return result


def changed(graph: Graph, **weights: Array) -> Graph:
    builder = graph.edit()
    by_name = {graph[key].names[0]: key for key in graph.params}
    for name, values in weights.items():
        builder.replace_node(Value(by_name[name.replace("__", ".")]), value=Param.of(values))
    return builder.finish()


def values(graph: Graph, name: str) -> Array:
    (param,) = (p for key in graph.params if graph[key].names[0] == name and (p := graph[key].value) is not None)
    return param.numpy()


def hidden_in_another_order() -> Graph:
    graph = load(DIGITS)
    w, b, v = (values(graph, name) for name in ("hidden.weight", "hidden.bias", "classes.weight"))
    order = np.random.default_rng(3).permutation(len(b))
    return changed(graph, hidden__weight=w[order], hidden__bias=b[order], classes__weight=v[:, order])


@pytest.fixture
def rescaled(tmp_path: Path) -> str:
    path = tmp_path / "rescaled.onnx"
    save(RandomRescale(seed=2, octaves=6).run(load(DIGITS)).graph, path)
    return str(path)


def test_a_rescaled_copy_is_equivalent(pathlift: Cli, rescaled: str) -> None:
    outcome = pathlift("compare", str(DIGITS), rescaled, "--modulo", "rescaling")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("equivalent (modulo rescaling): all weights agree to ")


def test_the_witness_is_the_rescaling_that_was_applied() -> None:
    step = RandomRescale(seed=2, octaves=6).run(load(DIGITS))
    found = equivalence(load(DIGITS), step.graph).equivalence.rescaling
    assert found is not None
    assert isinstance(step.witness, RescalingWitness)
    applied = step.witness.factors.log2()
    assert np.allclose(found.log2[1:], applied[1:], atol=1e-5)


def test_without_the_symmetry_it_is_different(pathlift: Cli, rescaled: str) -> None:
    outcome = pathlift("compare", str(DIGITS), rescaled, "--modulo", "permutation", "--format", "json")
    result = json.loads(outcome.out)["result"]
    assert (outcome.code, result["verdict"]) == (1, "different")
    assert result["difference"]["kind"] == "parameter"


def test_one_other_sign_is_a_difference_by_name() -> None:
    graph = RandomRescale(seed=1).run(load(DIGITS)).graph
    w = values(graph, "hidden.weight").copy()
    w[1, 2] *= -1
    result = equivalence(load(DIGITS), changed(graph, hidden__weight=w))
    difference = result.equivalence.difference
    assert result.exit_code == 1
    assert difference is not None
    assert (difference.node, difference.parameter, difference.index) == ("hidden", "hidden.weight", (1, 2))


def test_channels_in_another_order() -> None:
    other = RandomRescale(seed=4).run(hidden_in_another_order()).graph
    assert equivalence(load(DIGITS), other).exit_code == 1
    result = equivalence(load(DIGITS), other, modulo=("rescaling", "permutation"))
    assert result.exit_code == 0
    (moved,) = result.to_json()["permutation"]
    assert moved["node"] == "hidden"
    expected = np.argsort(np.random.default_rng(3).permutation(len(moved["image"])))
    assert moved["image"] == expected.tolist()


def test_a_folded_batch_norm_is_the_same_function() -> None:
    folded = FoldBatchnorm().run(load(DIGITS)).graph
    assert equivalence(load(DIGITS), RandomRescale(seed=5).run(folded).graph).exit_code == 0


def test_the_sign_of_a_neuron_is_no_rescaling() -> None:
    text = "%x = Input : f32[N, 1]\n%w = Param {{value=[[{0}]]}} : f32[1, 1]\n%h = Gemm(%x, %w)\n%r = Relu(%h)\n"
    text += "%v = Param {{value=[[{0}]]}} : f32[1, 1]\n%y = Gemm(%r, %v)\nreturn %y"
    a, b = (parse_graph(text.format(s)) for s in ("1.0", "-1.0"))
    assert equivalence(a, b, modulo=("rescaling", "permutation")).exit_code == 1


def test_other_structure_is_said(pathlift: Cli, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    save(parse_graph("%image = Input : f32[N, 1, 8, 8]\n%logits = Flatten(%image) {axis=1}\nreturn %logits"), path)
    outcome = pathlift("compare", str(DIGITS), str(path), "--modulo", "rescaling")
    assert outcome.code == 1
    assert outcome.out.startswith("different")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--modulo", "rotation"], "PL0452"), (["--modulo", "rescaling", "--tolerance", "2"], "PL0453")],
)
def test_usage(pathlift: Cli, arguments: list[str], code: str) -> None:
    outcome = pathlift("compare", str(DIGITS), str(DIGITS), *arguments)
    assert (outcome.code, outcome.err[:6]) == (2, code)


LINE = "%x = Input : f32[N, 1]\n%w = Param {{value=[[{0}]]}} : {1}[1, 1]\n%y = Gemm(%x, %w)\nreturn %y"


def line(weight: float, dtype: str) -> Graph:
    """One weight, which nothing rescales."""
    return parse_graph(LINE.format(weight, dtype).replace("Input : f32", f"Input : {dtype}"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("f64", 1e-9), ("f32", 1e-5), ("f16", 2e-2), ("bf16", 2e-2)])
def test_the_tolerance_is_that_of_the_coarsest_format(dtype: str, tolerance: float) -> None:
    for modulo in ((), ("rescaling",), ("rescaling", "permutation")):
        for other, code in ((1 - 0.8 * tolerance, 0), (1 - 1.2 * tolerance, 1), (1 - 5 * tolerance, 1)):
            result = equivalence(line(1.0, dtype), line(other, dtype), modulo=modulo)
            assert (result.exit_code, result.tolerance) == (code, tolerance), (other, modulo)


def test_the_coarser_of_two_files_decides() -> None:
    for pair in ((line(1.0, "f32"), line(0.99, "f16")), (line(0.99, "f16"), line(1.0, "f64"))):
        result = equivalence(*pair)
        assert (result.exit_code, result.tolerance) == (0, 2e-2)


def test_the_tolerance_is_the_one_that_is_asked_for(pathlift: Cli, tmp_path: Path) -> None:
    files = []
    for i, weight in enumerate((1.0, 0.9995)):
        files.append(str(tmp_path / f"{i}.onnx"))
        save(line(weight, "f32"), files[-1])
    for tolerance, code in (("1e-3", 0), ("6e-4", 0), ("4e-4", 1), ("0", 1)):
        outcome = pathlift("compare", *files, "--modulo", "rescaling", "--tolerance", tolerance)
        assert outcome.code == code, tolerance
    assert pathlift("compare", files[0], files[0], "--modulo", "rescaling", "--tolerance", "0").code == 0


def test_what_stays_undecided_has_a_code_of_its_own(pathlift: Cli, tmp_path: Path) -> None:
    lines = ["%x = Input : f32[N, 2]"]
    lines += [f"%w{i} = Param {{value=[[{i}.0, 1.0], [3.0, -{i}.5]]}} : f32[2, 2]" for i in range(5)]
    lines += [f"%h{i} = Gemm(%x, %w{i})" for i in range(5)] + ["%y = Sum(%h0, %h1, %h2, %h3, %h4)", "return %y"]
    text, files = "\n".join(lines), [str(tmp_path / f"{i}.onnx") for i in range(2)]
    for file, model in zip(files, (text, text.replace("-4.5", "-4.75")), strict=True):
        save(parse_graph(model), file)
    outcome = pathlift("compare", *files, "--modulo", "rescaling")
    assert outcome.code == 5
    assert outcome.out.startswith("inconclusive (modulo rescaling): the operands of sums")


def test_layers_without_inputs() -> None:
    for modulo in ("rescaling", "permutation"):
        graph = parse_graph("""
        %x = Input : f32[N, 0]
        %w = Param {value=[]} : f32[0, 3]
        %y = Gemm(%x, %w) : f32[N, 3]
        return %y
        """)
        assert equivalence(graph, graph, modulo=[modulo]).exit_code == 0
