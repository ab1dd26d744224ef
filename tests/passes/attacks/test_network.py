"""Graphs as functions of candidates: batches where they are free, one by one where they are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.network import Network

SQUARE = Domain.from_interval({"x": (1, 4)}, -1.0, 1.0)
Start = Callable[..., tuple[Builder, Value]]


def points(count: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(count, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}


def test_a_free_batch_is_used(start: Start) -> None:
    b, x = start("N", 4)
    network = Network(b.finish(b.op("Relu", x)), SQUARE)
    assert network.is_free
    assert network.shapes == ((1, 4),)
    assert network.numbers == 4 + 4
    assert torch.equal(network(points(3)), points(3)["x"].relu())


def test_a_reshape_to_constants_takes_one_at_a_time(start: Start) -> None:
    b, x = start(1, 4)
    network = Network(b.finish(b.op("Reshape", x, shape=(2, 2))), SQUARE)
    assert not network.is_free
    assert torch.equal(network(points(3)), points(3)["x"])
    inputs = {"x": points(3)["x"].requires_grad_()}
    (gradient,) = torch.autograd.grad(network(inputs).square().sum(), inputs["x"])
    assert torch.equal(gradient, 2 * points(3)["x"])


def test_samples_that_mix_take_one_at_a_time(start: Start) -> None:
    b, x = start("N", 4)
    network = Network(b.finish(b.op("ReduceMax", x, axes=(0,), keepdims=True)), SQUARE)
    assert not network.is_free
    assert torch.equal(network(points(3)), points(3)["x"])


def test_what_a_batch_changes_slightly_is_mixing(start: Start) -> None:
    b, x = start("N", 4)
    mean = b.op("ReduceSum", x, axes=(0,), keepdims=True)
    network = Network(b.finish(b.op("Add", x, b.op("Mul", mean, b.param(1e-6)))), SQUARE)
    assert not network.is_free


def test_other_inputs_are_refused(start: Start) -> None:
    b, x = start("N", 4)
    graph = b.finish(b.op("Relu", x))
    for domain in (Domain.from_interval({"y": (1, 4)}, 0, 1), Domain.from_interval({"x": (1, 5)}, 0, 1)):
        with pytest.raises(UsageError, match="PL1486"):
            Network(graph, domain)
    b = Builder()
    graph = b.finish(b.op("Relu", b.input("x", ("N", 4), "i64")))
    with pytest.raises(UsageError, match="not of real numbers"):
        Network(graph, SQUARE)


@pytest.fixture
def graph(start: Start) -> Graph:
    b, x = start("N", 4)
    return b.finish(b.op("Relu", x))


def test_gradients_reach_the_inputs(graph: Graph) -> None:
    x = points(2)["x"].requires_grad_()
    (gradient,) = torch.autograd.grad(Network(graph, SQUARE)({"x": x}).sum(), x)
    assert torch.equal(gradient, (points(2)["x"] > 0).double())
