"""Results of a sweep over sparsities: accuracy, size and time of each pruned network, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathlift.report.pareto import Point, front
from pathlift.report.result import Result, flattened, with_ends
from pathlift.report.tables import Payload, byte_size, percent, scaled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.report.page import Page


@dataclass(frozen=True, kw_only=True)
class SweepResult(Result):
    """All points of a sweep.

    Parameters
    ----------
    dense
        The network as it was.
    points
        By criterion, then by sparsity.
    samples
        How many were classified.
    batch
        How many are in the batch that is timed.
    resumed
        How many points were in the log already.
    files
        Names of the files that were written, by what is in them.
    """

    dense: Point
    points: Sequence[Point]
    samples: int
    batch: int
    resumed: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        marks = front([self.dense, *self.points])[1:]
        return {
            "dense": asdict(self.dense),
            "points": [{**asdict(p), "pareto": mark} for p, mark in zip(self.points, marks, strict=True)],
            "samples": self.samples,
            "batch": self.batch,
            "resumed": self.resumed,
            **self.files,
        }

    def headline(self) -> str:
        return f"{len(self.points)} points, dense accuracy {percent(self.dense.accuracy, '.2f')}"

    def records(self) -> list[dict[str, Any]]:
        dense = {**asdict(self.dense), "criterion": "dense"}
        return flattened([with_ends(row, "seconds_quartiles") for row in (dense, *self.to_json()["points"])])

    def chart(self) -> Page | None:
        from pathlift.report.pareto_chart import draw_pareto

        return draw_pareto(self.dense, self.points, Path(self.input.path or "the network").name)


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per point."""
    figures = ["sparsity", "accuracy", "flops", "of dense", "file", "sparse file", "time", "speed-up"]
    dense = payload["dense"]
    rows = [
        [
            point["criterion"] or "dense", percent(point["sparsity"]), percent(point["accuracy"], ".2f"),
            scaled(round(point["flops"])), percent(point["flops"] / dense["flops"] if dense["flops"] else None, ".3g"),
            byte_size(point["file_bytes"]), byte_size(point["sparse_bytes"]), f"{1e3 * point['seconds']:.3g} ms",
            f"{point['speedup']:.2f}×", "Pareto" if point.get("pareto") else "",
        ]
        for point in (dense, *payload["points"])
    ]  # fmt: skip
    less = ["file", "sparse file", "flops", "time", "of dense", "speed-up"]
    yield table(["criterion", *figures, ""], rows, right=figures, less=less)
    samples, batch = f"{payload['samples']:,} samples", f"a batch of {payload['batch']}"
    yield f"accuracy on {samples}; time of {batch}, in which zeros are multiplied like other numbers"
    if payload["resumed"]:
        yield f"{payload['resumed']} of {len(payload['points'])} points were in the log"
    yield from (f"wrote {payload[what]}" for what in ("chart", "log") if payload.get(what))
