"""A tuning as JSON has it, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from pathlift.models.sketches.fitting import incomplete
from pathlift.models.sketches.reading import GraphSketch
from pathlift.models.tuning.candidates import Space
from pathlift.models.tuning.from_sketch import SAFETY
from pathlift.models.tuning.held_out import Parts
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.outcome import Aim, Outcome, Verified
from pathlift.models.tuning.trials import Trials


def told(space: Space, aim: Aim, outcome: Outcome, trials: Trials) -> dict[str, Any]:
    """Return all figures, in plain types.

    Parameters
    ----------
    space, aim, outcome
        What was looked at and for, and what was found.
    trials
        All measurements.
    """
    timed, dense, best = aim.objective == "latency", outcome.dense, outcome.best
    busy = [noise.wall_over_cpu for noise in trials.noises if noise.wall_over_cpu is not None]
    baselines = {name: outcome.baselines.get(name) for name in ("uniform", "random", "ks_fit")}
    return {
        "objective": aim.objective,
        "limit": aim.limit,
        "max_drop": aim.max_drop,
        "dense": {
            "latency_ms": None if dense is None else 1e3 * dense.seconds,
            "ci": None if dense is None else [1e3 * dense.low, 1e3 * dense.high],
            "accuracy": outcome.accuracy,
        },
        "best": None if best is None else {"choice": _rows(space, best.choice), **_figures(best, timed)},
        "tried": [{**_figures(v, timed), "within": v.within} for v in outcome.verified.values()],
        "front": _front(outcome, timed),
        "additive": {
            "rms": outcome.rms,
            "repeat_std": outcome.noise if timed else None,
            "signatures": len(space.groups),
            "measurements": len(trials.costs) + len(trials.qualities),
        },
        "search": {"method": outcome.method, "evaluations": len(outcome.verified), "resumed": trials.resumed},
        "baselines": {name: _baseline(outcome, c, timed) for name, c in baselines.items()},
        "noise": {
            "repeat_std": outcome.noise if timed else None,
            "wall_over_cpu": max(busy) if busy else None,
        },
        "skipped": [{"node": node, "reason": reason} for node, reason in space.skipped.items()],
    }


def assumed(
    space: Space, aim: Aim, parts: Parts | None, drawn: GraphSketch | None, feeds: Mapping[str, Any]
) -> Iterator[str]:
    """Say what errors and times are of, and what the sketch lacks."""
    if drawn is not None:
        yield from incomplete(drawn.sketch.complete, drawn.sketch.samples)
        left = [layer.label for layer in space.layers if layer.key not in drawn.layers]
        if left:
            yield f"the sketch is not of {', '.join(left)}: fits of these are to weights alone"
    if parts is None:
        yield f"errors are not measured: they are {SAFETY:g} times what the sketch says to the first order"
    elif drawn is not None:
        yield f"errors are of {parts.samples} samples: those of the sketch should be others"
    else:
        yield f"errors are of {parts.samples} samples that no fit has seen, and may be larger on others"
    if aim.objective == "latency":
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in feeds.items())
        yield f"times are of this machine, for inputs {shapes} from a normal distribution"


def _rows(space: Space, choice: Choice) -> list[dict[str, Any]]:
    found = []
    for layer, options, number in zip(space.layers, space.options, choice, strict=True):
        rows, cols = layer.weight().shape
        patterns = options[number].patterns
        left = sum(p.size for p in patterns) / (rows * cols) if patterns else 1.0
        found.append({
            "node": layer.label, "patterns": [list(p) for p in patterns] or None, "rows": rows, "cols": cols,
            "flops_ratio": left,
        })  # fmt: skip
    return found


def _figures(v: Verified, timed: bool) -> dict[str, Any]:
    ratio = None if v.cost is None else v.cost.ratio
    return {
        "ratio": ratio,
        "latency_ratio": ratio if timed else None,
        "ci": None if v.cost is None else [v.cost.low, v.cost.high],
        "predicted_ratio": v.predicted_ratio,
        "error": _finite(v.quality.error),
        "predicted_error": _finite(v.predicted_error),
        "accuracy": v.quality.accuracy,
    }


def _front(outcome: Outcome, timed: bool) -> list[dict[str, Any]]:
    """Verified choices that no other verified one beats, and what is predicted for several limits."""
    found = [
        (v.cost.ratio, v.quality.error, True)
        for v in outcome.verified.values()
        if v.cost is not None and isfinite(v.quality.error)
    ]
    points = [
        p for p in found if not any(q[0] <= p[0] and q[1] <= p[1] and q[:2] != p[:2] for q in found)
    ]  # fmt: skip
    points += [(ratio, error, False) for ratio, error in outcome.predicted]
    return [
        {"ratio": r, "latency_ratio": r if timed else None, "error": e, "verified": verified}
        for r, e, verified in sorted(dict.fromkeys(points), key=lambda p: (not p[2], p[1]))
    ]


def _baseline(outcome: Outcome, choice: Choice | None, timed: bool) -> Mapping[str, Any] | None:
    v = None if choice is None else outcome.finalists.get(choice, outcome.verified.get(choice))
    if v is None:
        return None
    figures = _figures(v, timed)
    return {**{key: figures[key] for key in ("ratio", "latency_ratio", "ci", "error")}, "within": v.within}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
