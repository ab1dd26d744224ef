"""Results as text and as HTML: the same parts, on a console of any width or in a page."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pathlift.report.layout import Bar, Cell, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE = 10_000
"""The width of what is read through no window: rows are as long as they need to be."""
_MONO = "font-family: monospace; white-space: pre-wrap; text-align: left"


def as_text(found: Iterable[RenderableType], *, width: int = PIPE, terminal: bool = False, colour: bool = True) -> str:
    """Return parts as lines.

    Parameters
    ----------
    found
        Strings, or what Rich renders.
    width
        Of the console. Strings are never wrapped.
    terminal
        Whether it can be styled; else it is where the environment says so (``FORCE_COLOR``).
    colour
        Whether it may be.
    """
    from rich.console import Console

    # Not onto stdout: Rich has its own way with a reader that left.
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal or None,
        # Rich's own reading of NO_COLOR keeps bold; who sets it wants no escape codes.
        color_system="auto" if colour else None,
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in found:
        console.print(part, soft_wrap=isinstance(part, str))
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def as_html(found: Iterable[RenderableType]) -> str:
    """Return parts as HTML: tables, and lines of text; everything is escaped, since names come from files."""
    return "<div>" + "".join(map(_part, found)) + "</div>"


def _part(part: RenderableType) -> str:
    if isinstance(part, Table):
        head = "".join(_tag("th", part, i, heading) for i, heading in enumerate(part.headings))
        rows = "".join(
            "<tr>" + "".join(_tag("td", part, i, cell) for i, cell in enumerate(row)) + "</tr>" for row in part.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    text = part if isinstance(part, str) else as_text([part], width=100, colour=False)
    return f'<div style="{_MONO}">{html.escape(text)}</div>' if text else ""


def _tag(tag: str, table: Table, index: int, cell: Cell) -> str:
    if isinstance(cell, Bar):
        share = 100 * min(max(cell.share, 0.0), 1.0)
        filled = f'<div style="background: #0072b2; height: 0.8em; width: {share:.1f}%"></div>'
        inner = f'<div style="width: 12em">{filled}</div>'
    else:
        inner = html.escape(cell)
    side = "right" if table.headings[index] in table.right else "left"
    return f'<{tag} style="text-align: {side}; white-space: pre-wrap">{inner}</{tag}>'
