"""PAC-Bayes bounds of the error of a network with noise on its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING
from math import log, log10, nextafter, sqrt
from typing import TYPE_CHECKING

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.types import is_float
from pathlift.report.tables import fixed
from pathlift.verbs.bounds.kind import Bound, Options, Term

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.models.labelled import Labelled
    from pathlift.passes.channels.symmetry import Symmetry
    from pathlift.passes.generalization.pac_bayes import Prior

OPTIONS = frozenset({"data", "delta", "draws", "seed"})
DRAWS = 300
_SCREENING = 8
"""Draws of weights for each σ_q that is tried; those that count are drawn anew."""


@dataclass(frozen=True)
class Posterior:
    """σ_q, the prior, and relative entropies."""

    sigma: float
    prior: Prior
    kl: float
    before: float


def compute(graph: Graph, options: Options) -> Bound:
    """Bound the error of a network whose weights get Gaussian noise, by data that it may have been trained with."""
    from pathlift.models.labelled import Labelled
    from pathlift.passes.channels.symmetry import symmetry
    from pathlift.passes.generalization.pac_bayes import error_bound
    from pathlift.passes.rescaling.canonicalize import Canonicalize
    from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
    from pathlift.passes.rewrites.strip_head import StripHead

    if options.data is None:
        raise UsageError("1481", "a PAC-Bayes bound is of the error on data", hint="--data train.npz")
    draws, seed = DRAWS if options.draws is None else options.draws, options.seed or 0
    if draws < 1 or seed < 0:
        raise UsageError("1480", f"draws are {draws} and the seed {seed}: at least 1, and not negative")
    stripped = StripHead().run(graph)
    folded = FoldBatchnorm().run(stripped.graph).graph
    network = Canonicalize("balanced").run(folded).graph
    found = symmetry(network)
    _check_parameters(network, found)
    data = Labelled.read(network, options.data)
    if data.count < 8:
        raise UsageError("1482", f"{data.count} samples are too few for the theorem", hint="8 at least")
    tried = _search(network, found, data, options.confidence, draws, seed)
    sampled, classes = _error(data, tried.sigma, draws, seed + 1)
    total = error_bound(sampled, draws, data.count, tried.kl, tried.prior.cost, options.confidence)
    trivial = 1 - 1 / classes
    half = options.confidence / 2
    terms = {
        "n": Term(data.count, "samples"),
        "d": Term(sum(u.param.size for u in found.scales().values() if is_float(u.param.dtype)), "parameters"),
        "σ_q": Term(tried.sigma, "deviation of the posterior N(w, σ_q²I) around the balanced weights"),
        "σ_p": Term(sqrt(tried.prior.variance), "deviation of the prior N(0, σ_p²I)"),
        "j": Term(tried.prior.index, "its number on the grid σ_p² = e^(5 − (j−1)/20)"),
        "KL": Term(tried.kl, "relative entropy, the least over rescalings"),
        "KL_before": Term(tried.before, "the same without a rescaling, with its own best σ_p"),
        "grid": Term(tried.prior.cost, "ln(π²j²/6), what choosing σ_p costs"),
        "sampling": Term(log(2 * sqrt(data.count) / half), "ln(2√n/δ₁)"),
        "budget": Term(total.budget, "(KL + grid + sampling)/n, what kl may be"),
        "m": Term(draws, "draws of weights"),
        "seed": Term(seed, "of the draws"),
        "sampled_error": Term(sampled, "error on the samples, averaged over the draws"),
        "empirical_error": Term(total.empirical, "its expectation is at most this, with probability 1 − δ₂"),
        "δ": Term(options.confidence, "δ₁ + δ₂, half of it each"),
        "trivial": Term(trivial, "error of guessing"),
    }
    vacuous = total.bound >= trivial
    most = fixed(total.bound, ROUND_CEILING)
    claim = f"with probability {1 - options.confidence:g}, the error with noise is at most {most}"
    verdict = f"{'vacuous' if vacuous else 'not vacuous'}: {claim}, that of guessing is {trivial:.4g}"
    said = (
        stripped.witness.describe(),
        "the samples are independent; nothing of the weights' scale was fixed by them but what the grid pays for",
        "the bound is of the network with noise on its balanced weights, drawn anew for each input",
    )
    return Bound(
        log10=nextafter(log10(total.bound), 1.0) if total.bound else None, value=total.bound, terms=terms,
        vacuous=vacuous, verdict=verdict, assumptions=tuple(line for line in said if line),
    )  # fmt: skip


def _check_parameters(network: Graph, found: Symmetry) -> None:
    """Check that noise on every parameter makes sense, and is counted."""
    counted = found.scales()
    for key in network.order:
        node = network[key]
        if node.op == "BatchNormalization" and key in network.live:
            reason = "a batch norm that cannot be folded has a variance, which noise may make negative"
            raise UnsupportedError("1384", reason).at(node.label, node.op)
    for key in network.params:
        value = network[key].value
        if key in network.live and value is not None and is_float(value.dtype) and id(value) not in counted:
            reason = f"parameter {network[key].names[0]!r} is not used as a weight or a bias"
            raise UnsupportedError("1384", reason, hint="pac-bayes knows what rescalings know")


def _search(
    network: Graph, found: Symmetry, data: Labelled, delta: float, draws: int, seed: int
) -> Posterior:  # fmt: skip
    """Find the σ_q for which the bound promises to be least: a posterior may depend on the samples at no cost."""
    from pathlift.passes.generalization.pac_bayes import RescaledEntropy, choose_prior, error_bound

    squares = [
        float((u.param.numpy().astype(float) ** 2).sum()) for u in found.scales().values() if is_float(u.param.dtype)
    ]
    count = sum(u.param.size for u in found.scales().values() if is_float(u.param.dtype))
    size = sqrt(sum(squares) / max(1, count)) or 1.0
    best: tuple[float, Posterior] | None = None
    for sigma in _candidates(size):
        sampled, _ = _error(data, sigma, _SCREENING, seed)
        plain = RescaledEntropy(found, sigma**2)
        _, before = choose_prior(plain, rescale=False)
        prior, kl = choose_prior(plain)
        bound = error_bound(sampled, draws, data.count, kl, prior.cost, delta).bound
        if best is None or bound < best[0]:
            best = bound, Posterior(sigma, prior, kl, before)
    assert best is not None
    return best[1]


def _candidates(size: float) -> Sequence[float]:
    """From twice the weights' size downwards, by factors √2."""
    return [size * 2 ** (1 - k / 2) for k in range(16)]


def _error(data: Labelled, sigma: float, draws: int, seed: int) -> tuple[float, int]:
    """The error on the samples averaged over draws, and the number of classes."""
    from pathlift.models.labelled import errors
    from pathlift.passes.generalization.noise import Noisy

    wrong, classes = 0, 0
    for draw in range(draws):
        algebra = Noisy(sigma, (seed, draw))
        for scores, labels in data.scores(algebra):
            wrong += errors(scores, labels)
            classes = scores.shape[1]
    return wrong / (draws * data.count), classes
