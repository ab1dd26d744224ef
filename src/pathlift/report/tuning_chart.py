"""A chart of a tuning: the front of error and ratio with what was verified, and the choice of each layer as a strip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathlift.report.row_chart import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pathlift.report.page import Page

_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"
_NAMED = 40
"""Layers beyond which names would not be read."""


def draw_tuning(payload: Mapping[str, Any], name: str) -> Page:
    """Draw the front and the strip.

    Parameters
    ----------
    payload
        The result's JSON.
    name
        What to call the network.
    """
    from pathlift.report.page import Page, styled

    with styled({"axes.spines.top": False}):
        choice = (payload["best"] or {"choice": []})["choice"]
        figure = Page(figsize=(7.2, 3.4 + (0.8 if choice else 0)), layout="constrained")
        ratios = [1, 0.35] if choice else [1]
        axes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        _front(axes[0], payload, name)
        if choice:
            _strip(axes[1], payload, choice)
    return figure


def _front(axes: Axes, payload: Mapping[str, Any], name: str) -> None:
    tried = [t for t in payload["tried"] if t["ratio"] is not None]
    for within, colour, label in ((True, _BLUE, "verified"), (False, "#999999", "verified, beyond the limit")):
        own = [t for t in tried if t["within"] is within]
        if own:
            spread = [[t["ratio"] - t["ci"][0] for t in own], [t["ci"][1] - t["ratio"] for t in own]]
            axes.errorbar(
                [100 * t["error"] for t in own], [t["ratio"] for t in own], spread, fmt="o", color=colour,
                markersize=3, linewidth=0.8, label=label,
            )  # fmt: skip
    predicted = [p for p in payload["front"] if not p["verified"]]
    if predicted:
        axes.plot(
            [100 * p["error"] for p in predicted], [p["ratio"] for p in predicted], ":", color="black", linewidth=0.8,
            label="predicted front",
        )  # fmt: skip
    for (label, found), marker in zip(payload["baselines"].items(), "s^D", strict=False):
        if found is not None and found["ratio"] is not None:
            axes.plot(
                [100 * found["error"]], [found["ratio"]], marker, color=_ORANGE, markersize=5,
                label=label.replace("_", " "),
            )  # fmt: skip
    best = payload["best"]
    if best is not None:
        axes.plot([100 * best["error"]], [best["ratio"]], "*", color=_GREEN, markersize=9, label="best, measured again")
    axes.axvline(100 * payload["limit"], color="black", linewidth=0.8, linestyle="--")
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlabel("outputs off by [%], on held-out data; dashed: the limit")
    axes.set_ylabel(f"{payload['objective']} over dense")
    axes.legend(frameon=False, fontsize=6)
    axes.set_title(shown(name), loc="left", parse_math=False)


def _strip(axes: Axes, payload: Mapping[str, Any], choice: list[Mapping[str, Any]]) -> None:
    """One cell per layer, as dark as it has operations left."""
    for i, row in enumerate(choice):
        left = row["flops_ratio"]
        axes.bar(i, 1, width=0.95, color=str(1 - 0.7 * left) if row["patterns"] else "black")
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(-0.6, len(choice) - 0.4)
    named = len(choice) <= _NAMED
    axes.set_xticks(range(len(choice)) if named else [])
    if named:
        names = [shown(row["node"]) for row in choice]
        axes.set_xticklabels(names, rotation=90, fontsize=6, parse_math=False)
    axes.set_title("layers: black stay dense, others by operations left", loc="left", fontsize=7)
