"""Adversarial examples of a classifier whose margins are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.misclassification import misclassifications

SMALL: dict[str, Any] = {"restarts": 2, "steps": 10, "rounds": 1}
LONG = 60.0
SAMPLES = {"x": torch.tensor([[0.5, 0.25], [0.5, 0.375]])}


@pytest.fixture
def classifier(perceptron: Callable[..., Graph]) -> Graph:
    """The larger of two numbers: a radius of half their distance does not suffice, any larger one does."""
    return perceptron([np.eye(2)])


@pytest.mark.parametrize(("radius", "expected"), [(0.0625, [0, 0]), (0.07, [0, 1]), (0.125, [0, 1]), (0.13, [1, 1])])
def test_the_margin_decides(classifier: Graph, radius: float, expected: list[int]) -> None:
    found = misclassifications(classifier, SAMPLES, radius, budget=LONG, **SMALL)
    assert [int(x is not None) for x in found] == expected
    for at, x in zip(SAMPLES["x"].double(), found, strict=True):
        if x is not None:
            assert x["x"].shape == (1, 2)
            assert x["x"][0, 1] > x["x"][0, 0]
            assert float((x["x"][0] - at).abs().max()) <= radius


def test_limits_are_kept(classifier: Graph) -> None:
    limits = Domain.from_interval({"x": (1, 2)}, 0.5, 1.0)
    samples = {"x": torch.tensor([[1.0, 0.5]])}
    (found,) = misclassifications(classifier, samples, 0.3, limits=limits, budget=LONG, **SMALL)
    assert found is not None
    assert limits.contains(found)
    tight = Domain.from_interval({"x": (1, 2)}, 0.25, 0.5)
    (none,) = misclassifications(
        classifier, {"x": torch.tensor([[0.5, 0.25]])}, 0.1, limits=tight, budget=LONG, **SMALL
    )
    assert none is None
    with pytest.raises(UsageError, match="PL1485"):
        misclassifications(classifier, SAMPLES, 0.1, limits=limits, budget=LONG)


def test_a_sample_with_another_label_is_found_itself(classifier: Graph) -> None:
    found = misclassifications(classifier, SAMPLES, 0.0, labels=torch.tensor([1, 0]), budget=LONG, **SMALL)
    assert found[0] is not None
    assert torch.equal(found[0]["x"], SAMPLES["x"][:1].double())
    assert found[1] is None


def test_a_label_that_is_no_class(classifier: Graph) -> None:
    with pytest.raises(UsageError, match="PL1487"):
        misclassifications(classifier, SAMPLES, 0.1, labels=torch.tensor([0, 2]), budget=LONG, **SMALL)
