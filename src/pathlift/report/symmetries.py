"""Rescaling symmetries as text, from their JSON: which neurons can be rescaled freely, and what fixes others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pathlift.report.tables import Payload, more, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_ROWS = 12
"""How many groups of neurons are listed; ``--format json`` has them all."""


def symmetry_text(rescaling: Payload) -> Iterator[RenderableType]:
    """Yield which neurons can be rescaled freely, and what fixes the scale of others."""
    groups: Sequence[Payload] = rescaling["classes"]
    yield table(
        ["rescaling symmetries", "free scales"],
        [["all", f"{rescaling['free']:,}"], *([node_names(g["nodes"]), f"{g['count']:,}"] for g in groups[:_ROWS])],
        right=["free scales"],
    )
    yield from more(len(groups) - _ROWS)
    yield from fixed_scales(rescaling)


def fixed_scales(rescaling: Payload) -> Iterator[RenderableType]:
    """Yield what fixes scales at 1, and which parameters tie them."""
    pins = [[f"{p['node']} ({p['op']})", f"{p['count']:,}", p["reason"]] for p in rescaling["pinned"]]
    pins += [
        [t["parameter"], f"{t['count']:,}", "is used at several depths, which ties or fixes the scales around it"]
        for t in rescaling["tied"]
    ]
    if pins:
        yield ""
        yield table(["scales are fixed by", "count", "since"], pins[:_ROWS], right=["count"])
        yield from more(len(pins) - _ROWS)


def node_names(nodes: Sequence[str]) -> str:
    """Return the first few labels of nodes, indented."""
    shown = ", ".join(nodes[:3])
    return f"  {shown}" + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
