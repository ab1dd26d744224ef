"""Adversarial examples: inputs near a sample to which a classifier gives another label."""

from __future__ import annotations

import time
from typing import Any

import torch

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.maximize import maximize
from pathlift.passes.attacks.network import Network

Tensor = torch.Tensor
MOST_TARGETS = 32
"""Rivals that are each made an objective; the best of all rivals always is one."""


def misclassifications(
    graph: Graph,
    samples: Point,
    radius: float,
    *,
    budget: float,
    labels: Tensor | None = None,
    limits: Domain | None = None,
    seed: int = 0,
    **options: Any,
) -> list[dict[str, Tensor] | None]:
    """Look for an input with another label in the ball around each sample, in the maximum norm.

    Parameters
    ----------
    graph
        A classifier: one output, whose elements are the scores of the classes.
    samples
        By input, ``(samples, *shape)``, within the limits.
    radius
        Of the balls.
    budget
        Seconds, for all samples; what one leaves over is for those after it.
    labels
        ``(samples,)``, integers; by default those that the classifier gives. Where it gives another one, the sample
        itself is what is looked for.
    limits
        A box that inputs have to be in.
    seed
        Of the random numbers.
    **options
        ``restarts``, ``steps`` and ``rounds`` of `maximize`.

    Returns
    -------
    list
        Per sample, inputs ``(1, *shape)`` where another class has a larger score than the label, in float64, or
        ``None`` if none was found, which proves nothing.

    Raises
    ------
    UsageError
        If the graph is no classifier of such samples, a sample is not within the limits, or a label is no class.
    ExecutionError
        If the graph cannot be executed.
    """
    end = time.monotonic() + budget
    wide = {name: x.double() for name, x in samples.items()}
    count = len(next(iter(wide.values())))
    found, network = list[dict[str, Tensor] | None](), None
    for index in range(count):
        at = {name: x[index : index + 1] for name, x in wide.items()}
        if limits is not None and not limits.contains(at):
            raise UsageError("1485", f"sample {index} is not within the limits")
        domain = Domain.ball(at, radius, limits)
        network = network or _classifier(graph, domain)
        with torch.no_grad():
            scores = network(at)[0]
        label = int(scores.argmax() if labels is None else labels[index])
        if not 0 <= label < len(scores):
            raise UsageError("1487", f"label {label} is none of the {len(scores)} classes")
        left = (end - time.monotonic()) / (count - index)
        found.append(_adversarial(network, domain, at, label, scores, left, seed, options))
    return found


def _classifier(graph: Graph, domain: Domain) -> Network:
    network = Network(graph, domain)
    if len(network.shapes) != 1:
        raise UsageError("1487", f"a classifier has one output, and the network {len(network.shapes)}")
    return network


def _adversarial(
    network: Network,
    domain: Domain,
    at: Point,
    label: int,
    scores: Tensor,
    budget: float,
    seed: int,
    options: dict[str, Any],
) -> dict[str, Tensor] | None:
    rivals = [k for k in scores.argsort(descending=True).tolist() if k != label]
    if not rivals:
        return None

    def margins(inputs: Point) -> Tensor:
        y = network(inputs)
        ahead = y[:, rivals] - y[:, label : label + 1]
        return torch.cat([ahead.amax(1, keepdim=True), ahead[:, :MOST_TARGETS]], 1)

    found = maximize(
        margins, domain, budget=budget, seed=seed, starts=at, numbers=network.numbers, enough=0.0, **options
    )
    index = int(found.value.argmax())
    return found.point(index) if float(found.value[index]) > 0 else None
