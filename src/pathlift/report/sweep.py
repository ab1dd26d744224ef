"""Results of a sweep over sparsities: accuracy, size and time of each pruned network, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pathlift.report.result import Result
from pathlift.report.tables import Payload, byte_size, percent, scaled, table

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Point:
    """One pruned network.

    Parameters
    ----------
    criterion
        By which it was pruned; empty for the network as it was.
    sparsity_requested, sparsity
        Of the weights that may go.
    accuracy
        The share of samples of the right class.
    flops
        Of its linear layers, per sample, if zeros cost nothing: 2 for each weight that is none, each time it is used.
    file_bytes, sparse_bytes
        Of its file, with all zeros and with sparse initializers.
    seconds, seconds_quartiles
        Median time of one run, in which zeros cost what other numbers do.
    speedup
        The dense network's time over its own, the median over rounds that both ran in.
    """

    criterion: str
    sparsity_requested: float
    sparsity: float
    accuracy: float
    flops: float
    file_bytes: int
    sparse_bytes: int
    seconds: float
    seconds_quartiles: tuple[float, float]
    speedup: float


def front(points: Sequence[Point]) -> list[bool]:
    """Whether no other point is at least as accurate with fewer operations, or more so with as few."""
    return [
        not any(
            (q.accuracy >= p.accuracy and q.flops < p.flops) or (q.accuracy > p.accuracy and q.flops <= p.flops)
            for q in points
        )
        for p in points
    ]


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


def sweep_text(payload: Payload) -> Iterator[RenderableType]:
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
    yield table(["criterion", *figures, ""], rows, right=figures)
    samples, batch = f"{payload['samples']:,} samples", f"a batch of {payload['batch']}"
    yield f"accuracy on {samples}; time of {batch}, in which zeros are multiplied like other numbers"
    if payload["resumed"]:
        yield f"{payload['resumed']} of {len(payload['points'])} points were in the log"
    yield from (f"wrote {payload[what]}" for what in ("chart", "log") if payload.get(what))
