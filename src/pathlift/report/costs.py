"""Costs of files beside what audits find of them: bytes and times, as columns of tables and as points of charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pathlift.report.row_chart import shown
from pathlift.report.tables import Payload, byte_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which most eyes tell apart, and shapes for the others.
LOOKS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#e69f00", "v"), ("#56b4e9", "P"))
_HEIGHT, _LINE = 170.0, 9.0  # of a panel and of a name, in points
_SPAN = 0.1  # of the largest figure, at least
Ends = tuple[float, float]


@dataclass(frozen=True)
class Latency:
    """The time of a batch.

    Parameters
    ----------
    seconds
        Median over rounds.
    ratio, interval
        To the first file's time, median over rounds that both ran in, and its 95 % interval.
    """

    seconds: float
    ratio: float
    interval: Ends

    def to_json(self) -> dict[str, Any]:
        """Return figures; seconds in ms."""
        return {"ms": 1e3 * self.seconds, "ratio": self.ratio, "ci": list(self.interval)}


@dataclass(frozen=True)
class Cost:
    """What a file takes.

    Parameters
    ----------
    size
        Bytes as it is saved; of what is no file, those of its weights.
    latency
        ``None`` where nothing was timed.
    """

    size: int
    latency: Latency | None = None

    def to_json(self) -> dict[str, Any]:
        """Return figures."""
        return {"bytes": self.size, "latency": self.latency and self.latency.to_json()}


LESS = ("95 % ×", "ms", "size", "time")
"""Headings of costs in the order in which they go where there is no room."""


def compared(files: Sequence[Payload]) -> bool:
    """Whether there is something to set side by side: several files, or a time."""
    return len(files) > 1 or any(file["latency"] for file in files)


def columns(files: Sequence[Payload]) -> dict[str, list[str]]:
    """Return cells by heading, one per file; times only where there are any."""
    if not compared(files):
        return {}
    found = {"size": [byte_size(file["bytes"]) for file in files]}
    times = [file["latency"] for file in files]
    if all(times):
        found["ms"] = [_three_digits(t["ms"]) for t in times]
        found["time"] = [f"{t['ratio']:.2f}×" for t in times]
        found["95 % ×"] = [f"{t['ci'][0]:.2f}–{t['ci'][1]:.2f}" for t in times]
    return found


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


class Mark(NamedTuple):
    """A file on a chart: its name, a figure, and the ends of its interval."""

    name: str
    figure: float
    ends: Ends | None = None


def draw_costs(axes: Axes, marks: Sequence[Mark], costs: Sequence[Mapping[str, Any]]) -> None:
    """Draw figures by time, in units of the first file's, or by size where nothing was timed.

    Parameters
    ----------
    axes
        What to draw on.
    marks
        One per file.
    costs
        As `Cost.to_json` returns them.
    """
    times = [cost["latency"] for cost in costs]
    if all(times):
        draw_marks(axes, marks, [Mark("", t["ratio"], (t["ci"][0], t["ci"][1])) for t in times])
        axes.set_xlabel("time of a batch (first file = 1)")
        return
    top = max(cost["bytes"] for cost in costs)
    unit, name = next((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if top >= u or u == 1)
    draw_marks(axes, marks, [Mark("", cost["bytes"] / unit) for cost in costs])
    axes.set_xlabel(f"size of the file [{name}]")


def draw_marks(axes: Axes, up: Sequence[Mark], along: Sequence[Mark]) -> None:
    """Draw a point per file with its intervals and its name; names at the left of points in the right half."""
    for i, (y, x) in enumerate(zip(up, along, strict=True)):
        colour, marker = LOOKS[i % len(LOOKS)]
        up_error, along_error = (None if m.ends is None else _errors(m.figure, m.ends) for m in (y, x))
        axes.errorbar(
            [x.figure], [y.figure], up_error, along_error, color=colour, marker=marker, markersize=4, linewidth=0.8
        )
    axes.margins(0.2)
    low, high = axes.get_xlim()
    if high - low < (least := _SPAN * max(abs(x.figure) for x in along)):  # no difference is to look like one
        low, high = ((low + high - least) / 2, (low + high + least) / 2)
        axes.set_xlim(low, high)
    bottom, top = axes.get_ylim()
    heights = [_HEIGHT * (y.figure - bottom) / (top - bottom) for y in up]
    for i, (y, x, at, height) in enumerate(zip(up, along, apart(heights, _LINE), heights, strict=True)):
        right = x.figure > (low + high) / 2
        axes.annotate(
            shown(y.name), (x.figure, y.figure), (-5 if right else 5, 5 + at - height), textcoords="offset points",
            fontsize=7, ha="right" if right else "left", va="center", color=LOOKS[i % len(LOOKS)][0], parse_math=False,
        )  # fmt: skip


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Return heights that are so far apart, in the same order, and nearest to these by least squares.

    That is isotonic regression of heights less multiples of the distance: neighbours out of order share their mean
    (Ayer et al., Annals of Mathematical Statistics 26, 1955).
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    blocks: list[tuple[float, int]] = []
    for k, i in enumerate(order):
        total, count = heights[i] - k * least, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    means = [total / count for total, count in blocks for _ in range(count)]
    found = dict(zip(order, (mean + k * least for k, mean in enumerate(means)), strict=True))
    return [found[i] for i in range(len(heights))]


def _errors(figure: float, ends: Ends) -> list[list[float]]:
    return [[max(0.0, figure - ends[0])], [max(0.0, ends[1] - figure)]]
