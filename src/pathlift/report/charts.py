"""A chart of what each layer contributes to a path-norm: its log10 gain, and its share."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from pathlift.passes.path_norm.result import LayerNorm, Norm
from pathlift.report.row_chart import bars, draw_rows, limits, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    def draw(gains: Axes, shares: Axes, size: float) -> None:
        bars(gains, [layer.log10_gain for layer in layers], "{:+.2f}".format, size)
        bars(shares, [None if layer.share is None else 100 * layer.share for layer in layers], "{:.1f}".format, size)
        gains.set_xlim(limits([layer.log10_gain or 0.0 for layer in layers]))
        gains.locator_params(axis="x", nbins=6)
        gains.axvline(0, color="black", linewidth=0.8)
        gains.set_xlabel("gain: log$_{10}$ (norm of outputs / norm of inputs)")
        shares.set_xlim(0, 100)
        shares.set_xlabel(f"share of {_symbol(norm)} through the layer's weights [%]")

    reading = f"q = {norm.q:g}, {norm.pooling} pooling" + ("" if norm.is_path_norm else ", not a path-norm")
    draw_rows(path, [layer.node for layer in layers], f"{shown(name)} ({reading})", draw)


def _symbol(norm: Norm) -> str:
    if norm.q == 0:
        return "all paths"
    q = r"\infty" if norm.q == inf else f"{norm.q:g}"
    power = "" if norm.q in (1, inf) else f"^{{{q}}}"
    base = r"\|\Phi\|" if norm.is_path_norm else r"\mathrm{norm}"
    return f"${base}_{{{q}}}{power}$"
