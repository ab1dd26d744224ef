"""Figures of an audit: means and intervals of each file and of changes, what is worst, and the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pathlift.ir.types import Array
from pathlift.models.language.audit import Audit, Scored
from pathlift.models.language.change import Bootstrap, beyond, difference, mean, share, verdict
from pathlift.report.language_chart import Heat

LIMITS = {"support": 0.01, "frequency": 0.02}
"""Nats a token above which the verdict calls a part damaged, where no limit is given."""
LEAST_CHOICES = 100
DRAWS = 1000
_TOKENS, _FAINT = 24, 1e-6


def figures(audit: Audit, limits: Mapping[str, float], seed: int) -> dict[str, Any]:
    """Return the JSON object of an audit.

    Parameters
    ----------
    audit
        The scores.
    limits
        Nats a token, of ``support`` and ``frequency``, where they are given.
    seed
        Of the bootstrap.
    """
    questions, first = audit.questions, audit.files[0].scores
    automaton, strings = questions.support.automaton, questions.strings
    draws = Bootstrap(first.rows, DRAWS, seed)
    files = [_file(scored, audit, draws) for scored in audit.files]
    change = []
    for scored, shown in zip(audit.files[1:], files[1:], strict=True):
        deltas = {
            "support": difference(scored.scores.plain.support, first.plain.support),
            "frequency": difference(frequency(scored), frequency(audit.files[0])),
        }
        support, inside = (mean(values) for values in deltas.values())
        intervals = {f"{key}_ci": _ends(draws.interval(values)) for key, values in deltas.items()}
        change.append(
            {"path": shown["path"], "support": support, "frequency": inside, **intervals}
            | {"share_support": share(support, inside)}
            | {"infinite": {key: int(np.isposinf(values).sum()) for key, values in deltas.items()}}
        )
    judged = change or [
        files[0] if audit.known else {**files[0], "frequency": 0.0, "frequency_ci": [0.0, 0.0]}
    ]  # not judged
    damaged = [
        any(beyond(row[f"{key}_ci"], row[key], limits.get(key, usual), row["infinite"][key]) for row in judged)
        for key, usual in LIMITS.items()
    ]
    choices = first.choices > 1
    return {
        "kind": "next" if questions.hidden is None else "masked",
        "automaton": {
            "states": automaton.states,
            "tokens": automaton.tokens,
            "forced": float(1 - choices.mean()),
            "length": questions.support.length,
        },
        "strings": len(set(first.rows.tolist())),
        "skipped": strings.skipped,
        "positions": len(first.rows),
        "choices": int(choices.sum()),
        "weights": audit.known,
        "files": files,
        "change": change,
        "verdict": verdict(*damaged),
        "limits": {key: limits.get(key) for key in LIMITS},
        "worst": _worst(audit),
    }


def frequency(scored: Scored) -> Array:
    """Return what is lost inside the language at each place: KL(p‖q(·|S)) where p is known, else −log q(x|S)."""
    plain = scored.scores.plain
    return plain.inside if plain.divergence is None else plain.divergence


def _file(scored: Scored, audit: Audit, draws: Any) -> dict[str, Any]:
    scores, inside = scored.scores, frequency(scored)
    plain = scores.plain
    cooled = None
    if scores.temperature is not None and scores.cooled is not None and not np.isin(scores.rows, scores.fitted).all():
        rest = ~np.isin(scores.rows, scores.fitted)
        lost = scores.cooled.inside if scores.cooled.divergence is None else scores.cooled.divergence
        cooled = {"T": scores.temperature, "support": mean(scores.cooled.support[rest]), "frequency": mean(lost[rest])}
    valid = scores.valid
    auc, rank = (None if x is None or np.isnan(x).all() else float(np.nanmean(x)) for x in (scores.auc, scores.rank))
    return {
        "path": scored.source.path,
        **scored.cost.to_json(),
        "accuracy": float(scores.right.mean()),
        "support": mean(plain.support),
        "support_ci": _ends(draws.interval(plain.support)),
        "frequency": mean(inside),
        "frequency_ci": _ends(draws.interval(inside)),
        "kl": None if plain.divergence is None else mean(plain.support + plain.divergence),
        "nll": mean(plain.support + plain.inside),
        "off_support": {"mean": float(plain.off.mean()), "p95": float(np.quantile(plain.off, 0.95))},
        "infinite": {"support": int(np.isinf(plain.support).sum()), "frequency": int(np.isinf(inside).sum())},
        "auc": auc,
        "rank": rank,
        "valid": None
        if valid is None
        else {k: getattr(valid, k) for k in ("value", "se", "samples", "length", "unfinished")},
        "temperature": cooled,
        "by_state": list(_by_state(scored, audit)),
        "by_position": [
            {"position": int(i), "places": int(here.sum()), "off_support": float(plain.off[here].mean())}
            for i in np.unique(scores.positions)
            for here in [scores.positions == i]
        ],
    }


def _by_state(scored: Scored, audit: Audit) -> Iterator[dict[str, Any]]:
    scores, inside = scored.scores, frequency(scored)
    for state in np.unique(scores.states):
        here = np.flatnonzero(scores.states == state)
        example = here[np.argmin(scores.positions[here])]
        prefix = audit.questions.strings.string(scores.rows[example])[: scores.positions[example]]
        yield {
            "state": int(state),
            "prefix": audit.vocabulary.text(prefix.tolist()),
            "places": len(here),
            "support": mean(scores.plain.support[here]),
            "frequency": mean(inside[here]),
            "off_support": float(scores.plain.off[here].mean()),
        }


def _worst(audit: Audit) -> list[dict[str, Any]]:
    """The likeliest tokens of all files that lead out of the language."""
    eos = audit.questions.support.automaton.eos
    found = [
        {
            "path": scored.source.path,
            "prefix": audit.vocabulary.text(slip.prefix),
            "token": "<eos>" if slip.token == eos else audit.vocabulary.shown(slip.token),
            "id": slip.token,
            "q": slip.q,
            "string": slip.row,
            "position": slip.position,
        }
        for scored in audit.files
        for slip in scored.scores.slips
    ]
    return sorted(found, key=lambda slip: -float(str(slip["q"])))[:10]


def _ends(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def exit_code(payload: Mapping[str, Any], limits: Mapping[str, float]) -> int:
    """Return 0 within the limits, 1 beyond one, 5 if an interval covers one or too few positions have a choice."""
    if payload["choices"] < LEAST_CHOICES:
        return 5
    rows = payload["change"] or payload["files"]
    judged = [
        beyond(row[f"{key}_ci"], row[key], limit, row["infinite"][key]) for key, limit in limits.items() for row in rows
    ]
    return 1 if True in judged else 5 if None in judged else 0


def heat(audit: Audit) -> Heat:
    """Return how the last file's mean log q differs from the first's, by state and token; of one file, log q itself.

    Tokens are those that differ most, or are likeliest; what is below 1e-6 counts as that.
    """
    states, last = audit.files[-1].scores.shown
    _, first = audit.files[0].scores.shown
    several = len(audit.files) > 1
    automaton, floor = audit.questions.support.automaton, np.log(_FAINT)
    if not len(states):
        return Heat((), (), np.zeros((0, 0)), np.zeros((0, 0), bool), several)
    values = np.maximum(last, floor) - (np.maximum(first, floor) if several else 0.0)
    heights = np.abs(values).max(0) if several else values.max(0)
    some = np.maximum(last.max(0), first.max(0)) > floor
    tokens = np.sort(np.argsort(-np.where(some, heights, -np.inf), kind="stable")[: min(_TOKENS, int(some.sum()))])
    labels = ("<eos>" if t == automaton.eos else audit.vocabulary.shown(int(t)) for t in tokens)
    out = automaton.table[np.ix_(states, tokens)] == automaton.dead
    return Heat(tuple(map(int, states)), tuple(labels), values[:, tokens], out, several)
