"""A chart of what each layer's change does alone: to the bound, and to the difference that was found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from pathlift.report.distance import LayerBlame
from pathlift.report.row_chart import bars, draw_rows, limits, shown
from pathlift.report.tables import at_least, at_most

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
        for axes, form, figures in (
            (found, at_least, [b.measured for b in layers]),
            (proved, at_most, [b.bound for b in layers]),
        ):
            finite = [x if x < inf else None for x in figures]
            bars(axes, finite, partial(form, digits=3), size)
            axes.set_xlim(limits([x or 0.0 for x in finite]))
            axes.locator_params(axis="x", nbins=5)
        found.set_xlabel("largest ℓ1 difference found")
        proved.set_xlabel("bound of the ℓ1 difference")

    draw_rows(path, [b.node for b in layers], f"{shown(name)}: only this layer is changed", draw)
