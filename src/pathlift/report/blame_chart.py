"""Charts of how far two models are apart: by method, and what each layer's change does alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pathlift.report.row_chart import Panel, row_chart, shown
from pathlift.report.tables import at_most

if TYPE_CHECKING:
    from pathlift.report.page import Page

Figures = Sequence[float | None]


def draw_blame(layers: Sequence[str], found: Figures, bounds: Figures, name: str) -> Page:
    """Draw, per layer, the largest difference found and the bound if it alone is changed.

    Parameters
    ----------
    layers
        From the top.
    found, bounds
        Of each.
    name
        What to call the second model.
    """
    panels = [Panel("largest ℓ1 difference found", found), Panel("bound of the ℓ1 difference", bounds, at_most)]
    return row_chart(layers, f"{shown(name)}: only this layer is changed", panels)


def draw_methods(methods: Sequence[str], l1: Figures, linf: Figures, found: tuple[float, float], name: str) -> Page:
    """Draw the bounds of all methods, and the largest differences found as lines.

    Parameters
    ----------
    methods
        What to call them.
    l1, linf
        The bounds of each.
    found
        The largest ℓ1 and ℓ∞ differences.
    name
        What to call the second model.
    """
    panels = [
        Panel(f"bound of the {norm} difference (line: found)", figures, at_most, line=line or None, log=True)
        for norm, figures, line in (("ℓ1", l1, found[0]), ("ℓ∞", linf, found[1]))
    ]
    return row_chart(methods, f"{shown(name)}: by method", panels)
