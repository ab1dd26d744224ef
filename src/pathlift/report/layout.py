"""A table that fits: as wide as the console, and no figure folded, no name shrunk to nothing.

Where rows are too long, bars shrink first; prose is wrapped, and names are shortened in the middle; then columns go
that a table says are less important. Where that is not enough, each row is stacked: its name, below it its figures.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Table as RichTable

BAR_WIDTH, LEAST_BAR = 24, 4
NAME_WIDTHS = (20, 12)
"""Names keep so many characters while there are columns that can go, and so many at any rate."""
WORD_WIDTH = 20
"""Prose is wrapped between words; longer words are folded."""
GAP = 2
_SPACE = "\u00a0"  # where a line may not be broken


@dataclass(frozen=True)
class Bar:
    """A bar for a share between 0 and 1, as wide as its column."""

    share: float

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(0, BAR_WIDTH).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        share = min(max(self.share, 0.0), 1.0)
        yield Text(("█" if _utf() else "#") * round(min(options.max_width, BAR_WIDTH) * share), no_wrap=True)


Cell = str | Bar


@dataclass(frozen=True)
class Table:
    """Rows of plain strings and bars.

    Parameters
    ----------
    headings
        One per column. The first column holds names, unless it holds figures, or words with spaces between them.
    rows
        A cell per column.
    right
        Headings of the columns that hold figures, which are never folded.
    less
        Headings of the columns that may go where there is no room, the least important first.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    right: Sequence[str] = ()
    less: Sequence[str] = ()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(1, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self.widths(options.max_width)
        if widths:
            yield self._table(widths)
        else:
            yield from self._stacked(options.max_width)

    def widths(self, room: int) -> dict[int, int]:
        """Return the columns that are shown and how wide they are; none if rows have to be stacked.

        Parameters
        ----------
        room
            Characters in a line.
        """
        columns = [column for i in range(len(self.headings)) if (column := self._column(i)).width]
        for least in NAME_WIDTHS:
            left = columns
            for gone in (None, *self.less):
                left = [column for column in left if self.headings[column.index] != gone or gone is None]
                if widths := _fitted(left, least, room):
                    return widths
        return {}

    def _column(self, index: int) -> _Column:
        from rich.cells import cell_len

        heading, cells = self.headings[index], [row[index] for row in self.rows]
        words = [cell for cell in (heading, *cells) if isinstance(cell, str)]
        width = max(map(cell_len, words), default=0)
        if any(isinstance(cell, Bar) for cell in cells):
            return _Column(index, "bar", max(width, BAR_WIDTH), 0)
        if heading in self.right:
            return _Column(index, "figure", width, width)
        if index == 0 and not any(" " in cell.strip() for cell in cells if isinstance(cell, str)):
            return _Column(index, "name", width, min(width, cell_len(heading)))
        longest = max((cell_len(word) for cell in words for word in cell.split()), default=0)
        return _Column(index, "prose", width, max(min(longest, WORD_WIDTH), cell_len(heading)))

    def _table(self, widths: dict[int, int]) -> RichTable:
        from rich.table import Table as RichTable
        from rich.text import Text

        result = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        for index, width in widths.items():
            heading = self.headings[index]
            side = "right" if heading in self.right else "left"
            # Its own line breaks are those of prose alone.
            result.add_column(Text(heading), justify=side, overflow="fold", width=width)  # type: ignore[arg-type]  # two of Rich's words
        named = {0} if self._column(0).kind == "name" else set()
        for row in self.rows:
            cells = [elided(str(row[i]), widths[i]) if i in named else row[i] for i in widths]
            result.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
        return result

    def _stacked(self, room: int) -> RenderResult:
        from rich.text import Text

        inner = max(room - GAP, 1)
        for row in self.rows:
            name, *cells = row
            yield Text(elided(f"{self.headings[0]} {name}" if self.headings[0] in self.right else str(name), room))
            said = (f"{h} {cell}".strip() for h, cell in zip(self.headings[1:], cells, strict=True) if _told(cell))
            # What fits on a line is not broken.
            whole = ", ".join(pair.replace(" ", _SPACE) if len(pair) <= inner else pair for pair in said)
            for line in textwrap.wrap(whole, inner, break_on_hyphens=False):
                yield Text(" " * GAP + line.replace(_SPACE, " "))


@dataclass(frozen=True)
class _Column:
    """Its number, what it holds, how wide it would be and has to be."""

    index: int
    kind: str
    width: int
    least: int


def _fitted(columns: Sequence[_Column], least: int, room: int) -> dict[int, int]:
    """Widths of columns that fill no more than a line; none if there are none."""
    floors = {c.index: max(c.least, min(c.width, least)) if c.kind == "name" else c.least for c in columns}
    widths = {c.index: c.width for c in columns}
    bars = [c.index for c in columns if c.kind == "bar"]
    over = sum(widths.values()) + GAP * (len(widths) - 1) - room
    for index in bars:
        if over > 0:
            cut = min(over, widths[index])
            widths[index] -= cut
            over -= cut
        if widths[index] < LEAST_BAR:  # what is left of it shows nothing
            over -= widths.pop(index) + GAP
    while over > 0:
        loose = [index for index in widths if widths[index] > floors[index]]
        if not loose:
            return {}
        widths[max(loose, key=widths.__getitem__)] -= 1
        over -= 1
    return widths


def _told(cell: Cell) -> bool:
    return isinstance(cell, str) and cell not in ("", "-")


def elided(text: str, width: int) -> str:
    """Return a text in no more than `width` columns, shortened in the middle, since both ends tell names apart."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    mark = "…" if _utf() else "~"
    head = max((width - 1) // 2, 0)
    before, after = text[:head], text[-max(width - 1 - head, 0) :] if width > 1 else ""
    while cell_len(before) + cell_len(after) > max(width - 1, 0):  # some characters take two columns
        before, after = (before[:-1], after) if cell_len(before) >= cell_len(after) else (before, after[1:])
    return f"{before}{mark}{after}"


def _utf() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
