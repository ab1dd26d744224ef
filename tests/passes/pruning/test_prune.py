"""The pass: rounds, what stays, masks that are given, and the witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pipeline import parse_pipeline, run_pipeline
from pathlift.passes.pruning.masks import Pruned
from pathlift.passes.pruning.prune import Prune

DIGITS = Path(__file__).parents[3] / "examples" / "digits.onnx"
Perceptron = Callable[..., Graph]


def pruned(graph: Graph, **options: Any) -> tuple[Graph, Pruned]:
    rewritten = Prune(**options).run(graph)
    assert isinstance(rewritten.witness, Pruned)
    rewritten.witness.check(graph, rewritten.graph)
    return rewritten.graph, rewritten.witness


def weights(graph: Graph, name: str) -> Array:
    value = graph[name].value
    assert value is not None
    return value.numpy()


@pytest.mark.parametrize("criterion", ["path", "magnitude", "synflow", "random"])
@pytest.mark.parametrize("rounds", [(), (0.4, 0.6)])
def test_a_network_loses_what_was_asked_for(criterion: str, rounds: tuple[float, ...]) -> None:
    before = load(DIGITS)
    after, witness = pruned(before, sparsity=0.8, criterion=criterion, schedule=rounds)
    zeros = sum(int((weights(after, layer.parameter) == 0).sum()) for layer in witness.layers)
    assert (witness.total, witness.zeroed) == (15216, round(0.8 * 15216))
    assert zeros == witness.zeroed
    norms = [PathNorm(q=(0.0, 0.5, 1.0, 2.0)).run(graph).norms for graph in (before, after)]
    assert all(b.log10 <= a.log10 for a, b in zip(*norms, strict=True) if a.log10 and b.log10)


def test_rounds_score_anew() -> None:
    graph = load(DIGITS)
    schedules = ((), (0.3, 0.5, 0.65, 0.8))
    once, often = (pruned(graph, sparsity=0.8, schedule=s)[1].masks for s in schedules)
    assert any((once[name] != often[name]).any() for name in once)
    one, other = (
        pruned(graph, sparsity=0.8, criterion="magnitude", schedule=n)[1].masks for n in ((), (0.3, 0.5, 0.65, 0.8))
    )
    assert all((one[name] == other[name]).all() for name in one)


def test_what_is_zero_counts_and_nothing_comes_back(perceptron: Perceptron) -> None:
    half, _ = pruned(perceptron(4, 6, 2), sparsity=0.5)
    more, _ = pruned(half, sparsity=0.75)
    assert all((weights(more, name)[weights(half, name) == 0] == 0).all() for name in ("fc0.weight", "fc1.weight"))
    same, witness = pruned(half, sparsity=0.25)
    assert same is half
    assert witness.sparsity == 0.5


def test_layers_that_do_not_have_the_structure_stay() -> None:
    _, witness = pruned(load(DIGITS), pattern="2:4")
    assert witness.kept == {"stem": "its 1 inputs are no multiple of 4"}
    assert witness.sparsity == 0.5
    with pytest.raises(PathliftError, match="PL1403"):
        Prune(include="stem", pattern="2:4").run(load(DIGITS))


def test_weights_keep_their_type_and_are_computed_in_blocks(perceptron: Perceptron) -> None:
    graph = perceptron(300, 300, 2, dtype="float32")
    after, witness = pruned(graph, sparsity=0.9, criterion="magnitude")
    assert weights(after, "fc0.weight").dtype == np.float32
    expected = np.where(witness.masks["fc0.weight"], weights(graph, "fc0.weight"), 0)
    assert (weights(after, "fc0.weight") == expected).all()


def test_tied_weights_stay_tied(perceptron: Perceptron) -> None:
    b, param = Builder(), Param.of(np.arange(4.0).reshape(2, 2))
    x = b.op("Gemm", b.input("x", ("N", 2), "f64"), b.param(param, "a"))
    after, witness = pruned(b.finish(b.op("Gemm", x, b.param(param, "b"))), sparsity=0.5)
    assert witness.total == 4
    assert after["a"].value is after["b"].value
    assert (weights(after, "b") == 0).sum() == 2


def test_given_masks(perceptron: Perceptron) -> None:
    graph, mask = perceptron(3, 2, 2), np.array([[True, False, True], [False, False, True]])
    after = Prune().apply(graph, {"fc0.weight": mask}).graph
    assert (weights(after, "fc0.weight") == weights(graph, "fc0.weight") * mask).all()
    assert after["fc1.weight"].value is graph["fc1.weight"].value


BAD: list[tuple[dict[str, Array], str]] = [
    ({}, "there is no mask"),
    ({"fc9": np.ones((2, 3), bool)}, "'fc9' is no parameter"),
    ({"fc0.weight": np.ones((3, 2), bool)}, r"is bool\[3, 2\], not bool\[2, 3\]"),
    ({"fc0.weight": np.ones((2, 3), np.float32)}, r"is float32\[2, 3\]"),
]


@pytest.mark.parametrize(("masks", "reason"), BAD)
def test_masks_that_do_not_fit(perceptron: Perceptron, masks: dict[str, Array], reason: str) -> None:
    with pytest.raises(PathliftError, match=f"PL1406 .*{reason}"):
        Prune().apply(perceptron(3, 2), masks)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sparsity": 1.0}, "1409"), ({"sparsity": -0.1}, "1409"), ({"sparsity": float("nan")}, "1409"),
        ({"schedule": (0.7, 0.4)}, "1409"), ({"schedule": (0.9,)}, "1409"), ({"seed": -1}, "1409"),
        ({"include": "nothing"}, "1403"), ({"scope": "all"}, "1405"), ({"pattern": "2:4", "scope": "row"}, "1404"),
    ],
)  # fmt: skip
def test_options_out_of_range(perceptron: Perceptron, options: dict[str, Any], code: str) -> None:
    with pytest.raises(PathliftError, match=f"PL{code}"):
        Prune(**options).run(perceptron(4, 2))


def test_a_witness_sees_what_is_no_pruning(perceptron: Perceptron) -> None:
    before = perceptron(3, 2, 2)
    after, witness = pruned(before, sparsity=0.5)

    def changed(name: str, values: Array) -> Graph:
        builder = after.edit()
        builder.replace_node(Value(name), value=Param.of(values))
        return builder.finish()

    for name in ("fc0.weight", "fc0.bias"):
        with pytest.raises(WitnessError, match="PL0817"):
            witness.check(before, changed(name, weights(after, name) + 1))
    builder = after.edit()
    builder.replace_node(Value("fc0"), attrs={"trans_w": False})
    with pytest.raises(WitnessError, match="PL0817"):
        witness.check(before, Graph(builder.nx, tuple(builder.outputs), builder.info))
    with pytest.raises(WitnessError, match="PL0817"):
        replace(witness, masks={}).check(before, after)


def test_in_a_pipeline() -> None:
    graph, steps = run_pipeline(
        load(DIGITS), parse_pipeline("prune{sparsity=0.5,criterion=magnitude,include=hidden;body}")
    )
    assert steps[0].note == "7,296 of 14,592 weights are zero (50 %)"
    assert (weights(graph, "stem.weight") != 0).all()
