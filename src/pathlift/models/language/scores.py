"""Scores of one file: its losses at all places, split, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.models.language.logits import TokenModel
from pathlift.models.language.places import Questions
from pathlift.models.language.ranks import pair_order, support_auc
from pathlift.models.language.split import Split, log_sum_exp, split
from pathlift.models.language.temperature import best_temperature
from pathlift.models.language.validity import Validity
from pathlift.models.language.worst import Slip, slips

FITTED = 4
"""Every so-many-th string is one that the temperature is fitted on."""
_FIT_ELEMENTS = 2**23
SHOWN_STATES = 12


@dataclass(frozen=True, eq=False)
class Scores:
    """A file's scores, at places in the order of strings and positions.

    Parameters
    ----------
    rows, positions, states, choices
        ``(places,)``: the string, the place in it, the automaton's state, and how many tokens may stand there.
    plain, cooled
        The split at temperature 1 and at the best one.
    auc, rank
        ``(places,)``: orders of logits; NaN where there are none, `rank` None where p is not known.
    temperature
        The best one; None where there are too few strings to fit it.
    right
        ``(places,)``, bool: whether the token that stands there has the largest logit; a tie is none.
    fitted
        The strings that it is fitted on.
    slips
        The worst prefixes.
    shown
        States with most places, and ``(states, tokens)``: the mean of log q there; of a token that is excluded
        somewhere, −∞.
    valid
        How often free samples are strings of the language; None if it was not asked for.
    """

    rows: Array
    positions: Array
    states: Array
    choices: Array
    plain: Split
    cooled: Split | None
    auc: Array
    rank: Array | None
    temperature: float | None
    right: Array
    fitted: Array
    slips: tuple[Slip, ...]
    shown: tuple[Array, Array]
    valid: Validity | None = field(default=None)


def score(
    model: TokenModel, questions: Questions, scored: Array, seed: int, told: Callable[[int, int], object] | None = None
) -> Scores:
    """Score a file.

    Parameters
    ----------
    model
        The file.
    questions
        What it is asked.
    scored
        Strings that are scored.
    seed
        Of what is drawn.
    told
        Called with how many strings were read, and how many there are.
    """
    fitted = scored[::FITTED]
    temperature = _fitted(model, questions, fitted) if len(scored) >= FITTED else None
    strings = questions.strings
    parts: list[tuple[Array, ...]] = []
    splits: list[tuple[Split, Split | None]] = []
    worst: list[Slip] = []
    sums: dict[int, Array] = {}
    visits: dict[int, int] = {}
    shown = _most_visited(questions, scored)
    for places in questions.of(model, scored):
        if not len(places.rows):
            continue
        z, allowed, p = places.logits, places.allowed, places.expected
        cooled = None if temperature is None else split(z, allowed, places.targets, p, temperature)
        splits.append((split(z, allowed, places.targets, p), cooled))
        rank = np.zeros(0) if p is None else pair_order(z, p, seed)
        right = (z >= z[np.arange(len(z)), places.targets, None]).sum(1) == 1
        here = (places.rows, places.positions, places.states, allowed.sum(1), support_auc(z, allowed), rank, right)
        parts.append(here)
        worst = slips(places, lambda row, at: tuple(map(int, strings.string(row)[:at])), worst)
        log_q = z - log_sum_exp(z)[:, None]
        for state in shown:
            visited = places.states == state
            sums[state] = sums.get(state, np.zeros(z.shape[1])) + log_q[visited].sum(0)
            visits[state] = visits.get(state, 0) + int(visited.sum())
        if told is not None:
            told(int(np.searchsorted(scored, places.rows[-1])) + 1, len(scored))
    if not parts:
        reason = "no string has a token that a model can be asked for"
        raise UsageError("1592", reason, hint="without --bos, the first token of each is not")
    rows, positions, states, choices, auc, rank, right = (np.concatenate(column) for column in zip(*parts, strict=True))
    known = questions.weighted is not None
    means = [sums[s] / max(visits[s], 1) for s in shown]
    return Scores(
        rows,
        positions,
        states,
        choices,
        _joined([a for a, _ in splits]),
        None if temperature is None else _joined([b for _, b in splits if b is not None]),
        auc,
        rank if known else None,
        temperature,
        right,
        fitted,
        tuple(worst),
        (np.array(shown, np.int64), np.array(means).reshape(len(shown), -1)),
    )


def _joined(parts: list[Split]) -> Split:
    divergence = None
    if parts[0].divergence is not None:
        divergence = np.concatenate([p.divergence for p in parts if p.divergence is not None])
    return Split(
        np.concatenate([p.support for p in parts]),
        np.concatenate([p.inside for p in parts]),
        divergence,
        np.concatenate([p.off for p in parts]),
    )


def _fitted(model: TokenModel, questions: Questions, rows: Array) -> float | None:
    """The best temperature for some strings; of many places, evenly chosen ones are enough."""
    logits, targets, expected, kept = [], [], [], 0
    size = questions.support.automaton.tokens
    for places in questions.of(model, rows):
        logits.append(places.logits)
        targets.append(places.targets)
        if places.expected is not None:
            expected.append(places.expected)
        kept += places.logits.size
        if kept >= max(_FIT_ELEMENTS, size):
            break
    if not kept:
        return None
    p = np.concatenate(expected) if expected else None
    return best_temperature(np.concatenate(logits), np.concatenate(targets), p)


def _most_visited(questions: Questions, scored: Array) -> list[int]:
    """The states that strings are in most often, where there is a choice."""
    support = questions.support
    counts = np.zeros(support.automaton.states + 1, np.int64)
    for row in scored:
        np.add.at(counts, support.automaton.walk(questions.strings.string(row))[:-1], 1)
    table = support.automaton.table
    order = [int(s) for s in np.argsort(-counts, kind="stable") if counts[s] and s != support.automaton.dead]
    chosen = [s for s in order[: 4 * SHOWN_STATES] if (table[s] != support.automaton.dead).sum() > 1]
    return sorted(chosen[:SHOWN_STATES])
