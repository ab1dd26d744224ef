"""Sketches of data as a result: a row per layer, and the files and samples that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import PathliftError
from pathlift.report.result import Result
from pathlift.report.tables import Payload, byte_size, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pathlift.passes.sketches.layer import LayerSketch
    from pathlift.passes.sketches.sketch import Sketch
    from pathlift.report.page import Page

OUTLIER = 50.0
"""The kurtosis above which a channel is named: its few large values set the scale of a tensor that 8 bits quantize."""
_NAMED = 20
"""Missing parts that are named in a warning; JSON has all."""
PRIVATE = (
    "a sketch is not private, although data are not kept: of two that differ by one sample, their difference is that "
    "sample"
)


@dataclass(frozen=True, kw_only=True)
class CalibrateResult(Result):
    """What is known of the data that layers read.

    Parameters
    ----------
    sketch
        Sums, by layer.
    bytes
        Of the file, or of the sums where there is none.
    output
        Where it was written.
    missing
        Parts of the data that a cluster has left out.
    """

    sketch: Sketch
    bytes: int
    output: str | None
    missing: tuple[str, ...] = ()

    ROWS = ("layers",)

    def to_json(self) -> dict[str, Any]:
        sketch = self.sketch
        return {
            "rows": sketch.samples,
            "complete": sketch.complete,
            "mask": sketch.mask or None,
            "outputs": None if sketch.outputs is None else {"square": sketch.outputs / max(sketch.samples, 1)},
            "missing": list(self.missing),
            "shards": [{"path": s.path, "rows": s.rows, "digest": s.digest} for s in sorted(sketch.shards)],
            "layers": [_layer(layer) for layer in sketch.layers],
            "bytes": self.bytes,
            "output": self.output,
        }

    def headline(self) -> str:
        return f"{len(self.sketch.layers)} layers, {self.sketch.samples} samples"

    def chart(self) -> Page | None:
        from pathlift.report.sketch_chart import draw_sketch

        return draw_sketch(self.sketch)


def _layer(layer: LayerSketch) -> dict[str, Any]:
    from pathlift.passes.sketches.quantization import entropy_range

    own, counts, kurtosis = layer.layer, layer.counts, layer.powers.kurtosis(layer.rows)
    return {
        "node": own.node,
        "op": own.op,
        "groups": own.groups,
        "width": own.width,
        "rows": layer.rows,
        "rank": {"exact": min(own.width, layer.rows), "projected": layer.second.rank, "diagonal": 0}[layer.second.kind],
        "second": layer.second.kind,
        "bytes": layer.bytes,
        "effective_rank": layer.effective_rank(),
        "kurtosis_max": float(kurtosis.max()) if layer.rows and kurtosis.size else None,
        "outlier_channels": outlier_channels(layer),
        "range": [counts.low, counts.high] if counts.total else None,
        "p99": counts.quantile(0.99),
        "p999": counts.quantile(0.999),
        "p9999": counts.quantile(0.9999),
        "entropy": entropy_range(counts),
    }


def outlier_channels(layer: LayerSketch) -> list[int]:
    """Return the channels of a layer's input whose kurtosis is above 50, the largest first."""
    own, kurtosis = layer.layer, layer.powers.kurtosis(layer.rows)
    found = [int(j) for j in kurtosis.argsort()[::-1] if kurtosis[j] > OUTLIER]
    return list(dict.fromkeys(j // own.width * own.inputs + j % own.width % own.inputs for j in found))


def warnings_of(sketch: Sketch) -> tuple[str, ...]:
    """Say which layers have read too little for their second moments."""
    few = [layer for layer in sketch.layers if layer.rows < 2 * layer.layer.width]
    if not few:
        return ()
    worst = min(few, key=lambda layer: layer.rows / layer.layer.width)
    said = f"{worst.layer.node!r} has read {worst.rows} rows of {worst.layer.width} channels"
    return (f"{len(few)} of {len(sketch.layers)} layers have read fewer rows than twice their width: {said}",)


def missing_of(lost: PathliftError, names: Sequence[str]) -> str:
    """Say which parts of the data a cluster has left out."""
    named = ", ".join(names[:_NAMED]) + (f", and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{lost.code} {lost.message}; {len(names)} parts of the data are missing: {named}"


def text(payload: Payload) -> Iterator[RenderableType]:
    """Yield a row per layer, and what data that is of."""
    figures = ["rows", "width", "effective rank", "kurtosis", "largest", "99.9 %", "entropy"]
    rows = [
        [
            layer["node"],
            str(layer["rows"]),
            f"{layer['groups']}×{layer['width']}" if layer["groups"] > 1 else str(layer["width"]),
            "–" if layer["effective_rank"] is None else f"{layer['effective_rank']:.3g}",
            "–" if layer["kurtosis_max"] is None else f"{layer['kurtosis_max']:.3g}",
            "–" if layer["range"] is None else f"{max(map(abs, layer['range'])):.3g}",
            f"{layer['p999']:.3g}",
            f"{layer['entropy']:.3g}",
        ]
        for layer in payload["layers"]
    ]
    yield table(["layer", *figures], rows, right=figures, less=["entropy", "width", "largest", "rows"])
    for layer in payload["layers"]:
        if layer["outlier_channels"]:
            yield f"{layer['node']}: outliers in {_channels(layer['outlier_channels'])}"
    kept = [layer["node"] for layer in payload["layers"] if layer["second"] != "exact"]
    if kept:
        yield f"second moments are approximate in {len(kept)} of {len(payload['layers'])} layers, {kept[0]} for one"
    shards = payload["shards"]
    named = ", ".join(shard["path"] for shard in shards[:3]) + (", …" if len(shards) > 3 else "")
    yield f"{payload['rows']} samples of {named}" + ("" if payload["complete"] else ", interrupted")
    if payload["output"]:
        yield f"written to {payload['output']}: {byte_size(payload['bytes'])}"
    yield PRIVATE


def _channels(channels: Sequence[int]) -> str:
    named = ", ".join(map(str, channels[:8]))
    return (
        f"channel {named}"
        if len(channels) == 1
        else f"{len(channels)} channels: {named}" + (", …" if len(channels) > 8 else "")
    )
