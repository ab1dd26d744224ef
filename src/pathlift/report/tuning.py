"""Results of a tuning: the choice per layer, what it was measured to bring, and what else was tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.report.result import Result
from pathlift.report.tables import Payload, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.ir.graph import Graph
    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class TuneResult(Result):
    """The fastest choice of layers, and how it was found.

    Parameters
    ----------
    graph
        With the best choice; the dense one where that is none.
    found
        All figures, as JSON has them.
    """

    graph: Graph
    found: Mapping[str, Any]

    ROWS = ("choice",)

    def to_json(self) -> dict[str, Any]:
        return dict(self.found)

    def headline(self) -> str:
        best = self.found["best"]
        if self.exit_code == 5:
            return "undecided whether anything is better within the limit"
        return "nothing is better within the limit" if best is None or self.exit_code else _gain(self.found)

    def records(self) -> list[dict[str, Any]]:
        best = self.found["best"]
        return [] if best is None else [{**row, "patterns": spelled(row["patterns"])} for row in best["choice"]]

    def chart(self) -> Page | None:
        from pathlift.report.tuning_chart import draw_tuning

        if not self.found["tried"]:
            return None
        return draw_tuning(self.found, Path(self.input.path or "the network").name)


def spelled(patterns: Sequence[Sequence[int]] | None) -> str:
    """Write the patterns of a layer; one that has none stays dense."""
    return "".join(f"({','.join(map(str, p))})" for p in patterns) if patterns else "stays dense"


def _gain(payload: Mapping[str, Any]) -> str:
    best, what = payload["best"], payload["objective"]
    said = f"{what} {percent(best['ratio'])} of dense"
    low, high = best["ci"]
    return f"{said} ({percent(low)} to {percent(high)})" if what == "latency" else said


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield what became of each layer, and what was measured."""
    best, limit = payload["best"], percent(payload["limit"], ".3g")
    if best is not None:
        rows = [[row["node"], spelled(row["patterns"])] for row in best["choice"]]
        yield table(["layer", "becomes"], rows)
    for skipped in payload["skipped"]:
        yield f"{skipped['node']} stays dense: {skipped['reason']}"
    if best is None:
        yield f"no choice that was verified is within {limit} and better than the dense file"
    else:
        yield f"{_gain(payload)}; predicted {percent(best['predicted_ratio'])}"
        if best["ci"][1] >= 1:
            yield "which is not better than the dense file for sure: it is not written"
        predicted = percent(best["predicted_error"], ".3g")
        yield f"outputs off by {percent(best['error'], '.3g')}, limit {limit}; predicted {predicted}"
    if best is not None and best["accuracy"] is not None:
        yield f"accuracy {percent(best['accuracy'], '.2f')}, dense {percent(payload['dense']['accuracy'], '.2f')}"
    for name, other in payload["baselines"].items():
        yield f"{name.replace('_', ' ')}: {_baseline(other)}"
    search, noise = payload["search"], payload["noise"]
    yield f"{search['evaluations']} choices verified; search {search['method']}"
    if noise["repeat_std"] is not None:
        busy = f", wall over processor time {noise['wall_over_cpu']:.2f}" if noise["wall_over_cpu"] else ""
        yield f"noise: the dense file differs from itself by {percent(noise['repeat_std'], '.2g')}{busy}"
    yield from (f"wrote {payload[what]}" for what in ("output", "chart", "log") if payload.get(what))


def _baseline(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "stays dense"
    ratio = "not measured, since it is not within the limit" if found["ratio"] is None else percent(found["ratio"])
    over = "" if found["within"] or found["ratio"] is None else ", which is not within the limit"
    return f"{ratio}, off by {percent(found['error'], '.3g', '∞')}{over}"
