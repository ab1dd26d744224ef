"""The largest difference of two networks: figures by hand, and networks of other kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import pathlift
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.attacks import differences
from pathlift.passes.attacks.differences import largest_difference
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.network import Network
from pathlift.testing import zoo

SMALL: dict[str, Any] = {"restarts": 4, "steps": 20, "rounds": 1}
LONG = 60.0
UNIT = Domain.from_interval({"x": (1, 2)}, 0.0, 1.0)
Perceptron = Callable[..., Graph]


def test_a_difference_by_hand(perceptron: Perceptron) -> None:
    # relu(x1 + 2 x2)·(1, -1) and relu(x1 + 3 x2)·(1, -2): at (1, 1) they are (3, -3) and (4, -8).
    first = perceptron([np.array([[1.0], [2.0]]), np.array([[1.0, -1.0]])])
    second = perceptron([np.array([[1.0], [3.0]]), np.array([[1.0, -2.0]])], name="other")
    found = largest_difference(first, second, UNIT, budget=LONG, **SMALL)
    assert found.elements == (0, 1)
    assert found.value.tolist() == [1.0, 0.0, 0.0, 5.0, 6.0, 5.0]
    assert (found.per_element.tolist(), found.l1, found.linf) == ([1.0, 5.0], 6.0, 5.0)
    assert found.point(3)["x"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("most", [64, 2])
@pytest.mark.parametrize("batch", ["N", 1])
def test_positive_weights_differ_most_at_the_upper_corner(
    perceptron: Perceptron, monkeypatch: pytest.MonkeyPatch, most: int, batch: int | str
) -> None:
    monkeypatch.setattr(differences, "MOST_ELEMENTS", most)
    monkeypatch.setattr(differences, "FOLLOWED", 2)
    rng = np.random.default_rng(0)
    weights = [rng.random(s) for s in ((6, 8), (8, 4))]
    more = [w + rng.random(w.shape) for w in weights]
    domain = Domain.from_interval({"x": (1, 6)}, 0.0, 1.0)
    found = largest_difference(
        perceptron(weights, batch=batch), perceptron(more, batch=batch), domain, budget=LONG, **SMALL
    )
    exact = np.ones(6) @ more[0] @ more[1] - np.ones(6) @ weights[0] @ weights[1]
    assert found.l1 == pytest.approx(exact.sum(), rel=1e-12)
    assert found.linf == pytest.approx(exact.max(), rel=1e-12)
    chosen = sorted(np.argsort(exact)[-2:].tolist()) if most == 2 else [0, 1, 2, 3]
    assert list(found.elements) == chosen
    np.testing.assert_allclose(found.per_element, exact[chosen], rtol=1e-12)


def test_networks_that_do_not_go_together(perceptron: Perceptron) -> None:
    one, two = perceptron([np.ones((2, 1))]), perceptron([np.ones((2, 2))])
    with pytest.raises(UsageError, match="PL1487"):
        largest_difference(one, two, UNIT, budget=1.0)
    with pytest.raises(UsageError, match="PL1486"):
        largest_difference(one, perceptron([np.ones((3, 1))]), UNIT, budget=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_convolutions_and_pools(name: str) -> None:
    a, b = (pathlift.load(zoo.export(name, seed=seed, image=32, width=0.125)) for seed in (0, 1))
    key = a[a.inputs[0]].names[0]
    domain = Domain.from_interval({key: (1, 3, 32, 32)}, 0.0, 1.0)
    found = largest_difference(a, b, domain, budget=2.0)
    assert len(found.elements) == differences.FOLLOWED
    assert domain.contains(found.inputs)
    first, second = Network(a, domain), Network(b, domain, [key])
    d = [second(found.point(i)) - first(found.point(i)) for i in range(len(found.value))]
    n = len(found.elements)
    places = [*found.elements, *found.elements]
    values = [d[i][0, places[i]] * (1 if i < n else -1) for i in range(2 * n)] + [d[-2].abs().sum(), d[-1].abs().max()]
    torch.testing.assert_close(found.value, torch.stack(values), rtol=1e-12, atol=0)
    centre = (second(domain.centre) - first(domain.centre)).abs()
    assert found.l1 > 1.05 * float(centre.sum())
    assert found.linf >= float(found.per_element.max())
