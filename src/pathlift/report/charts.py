"""A chart of what each layer contributes to a path-norm: its log10 gain, and its share."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UsageError
from pathlift.passes.path_norm.result import LayerNorm, Norm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What says when a file was made is left out: the same figures give the same file.
_METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}
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
    if Path(path).suffix.lower() not in _METADATA:
        raise UsageError("0446", f"a chart cannot be written to {path!r}", hint="a name in .svg, .png or .pdf")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("0447", "drawing a chart needs matplotlib", hint="pip install 'pathlift[plot]'")


def draw_chart(path: Path, layers: Sequence[LayerNorm], norm: Norm, name: str) -> None:
    """Draw the layers' gains and shares as two bar charts, one row per layer in the order given.

    Parameters
    ----------
    path
        The file to write, in the format of its suffix.
    layers, norm
        Of one path-norm.
    name
        What to call the network.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    # Whatever the user's own matplotlibrc says.
    with style.context(["default", _STYLE], after_reset=True):
        rows = max(len(layers), 1)
        figure = Figure(figsize=(2 * _PANEL + _GAP, rows * min(_ROW, _PAGE / rows)))
        _draw(figure, layers, norm)
        reading = f"q = {norm.q:g}, {norm.pooling} pooling" + ("" if norm.is_path_norm else ", not a path-norm")
        figure.axes[0].set_title(f"{_shown(name)} ({reading})", loc="left", parse_math=False)
        # The names stand outside of the panels: the page grows to hold them.
        metadata = _METADATA[path.suffix.lower()]
        figure.savefig(path, metadata=metadata, dpi=150, bbox_inches="tight", pad_inches=0.15)


def _draw(figure: Figure, layers: Sequence[LayerNorm], norm: Norm) -> None:
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=_GAP / _PANEL)
    gains, shares = figure.subplots(1, 2, sharey=True)
    rows = max(len(layers), 1)
    size = min(_TEXT, 0.75 * 72 * figure.get_figheight() / rows)
    gains.set_ylim(rows - 0.5, -0.5)
    gains.set_yticks(range(len(layers)), [_shown(layer.node) for layer in layers], fontsize=size, parse_math=False)
    _bars(gains, [layer.log10_gain for layer in layers], "{:+.2f}", size)
    _bars(shares, [None if layer.share is None else 100 * layer.share for layer in layers], "{:.1f}", size)
    gains.set_xlim(_limits([layer.log10_gain or 0.0 for layer in layers]))
    gains.locator_params(axis="x", nbins=6)
    gains.axvline(0, color="black", linewidth=0.8)
    gains.set_xlabel("gain: log$_{10}$ (norm of outputs / norm of inputs)")
    shares.set_xlim(0, 100)
    shares.set_xlabel(f"share of {_symbol(norm)} through the layer's weights [%]")
    for axes in (gains, shares):
        axes.spines.top.set_visible(rows > _TALL)
        axes.tick_params(labeltop=rows > _TALL, top=rows > _TALL)


def _bars(axes: Axes, figures: Sequence[float | None], form: str, size: float) -> None:
    """Draw bars with their figures at their ends; a dash for none."""
    lengths = [figure or 0.0 for figure in figures]
    bars = axes.barh(range(len(lengths)), lengths, height=0.75, color=[_LOWERS if x < 0 else _RAISES for x in lengths])
    labels = ["–" if figure is None else form.format(figure).replace("-", "−") for figure in figures]
    axes.bar_label(bars, labels, padding=2, fontsize=size)


def _limits(lengths: Sequence[float]) -> tuple[float, float]:
    """The range of bars from 0, with room for the figures at their ends."""
    low, high = min([0.0, *lengths]), max([0.0, *lengths])
    room = 0.2 * (high - low) or 1.0
    return low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0


def _symbol(norm: Norm) -> str:
    if norm.q == 0:
        return "all paths"
    q = r"\infty" if norm.q == inf else f"{norm.q:g}"
    power = "" if norm.q in (1, inf) else f"^{{{q}}}"
    base = r"\|\Phi\|" if norm.is_path_norm else r"\mathrm{norm}"
    return f"${base}_{{{q}}}{power}$"


def _shown(name: str) -> str:
    """A name as one printable line, shortened in the middle."""
    printable = "".join(c if c.isprintable() else "\ufffd" for c in name)
    if len(printable) <= _NAME_LENGTH:
        return printable
    half = _NAME_LENGTH // 2
    return f"{printable[: half - 1]}…{printable[-half:]}"
