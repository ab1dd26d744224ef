"""Steps along the polar factors of `pathlift ks fit` on quadratics: the figures of arXiv 2602.11948."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks import common

from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.gradient import polar

SIGMAS = np.geomspace(1e-3, 10, 60)
# Medians by sigma, as printed in the notebook of Figure 4 (github.com/agonon/muon-on-quadratics).
# fmt: off
PUBLISHED = (
    *[1000] * 8, 718, 528, 400, 298, 218, 172, 126, 94, 74, 62, 44, 36, 30, 26, 22, 20, 18, 18, 16, 14, 14, 13, 13,
    *[12] * 10, 13, 13, 14, 14, 15, 16, 17, 19, 22, 25, 28, 34, 41, 50, 64, 80, 101, 137.5, 179,
)
# fmt: on
QUANTITIES = ("gap", "gradient norm", "distance")
SHOWN = (*range(11), 12, 15, 20, 30, 50, 70, 99)
SPECTRA = ("flat_min", "flat_max", "uniform", "gaussian", "geometric", "linear_decay")
VARIANTS = {
    "exact": (True, 0.0),
    "exact, momentum": (True, 0.9),
    "Newton–Schulz": (False, 0.0),
    "Newton–Schulz, momentum": (False, 0.9),
}
RATES = np.array([0.001, 0.01, 0.1])
RESULTS = Path(__file__).parent / "results" / "muon_on_quadratics"


@dataclass(frozen=True)
class Hitting:
    """Median, 2.5 % and 97.5 % of the steps until |s| ≤ ε."""

    sigma: float
    published: float
    steps: Array


@dataclass(frozen=True)
class Descent:
    """Median, 2.5 % and 97.5 % over starts, after each step."""

    quantity: str
    gradient: Array
    greedy: Array
    polar_chosen: float


@dataclass(frozen=True)
class Wins:
    """Shares of starts from which the least loss so far is Muon's, and quantiles of it over the gradient's at last."""

    spectrum: str
    variant: str
    shares: Array
    ratio: Array


def hitting_times(sigma: float, runs: int, *, most: int = 1000, seed: int = 0) -> Array:
    """Return the first t with |s_t| ≤ ε of s ← s − α(sign(s) + σξ), or `most`: the sign is the polar factor of 1×1."""
    alpha, epsilon = 0.1, 0.02
    rng = np.random.default_rng(seed)
    s = np.full((runs, 1, 1), 10 * alpha + 1.3 * epsilon)
    times, alive = np.full(runs, float(most)), np.arange(runs)
    for t in range(most):
        hit = np.abs(s[:, 0, 0]) <= epsilon
        times[alive[hit]] = t
        s, alive = s[~hit], alive[~hit]
        if not len(alive):
            break
        s = s - alpha * (polar(s, exact=True) + sigma * rng.standard_normal(s.shape))
    return times


def newton_schulz_spread(size: int, blocks: int = 40) -> float:
    """Return the standard deviation over the mean of the singular values of Newton–Schulz of Gaussian blocks."""
    made = polar(np.random.default_rng(0).standard_normal((blocks, size, size)))
    values = np.linalg.svd(made, compute_uv=False)
    return float(values.std() / values.mean())


def spiked(size: int = 100, condition: float = 1e3, seed: int = 128) -> Array:
    """Return Q·diag(1, …, 1, κ)·Qᵀ, ``(size, size)``, with a Haar-random Q."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    spectrum = np.ones(size)
    spectrum[-1] = condition
    return np.asarray((q * spectrum) @ q.T)


def line_search(a: Array, seed: int, steps: int, *, greedy: bool) -> tuple[Array, Array]:
    """Minimize ½⟨W, AW⟩ by exact line searches along the gradient, or along what gains more, it or its polar factor.

    Returns
    -------
    tuple
        ``(3, steps)``, the quantities before each step, and ``(steps,)``, whether the polar factor was taken.
    """
    size = len(a)
    w = np.random.default_rng(seed).normal(0, size**-0.5, (size, size))
    quantities, chosen = np.empty((3, steps)), np.zeros(steps, bool)
    for t in range(steps):
        gradient = a @ w
        quantities[:, t] = np.vdot(w, gradient) / 2, np.linalg.norm(gradient), np.linalg.norm(w)
        directions = [gradient, polar(gradient, exact=True)] if greedy else [gradient]
        slopes = np.array([np.vdot(d, gradient) for d in directions])
        curvatures = np.array([np.vdot(d, a @ d) for d in directions])
        best = int(np.argmax(slopes**2 / curvatures))
        chosen[t] = best == 1
        w = w - slopes[best] / curvatures[best] * directions[best]
    return quantities, chosen


def eigenvalues(spectrum: str, size: int, seed: int, low: float = 1e-4, high: float = 10.0) -> Array:
    """Return eigenvalues within [low, high], both of them included, ``(size,)``, from the largest on."""
    rng = np.random.default_rng(seed)
    if spectrum == "flat_min":
        found = np.full(size, low)
    elif spectrum == "flat_max":
        found = np.full(size, high)
    elif spectrum == "uniform":
        found = rng.uniform(low, high, size)
    elif spectrum == "gaussian":  # truncated at three standard deviations
        normal = rng.standard_normal(50 * size)
        found = (low + high) / 2 + (high - low) / 6 * normal[np.abs(normal) <= 3][:size]
    elif spectrum == "geometric":
        found = np.maximum(high * 0.9 ** np.arange(size), low)
    else:
        found = high - (high - low) * np.sqrt(rng.uniform(size=size))
    found = np.sort(found)[::-1].copy()
    found[0], found[-1] = high, low
    return found


def losses(spectrum: Array, starts: Array, steps: int, exact: bool | None, momentum: float) -> Array:
    """Return the least loss so far, best of the rates, before each step, ``(starts, steps)``; the gradient's for None.

    In the eigenbasis: gradients and polar factors turn with it, and so do Gaussian starts.
    """
    w = np.repeat(starts[:, None], len(RATES), axis=1)
    lengths, buffer, best = RATES[:, None, None], np.zeros_like(w), np.empty((len(starts), len(RATES), steps))
    for t in range(steps):
        gradient = spectrum[:, None] * w
        best[..., t] = np.sum(w * gradient, axis=(-2, -1)) / 2
        buffer = momentum * buffer + gradient
        w = w - lengths * (gradient if exact is None else polar(gradient + momentum * buffer, exact=exact))
    return np.asarray(np.minimum.accumulate(best.min(1), axis=1))


def wins(spectrum: str, variant: str, experiments: int, *, size: int = 16, steps: int = 100) -> Wins:
    values = eigenvalues(spectrum, size, seed=SPECTRA.index(spectrum))
    # W₀ − W*, both of variance 1/n per entry, one W* for all starts.
    rng = np.random.default_rng(100)
    starts = (rng.standard_normal((experiments, size, size)) - rng.standard_normal((size, size))) / np.sqrt(size)
    at = [steps // 10, steps // 2, steps - 1]
    muon, gradient = (losses(values, starts, steps, *v)[:, at] for v in (VARIANTS[variant], (None, 0.0)))
    return Wins(spectrum, variant, (muon < gradient).mean(0), band((muon / gradient)[:, -1]))


def band(samples: Array) -> Array:
    return np.asarray(np.quantile(samples, (0.5, 0.025, 0.975), axis=0))


def descents(seeds: int, steps: int = 100) -> list[Descent]:
    a = spiked()
    runs = {greedy: [line_search(a, seed, steps, greedy=greedy) for seed in range(seeds)] for greedy in (False, True)}
    quantities = {greedy: np.array([q for q, _ in found]) for greedy, found in runs.items()}
    chosen = float(np.mean([c for _, c in runs[True]]))
    return [
        Descent(q, band(quantities[False][:, i]), band(quantities[True][:, i]), chosen)
        for i, q in enumerate(QUANTITIES)
    ]


def spread(values: Array) -> str:
    median, low, high = (common.digits(v) if v >= 1e-3 else f"{v:.2e}" for v in values)
    return f"{median} [{low}–{high}]"


def report(
    found: Sequence[Hitting | Descent | Wins], machine: Mapping[str, object], options: argparse.Namespace
) -> str:
    hitting = [h for h in found if isinstance(h, Hitting)]
    curves = [d for d in found if isinstance(d, Descent)]
    table = [w for w in found if isinstance(w, Wins)]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    shown = [h for i, h in enumerate(hitting) if i % 3 == 0 or i == len(hitting) - 1]
    sections = [
        common.table(
            ("σ", "published", "steps"), [(f"{h.sigma:.3g}", f"{h.published:g}", spread(h.steps)) for h in shown]
        )
    ]
    for d in curves:
        rows = [(str(t), spread(d.gradient[:, t]), spread(d.greedy[:, t])) for t in SHOWN]
        sections.append(common.table(("step", "gradient", "greedy"), rows))
    rates = [(w.spectrum, w.variant, *(f"{100 * share:.0f} %" for share in w.shares), spread(w.ratio)) for w in table]
    hit, gap, norm, distance = sections
    return f"""# Muon on quadratics

`pathlift ks fit --solver muon` steps along polar factors U·Vᵀ of gradients U·S·Vᵀ. Here the same function takes such
steps on quadratics: the set-ups of Gonon, Muşat, Boumal, *Insights on Muon from Simple Quadratics* (arXiv 2602.11948),
run afresh. In brackets are the 2.5 and 97.5 % quantiles.

Machine: {facts}.

## Noise on the polar factor
Figure 4: s ← s − α·(sign(s) + σξ), α = 0.1, ξ normal, from 1.026 until |s| ≤ 0.02, at most 1000 steps;
{options.runs} runs for each σ. *Published* are the medians that the authors' notebook prints. Without noise s cycles
for ever on a grid that has no point near 0. Little noise takes long to leave the grid, much noise overshoots; between
them is a flat bottom at 12 steps, of which 10 are the way itself. The solver's five Newton–Schulz steps are in it, as
far as a spread is a noise: they leave the singular values of Gaussian blocks of size 2, 16 and 100 with a standard
deviation of {", ".join(f"{newton_schulz_spread(n):.2f}" for n in (2, 16, 100))} times their mean.

{hit}

## Greedy steps: the gap
Figure 5: ½⟨W, AW⟩, A of size 100 with eigenvalues 1, …, 1, 1000, exact line search, {options.repeats} starts.
*Gradient* always takes the gradient, *greedy* what lowers the gap more in this step, the gradient or its polar factor.
It took the polar factor in {100 * curves[0].polar_chosen:.4g} % of the steps: ahead after one step, and behind from
the second on. The published curves are drawn, not printed: as far as they can be read off, *greedy* is at 16 after one
step and at 0.1 in the end, and the gradient below 10⁻¹⁴ after 17 steps, as here; theirs ends at 10⁻¹⁵, where their line
search stops.

{gap}

## Greedy steps: the gradient
Figure 16, left: the norm of the gradient on these runs.

{norm}

## Greedy steps: the distance
Figure 16, right: the distance to the minimum on these runs.

{distance}

## Win rates
As the paper's tables, at the size of the authors' trial run: n = 16, 100 steps, eigenvalues from 10⁻⁴ to 10, each
method at the best of the rates .001, .01, .1, {options.repeats} starts (theirs 10). Columns are the shares of starts
from which Muon's least loss so far is below that of the gradient, after 10, 50 and 100 steps, and the ratio of the two
in the end. *exact* is the polar factor by singular values, *momentum* is 0.9, with Nesterov's step. The published
tables are of n = 128 and 500 steps, half a day on a graphics card; of this size there are none to compare with.
Newton–Schulz is in float64 here, in bfloat16 there.

{common.table(("spectrum", "polar factor", "10", "50", "100", "loss / gradient's"), rates)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="runs for each noise of Figure 4")
    options = common.parse(parser, RESULTS, repeats=100, quick=5)
    if options.quick:
        options.runs = 300
    machine = common.machine()
    found: list[Hitting | Descent | Wins] = [
        *(
            Hitting(float(sigma), published, band(hitting_times(float(sigma), options.runs)))
            for sigma, published in zip(SIGMAS, PUBLISHED, strict=True)
        ),
        *descents(options.repeats),
        *(wins(spectrum, variant, options.repeats) for spectrum in SPECTRA for variant in VARIANTS),
    ]
    text = report(found, machine, options)
    if options.output:
        common.save(options.output, text, machine, found)
    print(text)


if __name__ == "__main__":
    main()
