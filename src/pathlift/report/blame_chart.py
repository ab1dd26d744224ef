"""Charts of how far two models are apart: by method, and what each layer's change does alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pathlift.report.row_chart import Panel, row_chart, shown

if TYPE_CHECKING:
    from pathlift.report.distance import LayerBlame, MethodBound
    from pathlift.report.page import Page


def draw_blame(layers: Sequence[LayerBlame], name: str) -> Page:
    """Draw, per layer, the largest difference found and the bound if it alone is changed.

    Parameters
    ----------
    layers
        From the top.
    name
        What to call the second model.
    """
    panels = [
        Panel("largest ℓ1 difference found", [b.measured for b in layers]),
        Panel("bound of the ℓ1 difference", [b.bound for b in layers]),
    ]
    return row_chart([b.node for b in layers], f"{shown(name)}: only this layer is changed", panels)


def draw_methods(methods: Mapping[str, MethodBound], found: tuple[float, float], name: str) -> Page:
    """Draw the bounds of all methods, and the largest differences found as lines.

    Parameters
    ----------
    methods
        By what to call them.
    found
        The largest ℓ1 and ℓ∞ differences.
    name
        What to call the second model.
    """
    panels = [
        Panel(f"bound of the {norm} difference (line: found)", figures, line=line or None, log=True)
        for norm, figures, line in (
            ("ℓ1", [m.l1 for m in methods.values()], found[0]), ("ℓ∞", [m.linf for m in methods.values()], found[1]),
        )
    ]  # fmt: skip
    return row_chart(list(methods), f"{shown(name)}: by method", panels)
