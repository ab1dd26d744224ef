"""A page that a chart is drawn on: the same wherever it is drawn, shown by notebooks, and written to files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# What says when a file was made is left out: the same figures give the same file.
METADATA: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "pathlift", "font.size": 8, "axes.axisbelow": True, "axes.grid": True, "grid.color": "#dddddd",
    "axes.spines.right": False, "axes.titlesize": 8,
}  # fmt: skip
_DPI = 150
_MARGIN = 0.15  # inches


class Page(Figure):
    """A figure that needs no window."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()

    def grow(self) -> None:
        """Grow to hold what stands outside of it, names at the left for example; panels keep their size."""
        box = self.get_tightbbox().padded(_MARGIN)
        inches = self.dpi_scale_trans.inverted()
        panels = [(axes, axes.get_window_extent().transformed(inches)) for axes in self.axes]
        self.set_size_inches(box.width, box.height)
        for axes, panel in panels:
            left, bottom = (panel.x0 - box.x0) / box.width, (panel.y0 - box.y0) / box.height
            size = (panel.width / box.width, panel.height / box.height)
            axes.set_position(Bbox.from_bounds(left, bottom, *size))


@contextmanager
def styled(more: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw in the package's style, whatever the user's own matplotlibrc says."""
    with style.context(["default", {**_STYLE, **(more or {})}], after_reset=True):
        yield


def save_chart(chart: Figure, path: Path) -> None:
    """Write a chart, in the format of the file's suffix."""
    with styled():
        chart.savefig(path, metadata=METADATA[path.suffix.lower()], dpi=_DPI)
