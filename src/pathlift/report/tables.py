"""Tables, bars and figures: the words in which results are shown as text.

Rich is imported where something is drawn: what only declares how it is shown starts without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import TYPE_CHECKING, Any

from pathlift.report.layout import Bar as Bar
from pathlift.report.layout import Cell
from pathlift.report.layout import Table as Table

if TYPE_CHECKING:
    from rich.console import RenderableType

Payload = dict[str, Any]
Renderer = Callable[[Payload], "Iterator[RenderableType]"]
"""Yields what to print of a result's JSON: plain strings (never read as markup), or Rich renderables."""

CELL_WIDTH = 60


def table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = (), less: Sequence[str] = ()
) -> Table:
    """Return a table: `right` names the columns of figures, `less` those that may go, the least important first."""
    return Table(headings, rows, right, less)


def fixed(value: float | None, rounding: str = ROUND_HALF_EVEN) -> str:
    """Return a figure with six decimals, or a dash for none."""
    return "-" if value is None else str(Decimal(value).quantize(Decimal("1e-6"), rounding))


def at_most(value: float | None, digits: int = 4) -> str:
    """Return an upper bound with so many digits, rounded up, or a dash for none."""
    return _rounded(value, digits, ROUND_CEILING)


def at_least(value: float | None, digits: int = 4) -> str:
    """Return a lower bound, such as what was found of a maximum, rounded down, or a dash for none."""
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float | None, digits: int, rounding: str) -> str:
    if value is None:
        return "-"
    return f"{float(Context(digits, rounding).create_decimal_from_float(float(value))):.{digits}g}"


def number(value: float | str) -> str:
    """Return a figure as short as it is; JSON spells infinity as a string."""
    return value if isinstance(value, str) else f"{value:g}"


def percent(share: float | None, form: str = ".1f", none: str = "-") -> str:
    """Return a share of 1 as a percentage."""
    return none if share is None else f"{100 * share:{form}} %"


def scaled(count: int) -> str:
    """Return a number of operations with a decimal prefix."""
    size = float(count)
    for prefix in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.3g} {prefix}".strip()
        size /= 1000
    return f"{size:.3g} T"


def byte_size(count: int) -> str:
    """Return a number of bytes as people say it."""
    size, units = float(count), iter(["B", "kB", "MB", "GB", "TB"])
    unit = next(units)
    for larger in units:
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def extents(shape: Sequence[int | str | None] | None) -> str:
    """Return a shape, with question marks for what is not known."""
    return "?" if shape is None else "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"


def interface(payload: Payload) -> Table:
    """Return a table of a model's inputs and outputs."""
    rows = [
        [f"{way[:-1]} {value['name']}", value["dtype"], extents(value["shape"])]
        for way in ("inputs", "outputs")
        for value in payload[way]
    ]
    return table(["value", "dtype", "shape"], rows)


def more(rest: int) -> Iterator[str]:
    """Say how many rows are left out, if any."""
    if rest > 0:
        yield f"  and {rest} more, which --format json lists"


def json_tables(title: str, value: Any) -> Iterator[RenderableType]:
    """Yield a JSON value of any form: a table of keys and values, then one for each list of objects.

    Figures are not rounded: nothing here knows which of them are bounds.
    """
    values = value if isinstance(value, dict) else {"": value}
    flat, lists = dict[str, str](), list[tuple[str, list[Payload]]]()
    for key, item in _flattened(values):
        if isinstance(item, list) and item and all(isinstance(x, dict) for x in item):
            lists.append((key, item))
        else:
            flat[key] = _cell(item)
    yield table([title, ""], list(flat.items())) if flat else title
    for key, rows in lists:
        columns = list(dict.fromkeys(key for row in rows for key, item in row.items() if item is not None))
        figures = [c for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)]
        yield ""
        if key:
            yield f"{key}:"
        yield table(columns, [[_cell(row.get(c)) for c in columns] for row in rows], right=figures)


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield an object's values, those of objects in it by a dotted name."""
    for key, item in values.items():
        if isinstance(item, dict) and item:
            yield from _flattened(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _cell(value: Any) -> str:
    """A value in one cell; what is long is cut."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= CELL_WIDTH else f"{written[: CELL_WIDTH - 1]}…"
