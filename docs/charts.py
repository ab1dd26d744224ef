"""Charts of the benchmarks, read off their own tables, so that no figure is kept twice."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
CELL = re.compile(rf"^({NUMBER})(?: ?[×%])?(?: \[({NUMBER})–({NUMBER})\])?$")


class Chart(NamedTuple):
    """Columns of the table under a heading: those that name a row, and those that are drawn.

    Rows are drawn below each other; with `over`, the scale of an axis on which their one name is a number, they are
    points of curves. `unit` says what is drawn, and curves go down to `least`.
    """

    heading: str
    names: tuple[str, ...]
    drawn: tuple[str, ...]
    log: bool = True
    over: str = ""
    unit: str = "ratio"
    least: float | None = None


SPEED = ("dense / rows", "dense / feature-major")
DISTANCE = (("change", "domain"), ("bound/found",))
CHARTS = {
    "ica_from_cumulants": [Chart("Amari errors", ("components from",), ("Amari error",), unit="Amari error")],
    "calibration": [
        Chart(
            "Rise of memory",
            ("rows",),
            ("pathlift", "MinMax", "Percentile", "Percentile in pieces"),
            over="log",
            unit="MB",
        )
    ],
    "muon_on_quadratics": [
        Chart("Noise on the polar factor", ("σ",), ("published", "steps"), over="log", unit="steps until |s| ≤ ε"),
        *(
            Chart(f"Greedy steps: the {name}", ("step",), ("gradient", "greedy"), over="linear", unit=name, least=1e-16)
            for name in ("gap", "gradient", "distance")
        ),
        Chart("Win rates", ("spectrum", "polar factor"), ("loss / gradient's",)),
    ],
    "path_norm": [Chart("Path-norms", ("network", "side", "dtype"), ("classes / ORT", "plain / classes"))],
    "ks_cpu": [
        Chart("Layers", ("pattern", "threads"), SPEED),
        Chart("Products of several factors", ("pattern", "threads"), SPEED),
        Chart("Encoders", ("encoder", "threads"), ("dense / rows", "dense / features")),
    ],
    "compare": [Chart(name, *DISTANCE) for name in ("digits MLP, depth 3", "digits MLP, depth 6", "digits CNN")],
    "pruning": [
        Chart("In one shot", ("network", "pruned"), ("magnitude", "wanda", "path", "path, compensated"), log=False)
    ],
    "pruning_after_rescaling": [
        Chart("Magnitude pruning", ("pruned",), ("as trained", "rescaled", "canonicalize balanced"), log=False)
    ],
    "quantization_after_canonicalize": [
        Chart("examples/digits.onnx", ("",), ("weights: accuracy", "and activations: accuracy"), log=False)
    ],
    "max_kernel": [
        Chart(
            "Regret",
            ("kernel, variance",),
            ("Ackley 2d", "Griewank 6d", "Rastrigin 5d", "Orbit 4d"),
            unit="cumulative regret",
        )
    ],
    "rewrite_cost": [Chart("Rewriting", ("network", "weights", "contestant"), ("time / onnx",))],
    "support_before_frequency": [
        *(
            Chart(f"Learning {what}", ("step",), ("support", "frequency"), over="log", unit="nats a token", least=1e-4)
            for what in ("the next token", "masked tokens")
        ),
        Chart("Compressed: the next token", ("change",), ("support", "frequency"), unit="nats a token"),
        Chart("Compressed: masked tokens", ("change",), ("support", "frequency"), unit="nats a token"),
    ],
    "structured_pruning": [Chart("Structured", ("removed", "multiples of"), ("of the whole's time",), log=False)],
}
"""By the name of the benchmark."""


class Row(NamedTuple):
    """A row of a chart: its name, and per drawn column the figure with the ends of its brackets, or None."""

    name: str
    values: tuple[tuple[float, float, float] | None, ...]


def charts(text: str, stem: str) -> tuple[str, dict[str, bytes]]:
    """Return the page of a benchmark with its charts above their tables, and the charts by file name."""
    lines = text.splitlines()
    pictures: dict[str, bytes] = {}
    for number, chart in enumerate(CHARTS.get(stem, [])):
        start = table(lines, chart.heading)
        name = f"{stem}-{number}.svg"
        pictures[name] = drawing(chart, list(rows(lines[start:], chart)))
        brackets = "bands" if chart.over else "lines"
        words = f"{', '.join(chart.drawn)}: the table below, with its brackets as {brackets}"
        lines[start:start] = [f"![{words}]({name})", ""]
    return "\n".join(lines) + "\n", pictures


def table(lines: Sequence[str], heading: str) -> int:
    """Return where the first table under a heading starts."""
    under = next(n for n, line in enumerate(lines) if re.match(rf"#+ {re.escape(heading)}", line))
    return next(n for n in range(under, len(lines)) if lines[n].startswith("|"))


def rows(lines: Sequence[str], chart: Chart) -> Iterator[Row]:
    """Read what a chart draws off the table that lines start with."""
    header = cells(lines[0])
    names, drawn = ([header.index(column) for column in columns] for columns in (chart.names, chart.drawn))
    for line in lines[2:]:
        if not line.startswith("|"):
            return
        row = cells(line)
        yield Row(", ".join(row[n] for n in names), tuple(figure(row[n]) for n in drawn))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" |")]


def figure(cell: str) -> tuple[float, float, float] | None:
    """Return a cell's figure and the ends of its brackets, which are the figure where it has none."""
    found = CELL.match(cell)
    if found is None:
        return None
    value, low, high = (float(group or found[1]) for group in found.groups())
    return value, low, high


def drawing(chart: Chart, read: Sequence[Row]) -> bytes:
    """Return the SVG: one colour per column."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "pathlift"}):
        picture = Figure(figsize=(8, 4 if chart.over else 1 + 0.24 * len(read)), layout="constrained")
        axes = picture.subplots()
        (curves if chart.over else dots)(axes, chart, read)
        axes.grid(axis="both" if chart.over else "x", alpha=0.3)
        picture.legend(loc="outside upper left", ncols=len(chart.drawn), fontsize=8, frameon=False)
        file = io.BytesIO()
        picture.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def dots(axes: Axes, chart: Chart, read: Sequence[Row]) -> None:
    """Draw one line per row."""
    from matplotlib.ticker import NullFormatter

    for column, name in enumerate(chart.drawn):
        points = [(y, row.values[column]) for y, row in enumerate(read)]
        there = [(y, *value) for y, value in points if value is not None]
        for y, _, low, high in there:
            axes.plot([low, high], [y, y], color=f"C{column}", alpha=0.5, linewidth=2)
        axes.plot([p[1] for p in there], [p[0] for p in there], "o", markersize=5, color=f"C{column}", label=name)
    axes.set_yticks(range(len(read)), [row.name for row in read], fontsize=8)
    axes.set_ylabel(", ".join(chart.names), fontsize=8)
    axes.invert_yaxis()
    if chart.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}" if narrow(read) else NullFormatter())
        if chart.unit == "ratio":
            axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("%" if "accuracy" in chart.drawn[0] or "pruned" in chart.names else chart.unit)


def curves(axes: Axes, chart: Chart, read: Sequence[Row]) -> None:
    """Draw the columns over the number that names a row, with brackets as bands."""
    for column, name in enumerate(chart.drawn):
        there = [(float(row.name), *value) for row in read if (value := row.values[column]) is not None]
        x, middle, low, high = zip(*there, strict=True)
        axes.fill_between(x, low, high, color=f"C{column}", alpha=0.2, linewidth=0)
        axes.plot(x, middle, "o-", markersize=3, color=f"C{column}", label=name)
    axes.margins(y=0.01)
    axes.set_xscale(chart.over)
    axes.set_yscale("log" if chart.log else "linear")
    axes.set_ylim(bottom=chart.least)
    axes.set_xlabel(chart.names[0])
    axes.set_ylabel(chart.unit)


def narrow(read: Sequence[Row]) -> bool:
    """Whether figures and brackets lie within one order of magnitude: ticks between powers of ten are needed."""
    figures = [figure for row in read for value in row.values if value is not None for figure in value]
    return max(figures) < 10 * min(figures)
