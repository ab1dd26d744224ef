"""Support before frequency: what small models of a regular language learn first, and what compression costs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmarks import common
from benchmarks.token_networks import BATCH, STEPS, Network, pruned, rounded, train
from torch import Tensor

from pathlift.automata.noise import distance, log_noised
from pathlift.automata.support import Support
from pathlift.automata.tokens import TokenAutomaton
from pathlift.automata.weighted import Weighted
from pathlift.ir.types import Array
from pathlift.models.language.ranks import pair_order, support_auc
from pathlift.models.language.split import split

TOKENS = "<>[]{}=,;.abcpqrxy0123$"
ARROWS = (
    "0<1 0[3 0{6", "1a2 1b2 1c2", "202 212 222 232 2>5", "3x4 3y4", "4,3 4]5", "5;0 5.A",
    "6p7 6q7 6r7", "7=8", "809 819 829 839", "90B 91B 92B 93B 9}5", "B}5", "A$C", "C$C",
)  # fmt: skip
"""Items <a012>, [x,y] and {p=01}, with ; between them and a full stop behind; $ ends the string and fills the rest."""
STATES = "0123456789ABC"
LENGTH = 33
DIRECTIONS = {-1: "towards the support", 0: "along it", 1: "away from it"}
TESTED, DRAWN = 200, 100_000
KINDS = {"next": "the next token", "masked": "masked tokens"}
CHANGES: dict[str, Callable[[Network], Network]] = {
    "as trained": lambda network: network,
    **{f"{bits} bits": partial(rounded, bits=bits) for bits in (8, 4, 3, 2)},
    **{f"{100 * share:.0f} % pruned": partial(pruned, share=share) for share in (0.5, 0.6, 0.7, 0.8)},
}
RESULTS = Path(__file__).parent / "results" / "support_before_frequency"


def language(length: int = LENGTH, seed: int = 1) -> Weighted:
    """Return a distribution over the language's strings, filled up to a length."""
    table = np.full((len(STATES) + 1, len(TOKENS)), len(STATES))
    for state, token, after in " ".join(ARROWS).split(" "):
        table[STATES.index(state), TOKENS.index(token)] = STATES.index(after)
    weights = np.random.default_rng(seed).dirichlet(np.full(len(TOKENS), 0.6), len(STATES)) + 0.02
    weights *= table[:-1] < len(STATES)
    weights[5, [TOKENS.index(";"), TOKENS.index(".")]] = 0.7, 0.3
    automaton = TokenAutomaton(table, np.arange(len(table)) == len(STATES) - 1)
    return Weighted(Support(automaton, length), weights / weights.sum(1, keepdims=True))


def drawn(law: Weighted, rng: np.random.Generator, strings: int) -> tuple[Array, Array]:
    """Draw strings ``(strings, length)``, and return the distributions that each token was drawn from."""
    length, states = law.support.length or 0, np.zeros(strings, int)
    tokens, exact = np.empty((strings, length), int), np.empty((strings, length, len(TOKENS)))
    for i in range(length):
        exact[:, i] = law.next(states, i)
        tokens[:, i] = (exact[:, i].cumsum(1) > rng.random((strings, 1))).argmax(1)
        states = law.automaton.table[states, tokens[:, i]]
    return tokens, exact


@dataclass(frozen=True)
class Figures:
    """Means over positions: KL(p‖q) = support + frequency, in nats; mass off the support; AUC of it; pairs in order."""

    support: float
    frequency: float
    off: float
    auc: float
    rank: float


def figures(logits: Array, exact: Array) -> Figures:
    """Return the figures of distributions that logits give, ``(positions, tokens)``, against exact ones."""
    allowed = exact > 0
    parts = split(logits, allowed, exact.argmax(1), exact)
    assert parts.divergence is not None
    auc, rank = support_auc(logits, allowed), pair_order(logits, exact)
    means = (parts.support.mean(), parts.divergence.mean(), parts.off.mean(), np.nanmean(auc), np.nanmean(rank))
    return Figures(*map(float, means))


@dataclass(frozen=True)
class Slopes:
    """Slopes of log p_ε(z)/p_ε(y) in log ε between two ε, by what an edit y → z does to the distance to the support."""

    further: int
    slopes: Array


@dataclass(frozen=True)
class Odds:
    """By how much log p_ε(z)/p_ε(y) differs from log p(z)/p(y), for edits within the support."""

    noise: float
    errors: Array


@dataclass(frozen=True)
class Learned:
    """Figures of a network while it is trained."""

    kind: str
    seed: int
    step: int
    figures: Figures


@dataclass(frozen=True)
class Compressed:
    """Figures of a copy of a trained network."""

    kind: str
    seed: int
    change: str
    figures: Figures


def noise(edits: int = 30, length: int = 12) -> Iterator[Slopes | Odds]:
    """Edit tokens of strings of the language, some of them edited before, and compare probabilities under noise."""
    law, rng, few = language(length), np.random.default_rng(0), (1e-4, 1e-6)
    found: dict[int, list[tuple[float, float]]] = {further: [] for further in (-1, 0, 1)}
    within: list[tuple[float, float]] = []
    while min(len(within), *map(len, found.values())) < edits:
        (y,), _ = drawn(law, rng, 1)
        for at in rng.integers(length, size=rng.integers(3)):
            y[at] = rng.integers(len(TOKENS))
        z = y.copy()
        z[rng.integers(length)] = rng.integers(len(TOKENS))
        before, after = (distance(law.automaton, law.edges, tokens) for tokens in (y, z))
        inside = before == after == 0 and len(within) < edits
        if (y == z).all() or not (inside or len(found[int(after - before)]) < edits):
            continue
        large, small = (log_noised(law, z, noise) - log_noised(law, y, noise) for noise in few)
        if len(slopes := found[int(after - before)]) < edits:
            slopes.append((small - large) / np.log(few[1] / few[0]))
        if inside:
            none = log_noised(law, z, 0) - log_noised(law, y, 0)
            within.append((large - none, small - none))
    for further in found:
        yield Slopes(further, np.array(found[further]))
    for small, errors in zip(few, np.transpose(within), strict=True):
        yield Odds(small, errors)


def hidden(kind: str, strings: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return which tokens are hidden from a network at all of its positions, and which it is scored on.

    One for the next token has nothing to read before the first, and is scored up to the end. The other sees each token
    with a chance that is drawn by string, and is scored on all others: a choice that knew the string would tell.
    """
    if kind == "masked":
        masked = rng.random(strings.shape) < rng.random((len(strings), 1))
        return masked, masked
    first = np.arange(strings.shape[1]) == np.zeros((len(strings), 1))
    return first, first | (np.roll(strings, 1, axis=1) != TOKENS.index("$"))


def exam(kind: str, law: Weighted, strings: int, seed: int = 2) -> Callable[[Network], Figures]:
    """Return what measures a network against the exact distributions of tokens of strings drawn for that."""
    rng = np.random.default_rng(seed)
    tokens, exact = drawn(law, rng, strings)
    masked, scored = hidden(kind, tokens, rng)
    if kind == "masked":
        for row, seen, at in zip(exact, tokens, masked, strict=True):
            row[at] = law.masked(seen, at)
    read = torch.from_numpy(tokens), torch.from_numpy(masked)

    def measured(network: Network) -> Figures:
        with torch.no_grad():
            return figures(network(*read).double().numpy()[scored], exact[scored])

    return measured


def learn(kind: str, seed: int, steps: int, law: Weighted) -> Iterator[Learned | Compressed]:
    """Train a network, with figures on the way; then those of its compressed copies."""
    measured, rng = exam(kind, law, TESTED), np.random.default_rng([seed, 3])
    strings, _ = drawn(law, rng, DRAWN)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        tokens = strings[rng.integers(len(strings), size=BATCH)]
        masked, scored = hidden(kind, tokens, rng)
        return torch.from_numpy(tokens), torch.from_numpy(masked), torch.from_numpy(scored)

    torch.manual_seed(seed)
    network = Network(len(TOKENS), LENGTH, causal=kind == "next")
    for step in train(network, batch, steps):
        yield Learned(kind, seed, step, measured(network))
    for change, made in CHANGES.items():
        yield Compressed(kind, seed, change, measured(made(network)))


def reached(curve: Sequence[Learned], name: str, share: float) -> int | None:
    """Return the first step looked at from which on a figure has lost this share of its value before training."""
    values = np.array([getattr(point.figures, name) for point in curve])
    above = np.flatnonzero(values > (1 - share) * values[0])
    return curve[above[-1] + 1].step if above[-1] + 1 < len(curve) else None


def spread(values: Sequence[float], share: bool = False) -> str:
    """Write the median, and in brackets the least and the largest value."""
    median, low, high = (
        f"{v:.4f}" if share else common.digits(v) if v >= 1e-3 else f"{v:.2e}"
        for v in (np.median(values), min(values), max(values))
    )
    return f"{median} [{low}–{high}]"


def rows(found: Sequence[Learned] | Sequence[Compressed], key: str) -> str:
    """Return a table of figures by step or change, over seeds."""
    groups: dict[str, list[tuple[float, ...]]] = {}
    for measurement in found:
        groups.setdefault(str(getattr(measurement, key)), []).append(astuple(measurement.figures))
    header = (key, "support", "frequency", "off support", "AUC", "rank")
    lines = [
        (name, *(spread(column, at > 2) for at, column in enumerate(zip(*group, strict=True))))
        for name, group in groups.items()
    ]
    return common.table(header, lines)


def speeds(curves: Mapping[str, Sequence[Sequence[Learned]]]) -> str:
    """Return the table of the steps after which figures are small."""
    lines = []
    for kind, runs in curves.items():
        for name in ("support", "frequency"):
            ends = [[getattr(run[at].figures, name) for run in runs] for at in (0, -1)]
            steps = [[reached(run, name, share) for run in runs] for share in (0.5, 0.9, 0.99)]
            said = [", ".join("never" if s is None else str(s) for s in found) for found in steps]
            lines.append((KINDS[kind], name, *map(spread, ends), *said))
    return common.table(("trained on", "nats", "before", "in the end", "half", "a tenth", "a hundredth"), lines)


def report(
    found: Sequence[Slopes | Odds | Learned | Compressed], machine: Mapping[str, object], options: argparse.Namespace
) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    learned = {kind: [m for m in found if isinstance(m, Learned) and m.kind == kind] for kind in KINDS}
    copies = {kind: [m for m in found if isinstance(m, Compressed) and m.kind == kind] for kind in KINDS}
    runs = {
        kind: [[m for m in measured if m.seed == seed] for seed in range(options.repeats)]
        for kind, measured in learned.items()
    }
    curves = {kind: rows([m for m in measured if m.step], "step") for kind, measured in learned.items()}
    slopes = [
        (DIRECTIONS[m.further], str(len(m.slopes)), f"{m.further}", f"{np.abs(m.slopes - m.further).max():.1e}")
        for m in found
        if isinstance(m, Slopes)
    ]
    odds = [(f"{m.noise:g}", str(len(m.errors)), f"{np.abs(m.errors).max():.1e}") for m in found if isinstance(m, Odds)]
    return f"""# Support before frequency

Müller, Gonon, Shen, Hsieh, He, *Support Before Frequency in Discrete Diffusion* (arXiv 2605.13999): what a model of
strings learns has two parts, the support, which strings there are, and frequencies within it; noise separates the two
by orders of magnitude. Both are measured exactly here, on a regular language whose distributions are known.
[Theory](../../docs/theory.md#support-before-frequency) has the definitions.

The language: items `<a012>`, `[x,y]` and `{{p=01}}`, separated by `;`, a full stop behind the last, with random
weights: {len(STATES)} states, {len(TOKENS) - 1} tokens, and one that ends a string and fills it up to {LENGTH}.
The networks: transformers of two blocks of width 64, {options.steps} steps of {BATCH} strings, {options.repeats} seeds.

- *support* is −log q(S), S being the tokens that the language allows at a position, and *frequency* KL(p‖q(·|S)), both
  in nats a token: they add up to KL(p‖q);
- *off support* is the mass 1 − q(S), *AUC* that of telling S from other tokens by q, *rank* the share of pairs of
  tokens of S that q has in p's order.

Figures are means over the positions of {TESTED} strings that are not trained on: medians [least–largest] of seeds.

Machine: {facts}.

## Noise
Each token is replaced with probability ε by a uniform one; y → z edits one token, in strings of 12. Slopes of
log p_ε(z)/p_ε(y) in log ε, between ε = 10⁻⁴ and 10⁻⁶.

{common.table(("edit", "edits", "slope in theory", "worst deviation"), slopes)}

Within the support, the difference of log p_ε(z)/p_ε(y) from log p(z)/p(y):

{common.table(("ε", "edits", "worst difference"), odds)}

## Learning the next token
{curves["next"]}

## Learning masked tokens
Each token of a string is masked with a chance drawn from [0, 1] for the string: absorbing noise of all strengths. p is
the distribution of a masked token given all tokens that are seen.

{curves["masked"]}

## What comes first
Steps, by seed, from which on no more than half, a tenth and a hundredth of the nats before training are left.

{speeds(runs)}

## Compressed: the next token
Copies whose matrices are rounded, one scale a row, or have lost their smallest weights; nothing is trained after that.

{rows(copies["next"], "change")}

## Compressed: masked tokens
{rows(copies["masked"], "change")}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS[-1], help="steps of training")
    options = common.parse(parser, RESULTS, repeats=3, quick=1)
    if options.quick:
        options.steps = 128
    torch.set_num_threads(1)
    machine, law = common.machine(), language()
    found: list[Slopes | Odds | Learned | Compressed] = list(noise())
    for kind in KINDS:
        for seed in range(options.repeats):
            found.extend(learn(kind, seed, options.steps, law))
    text = report(found, machine, options)
    if options.output:
        common.save(options.output, text, machine, found)
    print(text)


if __name__ == "__main__":
    main()
