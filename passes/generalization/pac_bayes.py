"""PAC-Bayes bounds with Gaussians on the weights, and the least relative entropy over rescalings.

With probability 1 − δ over n ≥ 8 samples, for every distribution Q on weights (Maurer, arXiv cs/0411099, Theorem 5):
kl(error of Q on the samples ‖ true error of Q) ≤ (KL(Q‖P) + ln(2√n/δ))/n. The error of Q is that of a network whose
weights are drawn for every prediction. Q = N(w, σ_q²I) may depend on the samples, P = N(0, σ_p²I) may not.

A rescaling D changes weights and not the function: D#Q errs as Q does, and only its relative entropy differs (Rouchouse
et al., arXiv 2509.26149). The least is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, nextafter, pi, sqrt

import numpy as np

from pathlift.ir.types import Array, is_float
from pathlift.passes.channels.symmetry import Symmetry
from pathlift.passes.generalization.kl import kl_inverse
from pathlift.passes.rescaling.balance import Pairs

GRID = 20
"""Points of the grid of σ_p² per factor e."""
_WIDEST = exp(5)
_SWEEPS = 500
_SETTLED = 1e-10


@dataclass(eq=False)
class RescaledEntropy:
    """KL(D#Q‖P) as a function of D: one factor per class, found by coordinate descent.

    Parameters
    ----------
    symmetry
        Of the network.
    posterior
        σ_q².
    """

    symmetry: Symmetry
    posterior: float
    history: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = self.symmetry.count + 1
        self.dimension, self.z = 0, np.zeros(count)
        self._squares, self._fixed = list[Pairs](), 0.0
        self._whole: float | None = None  # the factors change rarely, and are asked about for each prior
        self._linear, everywhere = np.zeros(count), np.zeros(count, bool)
        for use in self.symmetry.scales().values():
            if not is_float(use.param.dtype) or not use.param.size:
                continue
            squares = use.param.numpy().astype(np.float64) ** 2 + self.posterior
            self.dimension += squares.size
            pairs, counts = Pairs.of(use.scale, squares), Pairs.of(use.scale, np.ones_like(squares))
            every = pairs.m.copy()
            pairs.without(everywhere)  # of weights that lead from a class to itself, the factors cancel
            counts.without(everywhere)
            self._fixed += float((every - pairs.m).sum())
            into, out = counts.sides(count)
            self._linear += into - out
            self._squares.append(pairs)
        self._blocks = independent(self._squares, count)

    def squares(self) -> float:
        """Σ λ_i²·(w_i² + σ_q²) over all weights."""
        if self._whole is None:
            self._whole = self._fixed + sum(float(p.m.sum()) for p in self._squares)
        return self._whole

    def value(self, prior: float) -> float:
        """KL(D#Q‖P) for σ_p² = `prior`, rounded up.

        The sums are of non-negative numbers, in float64; what their roundings take is added.
        """
        d, logs = self.dimension, float(self._linear @ self.z)
        terms = (self.squares() / (2 * prior), d / 2 * log(prior / self.posterior), d / 2, logs)
        slack = 1e-12 * (sum(map(abs, terms)) + float(np.abs(self._linear) @ np.abs(self.z)) + 1)
        return max(0.0, terms[0] + terms[1] - terms[2] - terms[3]) + slack

    def best_prior(self) -> float:
        """The σ_p² that minimizes it for the present factors: the mean of the squares."""
        return self.squares() / max(1, self.dimension)

    def descend(self, prior: float) -> None:
        """Minimize over the factors, for σ_p² = `prior`.

        In t = λ_h² the objective is (A·t + B/t)/(2σ_p²) − (n_in − n_out)/2·ln t, whose minimum solves
        A·t² − c·t − B = 0 with c = σ_p²·(n_in − n_out). Classes that no weight joins are moved at once.
        """
        self.history = [self.value(prior)]
        for _ in range(_SWEEPS):
            for block in self._blocks:
                self._step(block, prior)
            self.history.append(self.value(prior))
            if self.history[-2] - self.history[-1] <= _SETTLED * self.history[-2]:
                break

    def _step(self, block: Array, prior: float) -> None:
        into, out = np.zeros(len(self.z)), np.zeros(len(self.z))
        for p in self._squares:
            a, b = p.sides(len(self.z))
            into += a
            out += b
        c = prior * self._linear
        root = np.sqrt(c**2 + 4 * into * out)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(c >= 0, (c + root) / (2 * into), 2 * out / (root - c))  # neither subtracts
        movable = block & np.isfinite(t) & (t > 0)
        dz = np.where(movable, np.log(np.where(movable, t, 1.0)) / 2, 0.0)
        for p in self._squares:
            p.move(dz, 1.0)
        self.z += dz
        self._whole = None


def independent(pairs: Sequence[Pairs], count: int) -> list[Array]:
    """Cut the classes into sets within which no weight leads from one to another: booleans per class, not class 0."""
    sides = [np.zeros(count, bool) for _ in range(2 * len(pairs))]
    for i, p in enumerate(pairs):
        sides[2 * i][p.times], sides[2 * i + 1][p.over] = True, True
    member = np.stack(sides, 1) if sides else np.zeros((count, 0), bool)
    used = np.flatnonzero(member.any(1) & (np.arange(count) > 0))
    kinds, kind = np.unique(member[used], axis=0, return_inverse=True)
    blocks, free = list[Array](), list[tuple[set[int], Array]]()
    for k, row in enumerate(kinds):
        classes = used[kind.reshape(-1) == k]
        if (row[0::2] & row[1::2]).any():  # some weights lead from one of them to another: one by one
            blocks += [np.arange(count) == h for h in classes]
            continue
        joined = {j for j, other in enumerate(kinds) if ((row[0::2] & other[1::2]) | (row[1::2] & other[0::2])).any()}
        for members, mask in free:
            if not members & joined:
                members.add(k)
                mask[classes] = True
                break
        else:
            mask = np.zeros(count, bool)
            mask[classes] = True
            free.append(({k}, mask))
    return [mask for _, mask in free] + blocks


@dataclass(frozen=True)
class Prior:
    """A point of the grid σ_p² = e^(5 − (j−1)/20), j = 1, 2, …, and what choosing it costs.

    Parameters
    ----------
    index
        j.
    variance
        σ_p².
    """

    index: int

    @property
    def variance(self) -> float:
        """σ_p²."""
        return _WIDEST * exp(-(self.index - 1) / GRID)

    @property
    def cost(self) -> float:
        """ln(π²j²/6): the shares 6/(πj)² of δ add up to 1."""
        return log(pi**2 * self.index**2 / 6) * (1 + 1e-14)


def nearest_prior(variance: float) -> Prior:
    """The point of the grid nearest to a variance."""
    return Prior(max(1, round((log(_WIDEST) - log(variance)) * GRID) + 1))


def choose_prior(entropy: RescaledEntropy, *, rescale: bool = True) -> tuple[Prior, float]:
    """Find the prior, and (with `rescale`) the factors, with the least of relative entropy plus cost.

    The factors that are best for one prior make another one best; in turns, both only get better.

    Returns
    -------
    tuple
        The prior, and KL(D#Q‖P).
    """
    prior = nearest_prior(entropy.best_prior())
    total = inf
    for _ in range(50):
        if rescale:
            entropy.descend(prior.variance)
        around = [Prior(j) for j in range(max(1, prior.index - 40), prior.index + 41)]
        prior = min(around, key=lambda p: entropy.value(p.variance) + p.cost)
        before, total = total, entropy.value(prior.variance) + prior.cost
        if not total < before - 1e-9 * abs(before) or not rescale:
            break
    return prior, entropy.value(prior.variance)


@dataclass(frozen=True)
class ErrorBound:
    """A bound on the error of Q, and all that it is made of.

    Parameters
    ----------
    sampled
        Error on the samples, averaged over the draws of weights.
    empirical
        What the error of Q on the samples is at most, of which `sampled` is an estimate.
    budget
        (KL + ln(π²j²/6) + ln(2√n/δ₁))/n.
    bound
        What the true error of Q is at most, with probability 1 − δ₁ − δ₂.
    """

    sampled: float
    empirical: float
    budget: float
    bound: float


def error_bound(sampled: float, draws: int, n: int, kl: float, cost: float, delta: float) -> ErrorBound:
    """Bound the true error of Q; half of δ goes to the samples, half to the draws.

    Parameters
    ----------
    sampled
        Error on the samples, averaged over `draws` independent draws of weights.
    draws
        How many. By Chernoff's bound, kl(sampled‖empirical) ≤ ln(1/δ₂)/draws with probability 1 − δ₂.
    n
        Number of samples; at least 8.
    kl, cost
        Relative entropy, and what choosing the prior costs.
    delta
        δ = δ₁ + δ₂.
    """
    half = delta / 2
    empirical = kl_inverse(sampled, nextafter(log(1 / half) / draws * (1 + 1e-14), inf))
    budget = nextafter((kl + cost + log(2 * sqrt(n) / half)) / n * (1 + 1e-14), inf)
    return ErrorBound(sampled, empirical, budget, kl_inverse(empirical, budget))
