"""Audits of privacy as a result: what attacks find in each file, and the difference of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pathlift.report.audited import Comparison, FileAudit, Group, Reference, VerdictName
from pathlift.report.costs import LESS, columns
from pathlift.report.result import Result
from pathlift.report.tables import Payload, percent, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class PrivacyResult(Result):
    """What membership inference finds in files, and in which of two it finds more.

    Parameters
    ----------
    files
        All of them.
    attack
        The one whose AUC is compared: ``rmia`` where there are references, else ``loss``.
    comparisons
        Of each other file, or of the group after, with the first.
    groups
        Files before and after, where there are several.
    verdict, reason
        Of the one comparison; of a single file or of many only what speaks against any.
    references
        Tested as attackers.
    samples
        Distinct ones, by set.
    chart_file, scores_file
        What was written.
    """

    files: Sequence[FileAudit]
    attack: Literal["loss", "rmia"]
    comparisons: Sequence[Comparison]
    groups: dict[str, Group] | None
    verdict: VerdictName | None
    reason: str | None
    references: Sequence[Reference]
    samples: dict[str, int]
    chart_file: str | None = None
    scores_file: str | None = None

    ROWS = ("files",)

    def to_json(self) -> dict[str, Any]:
        single = self.comparisons[0] if len(self.comparisons) == 1 else None
        trained_on = "neither set more than the other, as far as their own attacks tell" if self.references else None
        return {
            "files": [file.to_json() for file in self.files],
            "attack": self.attack,
            "difference": single and single.difference.to_json(),
            "verdict": self.verdict,
            "reason": self.reason,
            "needed_nonmembers": single and single.needed,
            "comparisons": [{"path": c.path, **c.to_json()} for c in self.comparisons],
            "groups": self.groups and {name: group.to_json() for name, group in self.groups.items()},
            "references": {
                "count": len(self.references),
                "trained_on": trained_on,
                "files": [{"path": r.path, "auc": r.auc, "ci": list(r.interval)} for r in self.references],
            },
            "samples": self.samples,
            "lower_bound": True,
            "scores": self.scores_file,
            "chart": self.chart_file,
        }

    def headline(self) -> str:
        file = self.files[-1]
        found = file.attacks[self.attack]
        assert found is not None
        return f"AUC {found.auc:.3f}" + (f", {self.verdict.replace('_', ' ')}" if self.verdict else "")

    def chart(self) -> Page | None:
        from pathlift.report.privacy_chart import draw_privacy

        return draw_privacy(self.files, self.attack)


_NAMES = {"loss": "loss", "rmia": "RMIA", "ratio": "ratio to references"}


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield accuracies and what attacks find, a row per file and attack; then the difference and the verdict."""
    yield from _files(payload)
    yield from _references(payload["references"])
    for name, group in (payload["groups"] or {}).items():
        spread = {
            key: "" if group[key]["std"] is None else f" ± {group[key]['std']:.3f}" for key in ("auc", "accuracy")
        }
        yield (
            f"{name}: {group['files']} files, AUC {group['auc']['mean']:.3f}{spread['auc']}, "
            f"test accuracy {group['accuracy']['mean']:.3f}{spread['accuracy']}"
        )
    if len(payload["comparisons"]) > 1:
        yield from _compared(payload["comparisons"])
    if found := payload["difference"]:
        yield (
            f"difference: AUC {_signed(found['auc'])} {_interval(found['ci'], _signed)}, test accuracy "
            f"{_signed(found['accuracy'])} {_interval(found['accuracy_ci'], _signed)}"
        )
    if payload["verdict"]:
        yield f"{payload['verdict'].replace('_', ' ')}: {payload['reason']}"
    yield "what attacks find is a lower bound of what a file tells; nothing here is differential privacy"
    for what in ("scores", "chart"):
        if payload[what]:
            yield f"written to {payload[what]}"


def _files(payload: Payload) -> Iterator[RenderableType]:
    files = payload["files"]
    figures = {key: [percent(f["accuracy"][key]) for f in files] for key in ("train", "test", "gap")}
    if cost := columns(files):
        figures |= {"AUC": [f"{f['attacks'][payload['attack']]['auc']:.3f}" for f in files], **cost}
    named = [[Path(f["path"]).name, *row] for f, row in zip(files, zip(*figures.values(), strict=True), strict=True)]
    yield table(["file", *figures], named, right=list(figures), less=[key for key in (*LESS, "AUC") if key in figures])
    yield ""
    rows = [
        [
            Path(file["path"]).name,
            _NAMES[name] + (" *" if name == payload["attack"] else ""),
            f"{found['auc']:.3f}",
            _interval(found["ci"]),
            f"{found['balanced_accuracy']:.3f}",
            *("–" if t["value"] is None else percent(t["value"]) for t in found["tpr"].values()),
        ]
        for file in payload["files"]
        for name, found in file["attacks"].items()
        if found
    ]
    right = ["AUC", "95 %", "best", "at 1 %", "at 0.1 %"]
    yield table(["file", "attack", *right], rows, right=right, less=["best", "at 0.1 %", "at 1 %", "95 %"])
    counts = payload["samples"]
    yield f"{counts['members']} members, {counts['non-members']} non-members; * is the attack that is compared"
    yield "best: balanced accuracy at the best threshold, found on the same samples; at 1 %: members found at that rate"


def _references(references: Payload) -> Iterator[RenderableType]:
    if references["count"]:
        found = ", ".join(f"{r['auc']:.3f}" for r in references["files"][:8])
        yield f"{references['count']} references, AUC {found}: trained on {references['trained_on']}"


def _compared(comparisons: Sequence[Payload]) -> Iterator[RenderableType]:
    rows = [
        [
            Path(c["path"]).name,
            c["verdict"].replace("_", " "),
            _signed(c["difference"]["auc"]),
            _interval(c["difference"]["ci"], _signed),
            _signed(c["difference"]["accuracy"]),
        ]
        for c in comparisons
    ]
    yield ""
    right = ["AUC", "95 %", "test"]
    yield table(["with the first", "verdict", *right], rows, right=right, less=["95 %", "test"])


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(ends: Sequence[float], form: Any = "{:.3f}".format) -> str:
    return f"[{form(ends[0])}, {form(ends[1])}]"
