"""Charts with a row per layer: bars in one or two panels, names at the left, figures at the bars' ends."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.report.layout import elided

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pathlift.report.page import Page

SUFFIXES = (".svg", ".png", ".pdf")
_STYLE: dict[str, Any] = {"axes.grid.axis": "x", "ytick.major.size": 0}
_RAISES, _LOWERS = "#0072b2", "#d55e00"
_NAME_LENGTH = 60
# In inches. Rows are of one height until the page is full; then they shrink, and their text with them.
_PANEL, _GAP, _ROW, _PAGE = 3.0, 0.4, 0.18, 100.0
_TEXT = 7.5  # points
_TALL = 40  # rows; the axes' figures then stand at the top too


@dataclass(frozen=True)
class Panel:
    """Bars from 0, one per row.

    Parameters
    ----------
    label
        Of the axis.
    figures
        ``None`` where there is none, which is drawn as a dash; so is infinity.
    form
        How they are written at the bars' ends.
    limits
        Of the axis; those of the bars by default.
    intervals
        Low and high ends, drawn across the bars' ends.
    line
        Where to draw a vertical line.
    log
        Whether the axis is logarithmic; bars then start at its left end.
    """

    label: str
    figures: Sequence[float | None]
    form: str | Callable[[float], str] = "{:.3g}"
    limits: tuple[float, float] | None = None
    intervals: Sequence[tuple[float, float]] | None = None
    line: float | None = None
    log: bool = False

    def draw(self, axes: Axes, size: float) -> None:
        """Draw bars with their figures at their ends, in `size` points."""
        finite = [x if x is not None and isfinite(x) and (x > 0 or not self.log) else None for x in self.figures]
        lengths = [x or 0.0 for x in finite]
        ends = [high for _, high in self.intervals or ()]
        shown = [*lengths, *ends, *([self.line] if self.line is not None else [])]
        if self.log and any(x > 0 for x in shown):
            axes.set_xscale("log")
            known = [x for x in shown if x > 0]
            low, high = self.limits or (min(known) / 2, max(known) * (max(known) / min(known)) ** 0.25 * 1.5)
        else:
            low, high = self.limits or limits(shown)
            axes.locator_params(axis="x", nbins=5)
        colours = [_LOWERS if x < 0 else _RAISES for x in lengths]
        drawn = axes.barh(range(len(lengths)), lengths, height=0.75, color=colours)
        if self.intervals:
            for row, (start, end) in enumerate(self.intervals):
                axes.plot([start, end], [row, row], color="black", linewidth=1, marker="|", markersize=4)
        form = self.form.format if isinstance(self.form, str) else self.form
        labels = ["–" if x is None else form(x).replace("-", "−") for x in finite]
        texts = axes.bar_label(drawn, labels, padding=2, fontsize=size)
        for text, end in zip(texts, ends, strict=False):  # past the interval
            text.xy = (max(text.xy[0], end), text.xy[1])
        if self.line is not None:
            axes.axvline(self.line, color="black", linewidth=0.8, linestyle="-" if self.line == 0 else "--")
        axes.set_xlim(low, high)
        axes.set_xlabel(self.label)


def check_chart(path: str) -> None:
    """Check that a chart can be drawn into a file of this name.

    Raises
    ------
    UsageError
        If its suffix is not one of .svg, .png, .pdf, or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError("0446", f"a chart cannot be written to {path!r}", hint="a name in .svg, .png or .pdf")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("0447", "drawing a chart needs matplotlib", hint="pip install 'pathlift[plot]'")


def row_chart(names: Sequence[str], title: str, panels: Sequence[Panel]) -> Page:
    """Draw panels of horizontal bars that share their rows.

    Parameters
    ----------
    names
        Of the rows, from the top.
    title
        Of the chart.
    panels
        From the left.
    """
    from pathlift.report.page import Page, styled

    with styled(_STYLE):
        rows, count = max(len(names), 1), len(panels)
        page = Page(figsize=(count * _PANEL + (count - 1) * _GAP, rows * min(_ROW, _PAGE / rows)))
        page.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=_GAP / _PANEL)
        (drawn,) = page.subplots(1, count, sharey=True, squeeze=False)
        size = min(_TEXT, 0.75 * 72 * page.get_figheight() / rows)
        drawn[0].set_ylim(rows - 0.5, -0.5)
        drawn[0].set_yticks(range(len(names)), [shown(name) for name in names], fontsize=size, parse_math=False)
        for axes, panel in zip(drawn, panels, strict=True):
            panel.draw(axes, size)
            axes.spines.top.set_visible(rows > _TALL)
            axes.tick_params(labeltop=rows > _TALL, top=rows > _TALL)
        drawn[0].set_title(title, loc="left", parse_math=False)
        page.grow()
    return page


def limits(lengths: Sequence[float]) -> tuple[float, float]:
    """The range of bars from 0, with room for the figures at their ends."""
    low, high = min([0.0, *lengths]), max([0.0, *lengths])
    room = 0.2 * (high - low) or 1.0
    return low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0


def shown(name: str) -> str:
    """A name as one printable line, shortened in the middle."""
    return elided("".join(c if c.isprintable() else "\ufffd" for c in name), _NAME_LENGTH)
