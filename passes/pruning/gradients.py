"""Gradients of a classifier's loss by its weights, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, Param
from pathlift.passes.pruning.prunable import Prunable
from pathlift.passes.rewrites.strip_head import StripHead

Tensor = torch.Tensor


class Differentiated(Numeric):
    """Executes with tensors that carry gradients in place of some parameters, by name."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.parameters = parameters

    def param(self, p: Param) -> Tensor:
        assert self.node is not None
        found = self.parameters.get(self.node.names[0])
        return super().param(p) if found is None else found


def loss_gradients(
    graph: Graph, found: Sequence[Prunable], batches: Iterable[Mapping[str, Array]], labels: Sequence[Array]
) -> dict[str, Array]:
    """Differentiate the mean cross-entropy over all samples.

    Parameters
    ----------
    graph
        A classifier: one output of scores ``(samples, classes)``, before a final softmax.
    found
        Parameters.
    batches, labels
        Inputs by name, and whole numbers ``(samples,)``.

    Returns
    -------
    dict
        By name, in the parameter's shape, float64.

    Raises
    ------
    UnsupportedError
        If the graph is no classifier.
    UsageError
        If a label is no class.
    """
    graph = StripHead().run(graph).graph
    leaves = {p.name: torch.from_numpy(p.values()).requires_grad_() for p in found}
    algebra = Differentiated({graph[key].names[0]: leaves[p.name] for p in found for key in p.keys if key in graph})
    count = sum(map(len, labels))
    with running():
        for feeds, classes in zip(batches, labels, strict=True):
            scores = class_scores(graph, algebra, feeds)
            if classes.min() < 0 or classes.max() >= scores.shape[1]:
                raise UsageError("1482", f"a label is {classes.max()}, of {scores.shape[1]} classes from 0")
            loss = F.cross_entropy(scores, torch.from_numpy(classes.astype(np.int64)), reduction="sum") / count
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    return {n: np.zeros(x.shape) if x.grad is None else x.grad.numpy() for n, x in leaves.items()}


def decisions(graph: Graph, batches: Iterable[Mapping[str, Array]]) -> list[Array]:
    """Return the classes that a network chooses itself, per batch; parameters and errors as above."""
    graph = StripHead().run(graph).graph
    with running(), torch.inference_mode():
        return [class_scores(graph, Numeric(), feeds).argmax(1).numpy() for feeds in batches]


def class_scores(graph: Graph, algebra: Numeric, feeds: Mapping[str, Array]) -> Tensor:
    """Return the scores of one batch, ``(samples, classes)``.

    Raises
    ------
    UnsupportedError
        If there is not one output of this shape.
    """
    found = list(run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in feeds.items()}).values())
    samples = len(next(iter(feeds.values())))
    if len(found) != 1 or found[0].ndim != 2 or found[0].shape[0] != samples or found[0].shape[1] < 2:
        shapes = ", ".join(str(list(y.shape)) for y in found)
        raise UnsupportedError("1379", f"a classifier's scores are (samples, classes), not {shapes}")
    scores: Tensor = found[0]
    return scores
