"""Scores of weights: path scores against norms without a weight, rescaled copies, regions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import UNKNOWN, Array, Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.criteria import Calibration, Question, scored
from pathlift.passes.pruning.masks import Pruned
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.prune import Prune
from pathlift.passes.rescaling.random_rescale import RandomRescale

DIGITS = Path(__file__).parents[3] / "examples" / "digits.onnx"


def scores(criterion: str, graph: Graph) -> dict[str, Array]:
    return scored(criterion, Question(graph, prunables(graph).found)).scores


def masks(graph: Graph, criterion: str = "path") -> dict[str, Array]:
    witness = Prune(sparsity=0.6, criterion=criterion).run(graph).witness
    assert isinstance(witness, Pruned)
    return dict(witness.masks)


def norm(graph: Graph, options: PathNorm) -> float:
    return options.run(graph).norms[0].value or 0.0


@pytest.mark.parametrize(
    ("criterion", "options"), [("path", PathNorm()), ("synflow", PathNorm(pooling="max", inputs_only=True))]
)
def test_a_path_score_is_the_norm_without_the_weight_less_that_with_it(
    perceptron: Callable[..., Graph], criterion: str, options: PathNorm
) -> None:
    graph = perceptron(3, 4, 3, 2)
    whole, found = norm(graph, options), scores(criterion, graph)
    assert {name: s.shape for name, s in found.items()} == {
        f"fc{i}.weight": s for i, s in enumerate([(4, 3), (3, 4), (2, 3)])
    }
    for name, share in found.items():
        for at in np.ndindex(share.shape):
            # A parameter has a value.
            builder, values = graph.edit(), graph[name].value.numpy().copy()  # type: ignore[union-attr]  # a parameter has a value
            values[at] = 0
            builder.replace_node(Value(name), value=Param.of(values))
            assert share[at] == pytest.approx(1 - norm(builder.finish(), options) / whole, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_path_masks_see_no_rescaling(seed: int) -> None:
    graph = load(DIGITS)
    expected, threshold = (
        masks(graph),
        np.quantile(np.concatenate([s.ravel() for s in scores("path", graph).values()]), 0.6),
    )
    exact = masks(RandomRescale(octaves=5, seed=seed, exact=True).run(graph).graph)
    assert all((exact[name] == mask).all() for name, mask in expected.items())
    rounded = masks(RandomRescale(octaves=5, seed=seed).run(graph).graph)
    for name, s in scores("path", graph).items():
        clear = np.abs(s / threshold - 1) > 1e-6
        assert (rounded[name] == expected[name])[clear].all()


@pytest.mark.parametrize("exact", [True, False])
def test_magnitude_masks_see_little_else(exact: bool) -> None:
    graph = load(DIGITS)
    expected = masks(graph, "magnitude")
    copy = masks(RandomRescale(octaves=5, seed=1, exact=exact).run(graph).graph, "magnitude")
    assert sum(int((copy[name] != mask).sum()) for name, mask in expected.items()) > 1000


def test_magnitudes_and_random_numbers(perceptron: Callable[..., Graph]) -> None:
    graph = perceptron(3, 4, 2)
    found = scores("magnitude", graph)
    # A parameter has a value.
    assert (found["fc0.weight"] == np.abs(graph["fc0.weight"].value.numpy())).all()  # type: ignore[union-attr]  # a parameter has a value
    drawn = [scored("random", Question(graph, prunables(graph).found, seed)).scores for seed in (0, 0, 1)]
    assert (drawn[0]["fc0.weight"] == drawn[1]["fc0.weight"]).all()
    assert (drawn[0]["fc0.weight"] != drawn[2]["fc0.weight"]).all()


def two_parts() -> Graph:
    """Weights on both sides of a softmax, and none of a path-norm in between."""
    rng, b = np.random.default_rng(0), Builder()
    x = b.op("Gemm", b.input("x", ("N", 3)), b.param(rng.standard_normal((3, 4)).astype(np.float32), "a"), name="first")
    x = b.op("Softmax", x, axis=-1)
    return b.finish(b.op("Gemm", x, b.param(rng.standard_normal((4, 2)).astype(np.float32), "b"), name="second"))


def test_regions_have_shares_of_their_own() -> None:
    graph = two_parts()
    found = scored("path", Question(graph, prunables(graph).found))
    assert [s.sum() for s in found.scores.values()] == pytest.approx([1, 1])
    assert "Softmax" in found.remarks[0]


def test_a_network_without_path_norms_is_refused() -> None:
    """The only layer reads a value of which nothing is known."""
    b, odd = Builder(), {"op_type": "Odd", "domain": "odd", "version": 1, "reason": "it is odd", "proto": b""}
    (x,) = b.node("Opaque", b.input("x", ("N", 2)), names=("h",), types=(UNKNOWN,), **odd)
    graph = b.finish(b.op("Gemm", x, b.param(np.eye(2, dtype=np.float32), "w")))
    with pytest.raises(PathliftError, match=r"PL1397 .* node 'h' \(Odd\)"):
        scores("path", graph)


@pytest.mark.parametrize(("criterion", "code"), [("weight", "PL1408"), ("wanda", "PL1407"), ("taylor", "PL1407")])
def test_refusals(perceptron: Callable[..., Graph], criterion: str, code: str) -> None:
    with pytest.raises(PathliftError, match=code):
        scores(criterion, perceptron(3, 2))


def test_scores_that_are_not_finite_are_refused() -> None:
    b = Builder()
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(np.full((1, 1), 1e300)), name="y"))
    data = Calibration([{"x": np.full((1, 1), 1e30)}])
    with pytest.raises(PathliftError, match="PL0184"):
        scored("wanda", Question(graph, prunables(graph).found, data=data))


def test_weights_that_are_not_finite_are_refused(perceptron: Callable[..., Graph]) -> None:
    builder = perceptron(2, 2).edit()
    builder.replace_node(Value("fc0.weight"), value=Param.of(np.array([[1.0, np.nan], [1.0, 2.0]])))
    graph = builder.finish()
    for criterion in ("path", "magnitude"):
        with pytest.raises(PathliftError, match="PL0180"):
            scores(criterion, graph)
