"""The base of every verb's result: its JSON, and how it is shown as text, as HTML, as a data frame and as a chart."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pathlift.ir.errors import UsageError
from pathlift.ir.packages import optional_packages

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from rich.console import RenderableType

    from pathlift.report.tables import Renderer

CELLS = 16
"""Elements beyond which a list is not put into the cell of a data frame."""


class Source(NamedTuple):
    """Where the model came from; both are None for a model that was never a file."""

    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """Base of the verbs' results.

    ``str(result)`` is what the command line prints into a pipe; in a notebook, the same tables are HTML.

    Parameters
    ----------
    input
        The file that was read.
    assumptions
        What the figures rest on, one sentence each.
    warnings
        What the user should know but did not ask, one sentence each.
    exit_code
        0, or 1 for a refuted claim, or 5 for an inconclusive one.
    """

    input: Source = field(default_factory=Source)
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    exit_code: int = 0

    ROWS: ClassVar[Sequence[str]] = ()
    """Keys of the JSON object that hold the rows of the main table; the first that is there and not empty counts."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep `__repr__`: a dataclass would spell out whole graphs and tensors."""
        super().__init_subclass__(**kwargs)
        if "__repr__" not in vars(cls):
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]  # as inherited

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the ``result`` object of the envelope: plain JSON types, no NaN, no infinity."""

    def for_text(self) -> dict[str, Any]:
        """Return what the verb's `text` shows: the JSON object, unless text says something in words of its own."""
        return self.to_json()

    def headline(self) -> str:
        """Return the main figure in a few words, for `repr`; empty if there is none."""
        return ""

    def __repr__(self) -> str:
        from pathlift.report.clean import sanitize

        said = ": ".join(filter(None, [Path(self.input.path or "").name, self.headline()]))
        return f"<{type(self).__name__}{' ' * bool(said)}{sanitize(said)}>"

    def __str__(self) -> str:
        from pathlift.report.shown import as_text

        return as_text(self.parts(), colour=False).rstrip("\n")

    def _repr_html_(self) -> str:
        from pathlift.report.shown import as_html

        return as_html(self.parts())

    def parts(self, render: Renderer | None = None) -> Iterator[RenderableType]:
        """Yield what is shown: lines and tables, names cleaned; what the figures rest on comes last.

        Parameters
        ----------
        render
            What makes them of the JSON; by default ``text`` of the module that the class is in.
        """
        from pathlift.report.clean import clean

        yield from (render or self._renderer())(clean(self.for_text()))
        yield from (f"assumes: {assumption}" for assumption in clean(self.assumptions))

    def _renderer(self) -> Renderer:
        """Return ``text`` of the module that the class is in; without one, any JSON has tables."""
        modules = (sys.modules.get(cls.__module__) for cls in type(self).__mro__)
        found: Renderer | None = next((m.text for m in modules if m and callable(getattr(m, "text", None))), None)
        if found is not None:
            return found
        from pathlift.report.tables import json_tables

        return lambda payload: json_tables(type(self).__name__, payload)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of the main table, in plain types; figures of figures have dotted names."""
        payload = self.to_json()
        tables = [payload[key] for key in self.ROWS if key in payload]
        rows = next(filter(None, tables), [] if tables else [payload])
        if isinstance(rows, Mapping):
            objects = ((name, row if isinstance(row, Mapping) else {"value": row}) for name, row in rows.items())
            rows = [{"name": name, **row} for name, row in objects]
        return flattened(rows)

    @optional_packages()
    def to_frame(self) -> DataFrame:
        """Return the main table as a data frame, figures unrounded.

        Raises
        ------
        UsageError
            If pandas is not installed.
        """
        from pandas import DataFrame

        return DataFrame.from_records(self.records())

    def chart(self) -> Figure | None:
        """Return a chart of the result; none if figures say it all. Needs matplotlib."""
        return None

    @optional_packages()
    def plot(self) -> Figure:
        """Draw a chart.

        Returns
        -------
        matplotlib.figure.Figure
            To show, to change, or to save.

        Raises
        ------
        UsageError
            If matplotlib is not installed, or there is nothing to draw.
        """
        figure = self.chart()
        if figure is None:
            raise UsageError(
                "1418",
                f"{type(self).__name__} has no chart: its figures say it all",
                hint="there are charts of inspect, norm(per_layer=True), compare, bound, calibrate, prune, bench, "
                "ks_fit, ks_detect, audit_language and generate_kernels",
            )
        return figure


def flattened(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a data frame: objects by dotted names; long lists and lists of objects are left out."""
    inner = {key for row in rows for key, item in row.items() if _is_table(item)}
    return [dict(_flat({key: item for key, item in row.items() if key not in inner})) for row in rows]


def with_ends(row: Mapping[str, Any], *intervals: str) -> dict[str, Any]:
    """Return a row with intervals as objects, so that a data frame has a column for each end."""
    ends = {key: dict(zip(("low", "high"), row[key], strict=True)) for key in intervals}
    return {**row, **ends}


def _is_table(item: Any) -> bool:
    return isinstance(item, list | tuple) and any(isinstance(x, Mapping) for x in item)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in row.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        elif not isinstance(item, list | tuple):
            yield f"{prefix}{key}", item
        elif len(item) <= CELLS and not _is_table(item):
            yield f"{prefix}{key}", list(item)
