"""Charts with a row per layer: bars in one or two panels, names at the left, figures at the bars' ends."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What says when a file was made is left out: the same figures give the same file.
METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "pathlift",
    "font.size": 8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "grid.color": "#dddddd",
    "ytick.major.size": 0,
}
_RAISES, _LOWERS = "#0072b2", "#d55e00"
_NAME_LENGTH = 60
# In inches. Rows are of one height until the page is full; then they shrink, and their text with them.
_PANEL, _GAP, _ROW, _PAGE = 3.0, 0.4, 0.18, 100.0
_TEXT = 7.5  # points
_TALL = 40  # rows; the axes' figures then stand at the top too


def check_chart(path: str) -> None:
    """Check that a chart can be drawn into a file of this name.

    Raises
    ------
    UsageError
        If its suffix is not one of .svg, .png, .pdf, or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in METADATA:
        raise UsageError("0446", f"a chart cannot be written to {path!r}", hint="a name in .svg, .png or .pdf")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("0447", "drawing a chart needs matplotlib", hint="pip install 'pathlift[plot]'")


def draw_rows(path: Path, names: Sequence[str], title: str, draw: Callable[[Axes, Axes, float], None]) -> None:
    """Draw two panels of horizontal bars that share their rows.

    Parameters
    ----------
    path
        The file to write, in the format of its suffix.
    names
        Of the rows, from the top.
    title
        Of the chart.
    draw
        Draws into both panels; the third argument is the size of the figures' text, in points.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    # Whatever the user's own matplotlibrc says.
    with style.context(["default", _STYLE], after_reset=True):
        rows = max(len(names), 1)
        figure = Figure(figsize=(2 * _PANEL + _GAP, rows * min(_ROW, _PAGE / rows)))
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=_GAP / _PANEL)
        left, right = figure.subplots(1, 2, sharey=True)
        size = min(_TEXT, 0.75 * 72 * figure.get_figheight() / rows)
        left.set_ylim(rows - 0.5, -0.5)
        left.set_yticks(range(len(names)), [shown(name) for name in names], fontsize=size, parse_math=False)
        draw(left, right, size)
        for axes in (left, right):
            axes.spines.top.set_visible(rows > _TALL)
            axes.tick_params(labeltop=rows > _TALL, top=rows > _TALL)
        left.set_title(title, loc="left", parse_math=False)
        # The names stand outside of the panels: the page grows to hold them.
        metadata = METADATA[path.suffix.lower()]
        figure.savefig(path, metadata=metadata, dpi=150, bbox_inches="tight", pad_inches=0.15)


def bars(axes: Axes, figures: Sequence[float | None], form: Callable[[float], str], size: float) -> None:
    """Draw bars with their figures at their ends; a dash for none."""
    lengths = [figure or 0.0 for figure in figures]
    bars = axes.barh(range(len(lengths)), lengths, height=0.75, color=[_LOWERS if x < 0 else _RAISES for x in lengths])
    labels = ["–" if figure is None else form(figure).replace("-", "−") for figure in figures]
    axes.bar_label(bars, labels, padding=2, fontsize=size)


def limits(lengths: Sequence[float]) -> tuple[float, float]:
    """The range of bars from 0, with room for the figures at their ends."""
    low, high = min([0.0, *lengths]), max([0.0, *lengths])
    room = 0.2 * (high - low) or 1.0
    return low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0


def shown(name: str) -> str:
    """A name as one printable line, shortened in the middle."""
    printable = "".join(c if c.isprintable() else "\ufffd" for c in name)
    if len(printable) <= _NAME_LENGTH:
        return printable
    half = _NAME_LENGTH // 2
    return f"{printable[: half - 1]}…{printable[-half:]}"
