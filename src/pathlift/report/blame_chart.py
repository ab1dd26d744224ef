"""A chart of what each layer's change does alone: to the bound, and to the difference that was found."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from pathlift.report.distance import LayerBlame
from pathlift.report.row_chart import bars, draw_rows, limits, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_blame(path: Path, layers: Sequence[LayerBlame], name: str) -> None:
    """Draw, per layer, the largest difference found and the bound if it alone is changed.

    Parameters
    ----------
    path
        The file to write, in the format of its suffix.
    layers
        From the top.
    name
        What to call the second model.
    """

    def draw(found: Axes, proved: Axes, size: float) -> None:
        for axes, figures in ((found, [b.measured for b in layers]), (proved, [b.bound for b in layers])):
            finite = [x if x < inf else None for x in figures]
            bars(axes, finite, "{:.3g}", size)
            axes.set_xlim(limits([x or 0.0 for x in finite]))
            axes.locator_params(axis="x", nbins=5)
        found.set_xlabel("largest ℓ1 difference found")
        proved.set_xlabel("bound of the ℓ1 difference")

    draw_rows(path, [b.node for b in layers], f"{shown(name)}: only this layer is changed", draw)
