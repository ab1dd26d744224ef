"""A chart of what each layer contributes to a path-norm: its log10 gain, and its share."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from pathlift.passes.path_norm.result import LayerNorm, Norm
from pathlift.report.row_chart import Panel, row_chart, shown

if TYPE_CHECKING:
    from pathlift.report.page import Page


def draw_chart(layers: Sequence[LayerNorm], norm: Norm, name: str) -> Page:
    """Draw the layers' gains and shares as two bar charts, one row per layer in the order given.

    Parameters
    ----------
    layers, norm
        Of one path-norm.
    name
        What to call the network.
    """
    shares = [None if layer.share is None else 100 * layer.share for layer in layers]
    gain = "gain: log$_{10}$ (norm of outputs / norm of inputs)"
    panels = [
        Panel(gain, [layer.log10_gain for layer in layers], "{:+.2f}", line=0.0),
        Panel(f"share of {_symbol(norm)} through the layer's weights [%]", shares, "{:.1f}", limits=(0, 100)),
    ]
    reading = f"q = {norm.q:g}, {norm.pooling} pooling" + ("" if norm.is_path_norm else ", not a path-norm")
    return row_chart([layer.node for layer in layers], f"{shown(name)} ({reading})", panels)


def _symbol(norm: Norm) -> str:
    if norm.q == 0:
        return "all paths"
    q = r"\infty" if norm.q == inf else f"{norm.q:g}"
    power = "" if norm.q in (1, inf) else f"^{{{q}}}"
    base = r"\|\Phi\|" if norm.is_path_norm else r"\mathrm{norm}"
    return f"${base}_{{{q}}}{power}$"
