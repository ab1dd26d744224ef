"""Independent components from a sketch: a mixing matrix from m of the 70 fourth cumulants of five mixed sources."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement, permutations
from operator import add
from pathlib import Path
from time import process_time

import numpy as np
from benchmarks import common
from scipy.optimize import least_squares
from sklearn.decomposition import FastICA

from pathlift.ir.types import Array

SOURCES = 5
SAMPLES, BATCH = 20_000, 1_000
KEPT = (22, 30, 45, 70)
STARTS = 40
RESULTS = Path(__file__).parent / "results" / "ica_from_cumulants"


@dataclass(frozen=True)
class Sketch:
    """Sums over samples of 1 and of all products of one to four channels, as full tensors: sketches add up."""

    rows: int
    sums: tuple[Array, ...]

    @classmethod
    def of(cls, x: Array) -> Sketch:
        """Sketch a batch, ``(samples, channels)``."""
        pairs = np.einsum("ni,nj->nij", x, x).reshape(len(x), x.shape[1] ** 2)
        sums = x.sum(0), x.T @ x, x.T @ pairs, pairs.T @ pairs
        return cls(len(x), tuple(s.reshape((x.shape[1],) * order) for order, s in enumerate(sums, 1)))

    def __add__(self, other: Sketch) -> Sketch:
        return Sketch(self.rows + other.rows, tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)))

    def cumulants(self) -> tuple[Array, Array]:
        """Return the second and fourth cumulants, ``(d, d)`` and ``(d, d, d, d)``."""
        mean, second, third, fourth = (s / self.rows for s in self.sums)
        outer = np.multiply.outer
        means = outer(mean, mean)
        # By partitions of four indices: one of {4}, four of {3, 1}, three of {2, 2}, six of {2, 1, 1}, one of ones.
        c4 = (
            fourth
            - 4 * outer(third, mean)
            - 3 * outer(second, second)
            + 12 * outer(second, means)
            - 6 * outer(means, means)
        )
        return second - means, symmetric(c4)


def symmetric(tensor: Array) -> Array:
    """Average a tensor over all orders of its axes."""
    return np.asarray(np.mean([tensor.transpose(order) for order in permutations(range(tensor.ndim))], axis=0))


def whitened(second: Array, fourth: Array) -> tuple[Array, Array]:
    """Return C^(-1/2), and the fourth cumulants of what it makes of the data: they are multilinear."""
    values, vectors = np.linalg.eigh(second)
    white = (vectors / np.sqrt(values)) @ vectors.T
    return white, np.einsum("ai,bj,ck,dl,ijkl->abcd", *[white] * 4, fourth, optimize=True)


def distinct(size: int) -> Array:
    """Return the indices of the distinct elements of a symmetric tensor of order four, ``(elements, 4)``."""
    return np.array(list(combinations_with_replacement(range(size), 4)))


def rotation(fourth: Array, kept: Array, seed: int, starts: int = STARTS) -> Array:
    """Fit Σ_a k_a·q_a⊗q_a⊗q_a⊗q_a to the elements of a tensor that are kept, and return the orthonormal columns q_a.

    Least squares, an element weighing as often as the tensor has it; the best of some starts. Rotations of a start are
    those by Cayley's transform of skew matrices.
    """
    size = len(fourth)
    rng, upper = np.random.default_rng(seed), np.triu_indices(size, 1)
    values = fourth[tuple(kept.T)]
    weights = np.sqrt([len(set(permutations(index))) for index in kept.tolist()])

    def turned(start: Array, angles: Array) -> Array:
        skew = np.zeros((size, size))
        skew[upper] = angles
        skew -= skew.T
        return np.asarray(start @ np.linalg.solve(np.eye(size) + skew, np.eye(size) - skew))

    def residuals(x: Array, start: Array) -> Array:
        q = turned(start, x[:-size])
        return np.asarray(weights * (q[kept].prod(1) @ x[-size:] - values))

    best, least = np.eye(size), np.inf
    for _ in range(starts):
        start = np.linalg.qr(rng.standard_normal((size, size)))[0]
        powers = np.linalg.lstsq(weights[:, None] * start[kept].prod(1), weights * values, rcond=None)[0]
        found = least_squares(residuals, np.concatenate([np.zeros(len(upper[0])), powers]), method="lm", args=(start,))
        if found.cost < least:
            best, least = turned(start, found.x[:-size]), found.cost
    return best


def amari(product: Array) -> float:
    """Return how far unmixing × mixing is from a scaled permutation, from 0 to 1 (Amari, Cichocki, Yang, 1996)."""
    p = np.abs(product)
    rows, columns = p.sum(1) / p.max(1) - 1, p.sum(0) / p.max(0) - 1
    return float((rows.sum() + columns.sum()) / (2 * len(p) * (len(p) - 1)))


def sources(rng: np.random.Generator, samples: int) -> Array:
    """Draw five independent sources of mean 0 and variance 1, of excess kurtosis −1.2, 1.2, 2, 3 and 6."""
    drawn = [
        rng.uniform(-(3**0.5), 3**0.5, samples),
        rng.logistic(0, 3**0.5 / np.pi, samples),
        np.log(np.abs(np.tan(np.pi / 2 * rng.uniform(size=samples)))) * 2 / np.pi,
        rng.laplace(0, 0.5**0.5, samples),
        rng.exponential(1, samples) - 1,
    ]
    return np.stack(drawn, axis=1)


@dataclass(frozen=True)
class Measurement:
    """Amari errors by seed, and the median seconds of processor time that the components took."""

    method: str
    numbers: int
    errors: Array
    seconds: float


def measure(seeds: int) -> list[Measurement]:
    """Mix sources by random matrices, and find the mixing from sketches and from the data."""
    indices = distinct(SOURCES)
    errors: dict[int, list[float]] = {kept: [] for kept in (*KEPT, 0)}
    seconds: dict[int, list[float]] = {kept: [] for kept in errors}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        mixing = rng.standard_normal((SOURCES, SOURCES))
        x = sources(rng, SAMPLES) @ mixing.T
        white, fourth = whitened(*reduce(add, map(Sketch.of, np.split(x, SAMPLES // BATCH))).cumulants())
        for kept in errors:
            begun = process_time()
            if kept:
                found = rotation(fourth, indices[rng.permutation(len(indices))[:kept]], seed).T @ white
            else:
                ica = FastICA(whiten="unit-variance", max_iter=1000, tol=1e-6, random_state=seed)
                found = ica.fit(x).components_
            seconds[kept].append(process_time() - begun)
            errors[kept].append(amari(found @ mixing))
    second = SOURCES + SOURCES * (SOURCES + 1) // 2  # means and second moments
    names = {kept: f"{kept} cumulants" if kept else "FastICA" for kept in errors}
    numbers = {kept: second + kept if kept else SAMPLES * SOURCES for kept in errors}
    return [Measurement(names[k], numbers[k], np.array(errors[k]), float(np.median(seconds[k]))) for k in errors]


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], seeds: int) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    exact = measurements[-1].errors
    rows = [
        (m.method, str(m.numbers), spread(m.errors), spread(m.errors / exact), common.digits(m.seconds))
        for m in measurements
    ]
    return f"""# Independent components from cumulants

Moments of data can be summed up batch by batch, and the sums of shards add up. With fourth moments, sources that
were mixed linearly can be told apart without the data: the example of Sheehan, Gonon, Davies, *Compressive Learning
for Semi-Parametric Models* (arXiv 1910.10024). Nothing in the tool reads this: it is a measurement of what such a
sketch is worth.

Five independent sources (uniform, logistic, hyperbolic secant, Laplace, exponential), {SAMPLES} samples, mixed by a
Gaussian matrix, and summed up in batches of {BATCH}. Second moments whiten. Of the 70 distinct fourth cumulants of
whitened data m are kept, chosen at random, and Σ_a k_a·q_a⊗q_a⊗q_a⊗q_a with orthonormal q_a is fitted to them, which
has 15 unknowns, from {STARTS} starts. Cumulants are multilinear, so that here one sketch is whitened afterwards; who
wants to sum up no more than m of them whitens the data in a pass before. *Numbers* counts that: means, second moments
and m, or the data.

Amari errors are 0 for a perfect separation: medians [least–largest] of {seeds} seeds, and ratios to FastICA
(scikit-learn) on the data of the same seed. Seconds are of processor time, without the sketch.

Machine: {facts}.

## Amari errors
{common.table(("components from", "numbers", "Amari error", "of FastICA's", "seconds"), rows)}

Compression costs a factor of {cost(measurements[0], exact)} in the median error with {KEPT[0]} cumulants, and of
{cost(measurements[1], exact)} with {KEPT[1]}. With all of them it is {cost(measurements[-2], exact)}: fourth moments
are noisier than what FastICA reads. Largest errors say what medians do not: a separation can fail, from few cumulants
more often than from many, and FastICA's, too.
"""


def cost(measurement: Measurement, exact: Array) -> str:
    return f"{np.median(measurement.errors) / np.median(exact):.1f}"


def spread(samples: Array) -> str:
    median, low, high = (common.digits(float(f(samples))) for f in (np.median, np.min, np.max))
    return f"{median} [{low}–{high}]"


def main() -> None:
    options = common.parse(argparse.ArgumentParser(description=__doc__), RESULTS, repeats=21, quick=2)
    machine = common.machine()
    measurements = measure(options.repeats)
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
