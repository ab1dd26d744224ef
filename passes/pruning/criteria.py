"""Criteria: what each weight is worth, by one of several measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pathlift.ir.errors import InvalidModelError, UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.prunable import Prunable
from pathlift.passes.regions.path_norms import ONES
from pathlift.passes.regions.supported import supported_regions

Scores = dict[str, Array]
"""By a parameter's name: float64 ≥ 0, in its shape."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Data to score on.

    Parameters
    ----------
    batches
        Inputs by name.
    labels
        Of each batch, whole numbers ``(batch,)``; ``None`` if they are not known.
    decided
        Whether the labels are the model's own decisions.
    norms, costs
        Of a sketch, instead of batches: per weight, by a parameter's name, in its shape, ‖X_j‖₂ as of ``wanda``; and by
        how much outputs differ in the mean without a weight of size 1, as of ``sketch``.
    """

    batches: Sequence[Mapping[str, Array]]
    labels: Sequence[Array] | None = None
    decided: bool = False
    norms: Mapping[str, Array] | None = None
    costs: Mapping[str, Array] | None = None

    def labelled(self, graph: Graph) -> Calibration:
        """Return the same with labels: a network's own decisions, where there are none."""
        if self.labels is not None:
            return self
        from pathlift.passes.pruning.gradients import decisions

        return Calibration(self.batches, decisions(graph, self.batches), decided=True)


@dataclass(frozen=True, eq=False)
class Question:
    """What is scored, and with what.

    Parameters
    ----------
    graph
        The network, pruned as far as it is.
    found
        Its prunable parameters.
    seed
        Of random scores.
    shape
        Extents of symbolic dimensions.
    data
        Calibration data.
    """

    graph: Graph
    found: Sequence[Prunable]
    seed: int = 0
    shape: tuple[tuple[str, int], ...] = ()
    data: Calibration | None = None

    def known(self, criterion: str) -> Calibration:
        """Return the data.

        Raises
        ------
        UsageError
            If there is none.
        """
        if self.data is None or not self.data.batches:
            raise UsageError("1407", f"the criterion {criterion!r} needs data", hint="--calib FILE.npz, from a file")
        return self.data


class Scored(NamedTuple):
    """Scores of the parameters that have some, and what they rest on."""

    scores: Scores
    remarks: tuple[str, ...] = ()


def path(question: Question) -> Scored:
    """π = θ·∂log‖Φ‖₁/∂θ: the share of the path-norm that passes through a weight. No rescaling changes it."""
    return _shares(question, PathNorm())


def synflow(question: Question) -> Scored:
    """The same of the paths that start at inputs, with max-pools as maxima (SynFlow, arXiv 2006.05467)."""
    return _shares(question, PathNorm(pooling="max", inputs_only=True))


def magnitude(question: Question) -> Scored:
    """|θ|."""
    return Scored({p.name: np.abs(p.values()) for p in question.found})


def random(question: Question) -> Scored:
    """Uniform in [0, 1)."""
    rng = np.random.default_rng(question.seed)
    return Scored({p.name: rng.random(p.param.shape) for p in question.found})


def wanda(question: Question) -> Scored:
    """|W_ij|·‖X_j‖₂ with X_j what comes in over all samples and positions (Sun et al., arXiv 2306.11695)."""
    norms = None if question.data is None else question.data.norms
    if norms is None:
        data = question.known("wanda")
        from pathlift.passes.pruning.inputs import input_norms

        norms = input_norms(question.graph, question.found, data.batches)
    return Scored({p.name: np.abs(p.values()) * norms[p.name] for p in question.found if p.name in norms})


def sketch(question: Question) -> Scored:
    """|W_ij|·√(C_jj·G_ii): the root mean square by which outputs differ without a weight, of data and gradients apart.

    C is E[x·xᵀ] of what a layer reads and G is E[g·gᵀ] of the outputs' gradients by what it writes: the diagonal of the
    Hessian, factored as in K-FAC (Martens and Grosse, arXiv 1503.05671), under the square of a weight as in optimal
    brain damage (LeCun, Denker, Solla, 1989).
    """
    costs = None if question.data is None else question.data.costs
    if costs is None:
        raise UsageError(
            "1512", "the criterion 'sketch' needs a sketch with gradients", hint="`calibrate --outputs` makes one"
        )
    return Scored({p.name: np.abs(p.values()) * costs[p.name] for p in question.found if p.name in costs})


def taylor(question: Question) -> Scored:
    """|θ·∂L/∂θ|, to first order by how much the loss changes without a weight (Molchanov et al., arXiv 1906.10771)."""
    data = question.known("taylor").labelled(question.graph)
    from pathlift.passes.pruning.gradients import loss_gradients

    gradients = loss_gradients(question.graph, question.found, data.batches, data.labels or ())
    told = ("the loss is that of the model's own decisions: the data has no labels",) if data.decided else ()
    return Scored({p.name: np.abs(p.values() * gradients[p.name]) for p in question.found}, told)


CRITERIA: Mapping[str, Callable[[Question], Scored]] = {
    "path": path, "magnitude": magnitude, "synflow": synflow, "wanda": wanda, "sketch": sketch, "taylor": taylor,
    "random": random,
}  # fmt: skip
DEFAULT_SCOPES = {"wanda": "row"}
"""Of criteria whose scores are not meant to be compared across the whole network."""


def scored(criterion: str, question: Question) -> Scored:
    """Score parameters.

    Raises
    ------
    UsageError
        If there is no such criterion, or it needs data that is missing.
    InvalidModelError
        If a weight or a score is NaN or infinite.
    UnsupportedError
        If no part of the network has a path-norm, for a criterion that is made of it.
    """
    if criterion not in CRITERIA:
        raise UsageError("1408", f"there is no criterion {criterion!r}", hint=", ".join(CRITERIA))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        found = CRITERIA[criterion](question)
    for name, scores in found.scores.items():
        if not np.isfinite(scores).all():
            raise InvalidModelError("0184", f"scores of tensor {name!r} are not finite")
    return found


def _shares(question: Question, options: PathNorm) -> Scored:
    """Shares of the network's norm; where it has none, of those of its supported regions."""
    names = {question.graph[key].names[0]: p.name for p in question.found for key in p.keys}
    scores, remarks = Scores(), tuple[str, ...]()
    for graph, own, told in _covered(question, options):
        remarks = (*remarks, *told)
        for name, share in own.shares(graph).items():
            if name in names:  # a parameter of several names has the sum of its shares
                values = np.maximum(share.detach().cpu().numpy().astype(np.float64), 0.0)
                scores[names[name]] = scores.get(names[name], 0.0) + values
    return Scored(scores, tuple(dict.fromkeys(remarks)))


def _covered(question: Question, options: PathNorm) -> Sequence[tuple[Graph, PathNorm, tuple[str, ...]]]:
    """The network, if all of it has a path-norm, else its regions; with options, and what is to be said."""
    from pathlift.passes.path_norm.support import support
    from pathlift.passes.rewrites.strip_head import StripHead

    refused = support(StripHead().run(question.graph).graph).refused
    if not refused:
        return [(question.graph, replace(options, shape=question.shape), ())]
    reason = next(iter(refused.values()))
    regions = supported_regions(question.graph, dict(question.shape))
    if not regions.found:
        raise UnsupportedError(
            "1397", f"no part of the network has a path-norm: {reason.message}", hint="another criterion: wanda, …"
        )
    told = (f"shares are of each supported region's own norm: {reason.message}", ONES, *regions.assumptions)
    return [(region.graph, options, told) for region in regions.found]
