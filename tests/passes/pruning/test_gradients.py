"""Gradients of the loss: against torch, and as Taylor scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.pruning.criteria import Calibration, Question, scored
from pathlift.passes.pruning.gradients import decisions, loss_gradients
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.prune import Prune

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((10, 3)), RNG.integers(0, 4, 10)


def halves(x: Array) -> list[Array]:
    return [x[:6], x[6:]]


def expected(graph: Graph) -> dict[str, Array]:
    # A parameter has a value.
    p = {k: torch.tensor(graph[k].value.numpy(), requires_grad=True) for k in graph.params}  # type: ignore[union-attr]  # a parameter has a value
    h = torch.relu(F.linear(torch.from_numpy(X), p["fc0.weight"], p["fc0.bias"]))
    F.cross_entropy(F.linear(h, p["fc1.weight"], p["fc1.bias"]), torch.from_numpy(Y)).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
    return {k: t.grad.numpy() for k, t in p.items() if t.grad is not None}


@pytest.mark.parametrize("softmax", [False, True])
def test_gradients_are_those_of_the_mean_loss(perceptron: Callable[..., Graph], softmax: bool) -> None:
    graph = perceptron(3, 5, 4)
    whole = graph
    if softmax:
        builder = graph.edit()
        whole = builder.finish(builder.op("Softmax", graph.outputs[0], axis=-1))
        whole = type(graph)(whole.nx, whole.outputs[-1:], whole.info)
    batches = [{"x": x} for x in halves(X)]
    found = prunables(whole, biases=True).found
    gradients = loss_gradients(whole, found, batches, halves(Y))
    for name, gradient in expected(graph).items():
        np.testing.assert_allclose(gradients[name], gradient, atol=1e-12)
    scores = scored("taylor", Question(whole, found, data=Calibration(batches, halves(Y)))).scores
    for p in found:
        np.testing.assert_allclose(scores[p.name], np.abs(p.values() * gradients[p.name]))


def test_without_labels_the_decisions_of_the_network_as_it_was_count(perceptron: Callable[..., Graph]) -> None:
    graph, data = perceptron(3, 5, 4), Calibration([{"x": X}])
    own = decisions(graph, data.batches)
    one = Prune(criterion="taylor", schedule=(0.2, 0.4)).prune(graph, data).witness
    other = Prune(criterion="taylor", schedule=(0.2, 0.4)).prune(graph, Calibration(data.batches, own)).witness
    assert all((one.masks[name] == mask).all() for name, mask in other.masks.items())  # type: ignore[attr-defined]  # of the pass Prune
    assert "decisions" in one.remarks[0]  # type: ignore[attr-defined]  # of the pass Prune
    assert not other.remarks  # type: ignore[attr-defined]  # of the pass Prune


def test_labels_and_outputs_that_do_not_fit(perceptron: Callable[..., Graph]) -> None:
    graph = perceptron(3, 4)
    found = prunables(graph).found
    for wrong in (4, -1):
        with pytest.raises(PathliftError, match="PL1482"):
            loss_gradients(graph, found, [{"x": X}], [np.full(10, wrong)])
    with pytest.raises(PathliftError, match="PL1379"):
        loss_gradients(perceptron(3, 1), (), [{"x": X}], [Y])
