"""A chart of token models: bars of both parts, mass off the support, log q by state and token, and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pathlift.report.costs import Mark, draw_costs
from pathlift.report.row_chart import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pathlift.ir.types import Array
    from pathlift.report.page import Page

_SUPPORT, _FREQUENCY = "#d55e00", "#56b4e9"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")
_STYLES = ("-", "--", ":", "-.")
_FLOOR = 1e-9


class Heat(NamedTuple):
    """What models say, by state and token.

    Parameters
    ----------
    states, tokens
        Of the rows and columns.
    values
        ``(states, tokens)``: log q, or how it changed.
    out
        ``(states, tokens)``, bool: whether the token leads out of the language.
    change
        Whether values are changes.
    """

    states: tuple[int, ...]
    tokens: tuple[str, ...]
    values: Array
    out: Array
    change: bool


def draw_language(figures: dict[str, Any], heat: Heat) -> Page:
    """Draw three panels, and a fourth of several files.

    From the left: what each file loses a token, off the support and inside it, and beside it (paler) at the best
    temperature; the mass off the support at each position; how the last file's mean log q differs from the first's, by
    state and token (of a single file, log q itself), with a cross where a token leads out of the language; both parts
    together by the time of a batch, or by the size of the file where nothing was timed.

    Parameters
    ----------
    figures
        The result's JSON.
    heat
        Of the third panel.
    """
    from pathlift.report.page import Page, styled

    files = figures["files"]
    with styled({"axes.spines.top": False}):
        height = max(3.2, 0.55 * len(files) + 1.6)
        several = len(files) > 1
        page = Page(figsize=(14.7 if several else 11.5, height), layout="constrained")
        bars, places, third, *last = page.subplots(1, 3 + several, width_ratios=[1, 1, 1.4, *[1] * several])
        names = [shown(Path(file["path"] or f"model {i + 1}").name) for i, file in enumerate(files)]
        _bars(bars, files, names, figures["weights"] is not None)
        _positions(places, files, names)
        _heat(third, heat)
        for axes in last:
            _costs(axes, files, names, figures["weights"] is not None)
        bars.set_title(f"verdict: {figures['verdict']}", loc="left")
    return page


def _bars(axes: Axes, files: list[dict[str, Any]], names: list[str], known: bool) -> None:
    label = "KL inside" if known else "−log q(x|S)"
    top = 0.0
    for i, file in enumerate(files):
        for at, part, alpha in ((i - 0.2, file, 1.0), (i + 0.2, file["temperature"], 0.45)):
            if part is None:
                continue
            support, inside = part["support"] or 0.0, part["frequency"] or 0.0
            axes.barh(
                at,
                support,
                0.36,
                color=_SUPPORT,
                alpha=alpha,
                label="off the support" if i == 0 and part is file else None,
            )
            axes.barh(
                at,
                inside,
                0.36,
                left=support,
                color=_FREQUENCY,
                alpha=alpha,
                label=label if i == 0 and part is file else None,
            )
            said = "unbounded" if part["support"] is None else "" if part is file else f"T* = {part['T']:.2f}"
            axes.annotate(
                said, (support + inside, at), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7
            )
            top = max(top, support + inside)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.3 * top or 1)
    axes.set_xlabel("nats a token (paler: at the best temperature)")
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2)


def _positions(axes: Axes, files: list[dict[str, Any]], names: list[str]) -> None:
    least = 1.0
    for i, (file, name) in enumerate(zip(files, names, strict=True)):
        places, mass = zip(
            *((row["position"], max(row["off_support"], _FLOOR)) for row in file["by_position"]), strict=True
        )
        colour, style = _COLOURS[i % len(_COLOURS)], _STYLES[i // len(_COLOURS) % len(_STYLES)]
        label = name.replace("$", "＄")
        axes.plot(places, mass, color=colour, linestyle=style, linewidth=1, marker=".", label=label)
        least = min(least, *mass)
    axes.set(yscale="log", xlabel="position", ylabel="mass off the support", ylim=(least / 3, 2))
    axes.legend(frameon=False, fontsize=7)


def _costs(axes: Axes, files: list[dict[str, Any]], names: list[str], known: bool) -> None:
    """Both parts by costs; what is unbounded is named, not drawn."""
    parts = [(file["support"], file["frequency"]) for file in files]
    bounded = [i for i, pair in enumerate(parts) if None not in pair]
    if bounded:
        draw_costs(axes, [Mark(names[i], sum(parts[i])) for i in bounded], [files[i] for i in bounded])
    if len(bounded) < len(files):
        left = ", ".join(name for i, name in enumerate(names) if i not in bounded)
        axes.set_title(f"unbounded: {left}", loc="left", fontsize=7, parse_math=False)
    axes.set_ylabel(f"off the support + {'KL inside' if known else '−log q(x|S)'}")


def _heat(axes: Axes, heat: Heat) -> None:
    axes.grid(visible=False)
    if not heat.values.size:
        axes.set_axis_off()
        return
    top = float(np.abs(heat.values).max()) or 1.0
    scale: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if heat.change else {"cmap": "viridis"}
    drawn = axes.imshow(heat.values, aspect="auto", interpolation="nearest", **scale)
    rows, columns = np.nonzero(heat.out)
    axes.plot(columns, rows, "x", color="black", markersize=3, linewidth=0, markeredgewidth=0.6)
    texts = [shown(repr(token)[1:-1])[:12] for token in heat.tokens]
    axes.set_xticks(range(len(texts)), texts, rotation=90, fontsize=6, parse_math=False)
    axes.set_yticks(range(len(heat.states)), [str(state) for state in heat.states], fontsize=7)
    axes.set(xlabel="token (crossed: leads out of the language)", ylabel="state")
    axes.figure.colorbar(drawn, ax=axes, label="Δ log q, last file − first" if heat.change else "log q")
