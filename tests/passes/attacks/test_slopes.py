"""The largest slopes: linear networks, whose slopes are norms of matrices, and kinks where autograd is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.jacobian import Jacobian, directions
from pathlift.passes.attacks.network import Network
from pathlift.passes.attacks.slopes import Slope, confirmed, largest_slopes

SMALL: dict[str, Any] = {"restarts": 4, "steps": 10, "rounds": 1}
LONG = 60.0
Perceptron = Callable[..., Graph]
Start = Callable[..., tuple[Builder, Value]]


def quotient(graph: Graph, domain: Domain, slope: Slope, order: float, run: float) -> float:
    network = Network(graph, domain)
    rise = network(slope.first) - network(slope.second)
    step = domain.flat(slope.first) - domain.flat(slope.second)
    return float(rise.norm(order) / step.norm(run))


def norm_inf_to_one(w: np.ndarray) -> float:
    return max(float(np.abs(np.array(s) @ w).sum()) for s in itertools.product((-1, 1), repeat=len(w)))


def test_slopes_of_a_linear_network(perceptron: Perceptron) -> None:
    w = np.random.default_rng(0).standard_normal((5, 3))
    domain = Domain.from_interval({"x": (1, 5)}, -1.0, 1.0)
    graph = perceptron([w])
    found = largest_slopes(graph, domain, budget=LONG, **SMALL)
    np.testing.assert_allclose([s.value for s in found.per_output], np.abs(w).sum(0), rtol=1e-9)
    assert found.inf_to_one.value == pytest.approx(norm_inf_to_one(w), rel=1e-9)
    assert found.spectral.value == pytest.approx(np.linalg.norm(w, 2), rel=1e-9)
    assert quotient(graph, domain, found.inf_to_one, 1, torch.inf) == pytest.approx(found.inf_to_one.value, rel=2e-6)
    assert quotient(graph, domain, found.spectral, 2, 2) == pytest.approx(found.spectral.value, rel=2e-6)


def test_slopes_of_positive_weights_are_those_of_their_product(perceptron: Perceptron) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.random((4, 6)), rng.random((6, 2))]
    domain = Domain.from_interval({"x": (1, 4)}, -1.0, 1.0)
    found = largest_slopes(perceptron(weights), domain, budget=LONG, **SMALL)
    product = weights[0] @ weights[1]
    np.testing.assert_allclose([s.value for s in found.per_output], product.sum(0), rtol=1e-9)
    assert found.inf_to_one.value == pytest.approx(product.sum(), rel=1e-9)
    assert found.spectral.value == pytest.approx(np.linalg.norm(product, 2), rel=1e-9)


@pytest.mark.parametrize("interval", [(-1.0, 1.0), (-1e-3, 1.0)])
def test_a_kink_has_no_slope_of_its_own(start: Start, interval: tuple[float, float]) -> None:
    b, x = start("N", 1)  # x - relu(x) + relu(-x) is 0 everywhere
    graph = b.finish(b.op("Add", b.op("Sub", x, b.op("Relu", x)), b.op("Relu", b.op("Neg", x))))
    domain = Domain.from_interval({"x": (1, 1)}, *interval)
    corner = {"x": torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)}
    (gradient,) = torch.autograd.grad(Network(graph, domain)(corner).sum(), corner["x"])
    assert abs(float(gradient)) == 1
    jacobian = Jacobian(Network(graph, domain), domain)
    assert all(confirmed(jacobian, domain.flat(corner).detach(), index, 1e-3) is None for index in range(3))
    found = largest_slopes(graph, domain, budget=LONG, **SMALL)
    assert (found.per_output[0].value, found.spectral.value) == (0, 0)


def test_an_element_with_one_value_has_no_slope(perceptron: Perceptron) -> None:
    low = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    domain = Domain({"x": low}, {"x": torch.tensor([[1.0, 1.0]], dtype=torch.float64)})
    found = largest_slopes(perceptron([np.array([[2.0], [5.0]])]), domain, budget=LONG, **SMALL)
    assert found.per_output[0].value == pytest.approx(2.0, rel=1e-9)
    assert found.inf_to_one.value == pytest.approx(2.0, rel=1e-9)


def test_a_constant_with_large_values_is_flat(perceptron: Perceptron) -> None:
    domain = Domain.from_interval({"x": (1, 2)}, -1.0, 1.0)
    graph = perceptron([np.array([[1e-8], [0.0]])], [np.array([1e8])])
    assert largest_slopes(graph, domain, budget=LONG, **SMALL).per_output[0].value <= 1.001e-8


@pytest.mark.parametrize("outputs", [1, 3, 6, 9])
def test_directions_of_random_matrices(outputs: int) -> None:
    matrix = torch.randn(4, outputs, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = directions(matrix)
    assert torch.equal(found[:, :-1].abs().amax(2), torch.ones(4, outputs + 1, dtype=torch.float64))
    for m, along in zip(matrix, found, strict=True):
        exact = norm_inf_to_one(m.numpy().T)
        reached = float((m @ along[-2]).abs().sum())
        assert reached == pytest.approx(exact, rel=1e-12) if outputs <= 6 else 0.9 * exact <= reached <= exact + 1e-9
        assert float((m @ along[-1]).norm()) == pytest.approx(np.linalg.norm(m, 2), rel=1e-12)
