"""Token models on data of a regular language, as a result: what left it, what is distorted inside, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.report.costs import LESS, columns
from pathlift.report.result import Result
from pathlift.report.tables import Payload, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.language_chart import Heat
    from pathlift.report.page import Page

_WORDS = {
    "support": "probability left the language",
    "frequency": "frequencies inside the language are distorted",
    "both": "probability left the language, and frequencies inside are distorted",
    "none": "neither part is surely beyond its limit",
}


@dataclass(frozen=True, kw_only=True)
class AuditLanguageResult(Result):
    """The split of token models' losses.

    Parameters
    ----------
    figures
        The JSON object.
    heat
        What models say, by state and token.
    """

    figures: dict[str, Any]
    heat: Heat

    ROWS = ("files",)

    def to_json(self) -> dict[str, Any]:
        return self.figures

    def headline(self) -> str:
        return f"verdict: {self.figures['verdict']}"

    def chart(self) -> Page | None:
        from pathlift.report.language_chart import draw_language

        return draw_language(self.figures, self.heat)


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per file, what changed, and the worst prefixes."""
    known = payload["weights"] is not None
    inside = "frequency" if known else "−log q(x|S)"
    figures = ["support", inside, "off S", "AUC", *(["rank"] if known else []), "valid", "T*", "at T*"]
    cost = columns(payload["files"])
    if cost:
        cost = {"right": [percent(file["accuracy"]) for file in payload["files"]], **cost}
    rows = [
        [
            Path(file["path"] or "-").name,
            _nats(file["support"]),
            _nats(file["frequency"]),
            _nats(file["off_support"]["mean"]),
            _nats(file["auc"]),
            *([_nats(file["rank"])] if known else []),
            "–" if file["valid"] is None else f"{file['valid']['value']:.3f}±{file['valid']['se']:.3f}",
            "–" if file["temperature"] is None else f"{file['temperature']['T']:.2f}",
            _cooled(file["temperature"]),
            *(cells[i] for cells in cost.values()),
        ]
        for i, file in enumerate(payload["files"])
    ]
    less = [
        *(key for key in (*LESS, "right") if key in cost),
        "AUC",
        *(["rank"] if known else []),
        "at T*",
        "off S",
        "T*",
    ]
    yield table(["file", *figures, *cost], rows, right=[*figures, *cost], less=less)
    for row in payload["change"]:
        parts = [f"{key} {_change(row, key)} {_interval(row[f'{key}_ci'])}" for key in ("support", "frequency")]
        share = "" if row["share_support"] is None else f"; {100 * row['share_support']:.0f} % is support"
        yield f"{Path(row['path'] or '-').name}: {', '.join(parts)} nats a token{share}"
    unjudged = "" if payload["change"] or known else "; frequency is not judged without weights"
    yield f"verdict: {payload['verdict']}: {_WORDS[payload['verdict']]}{unjudged}"
    machine = payload["automaton"]
    forced = f"{100 * machine['forced']:.0f} % of them forced"
    skipped = f", {payload['skipped']} strings skipped" if payload["skipped"] else ""
    where = f"{payload['positions']} positions of {payload['strings']} strings"
    yield f"{where}, {forced}; {machine['states']} states{skipped}"
    for slip in payload["worst"][:3]:
        said = f"{slip['token']!r}, q = {slip['q']:.3g} ({Path(slip['path'] or '-').name})"
        yield f"after {slip['prefix'][-40:]!r}: {said}"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _change(row: Payload, key: str) -> str:
    if row[key] is None:
        return "unbounded" if row["infinite"][key] else "no longer unbounded"
    return f"{row[key]:+.4f}".replace("-", "−")


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"[{ends[0]:+.4f}, {ends[1]:+.4f}]".replace("-", "−")


def _cooled(cooled: dict[str, Any] | None) -> str:
    return "–" if cooled is None else f"{_nats(cooled['support'])} + {_nats(cooled['frequency'])}"
