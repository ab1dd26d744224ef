"""Kronecker-sparse layers as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from pathlift.cli.render import Payload, table


def detect(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per layer that was found, or that there is none."""
    layers, written = payload["layers"], payload["written"]
    for layer in written:
        yield f"{layer['node']} is a KSLinear of pattern ({','.join(map(str, layer['pattern']))})"
    if not layers:
        yield (
            "no other layer is Kronecker-sparse"
            if written
            else ("no layer is Kronecker-sparse: each needs its whole matrix")
        )
        return
    figures = ["density", "flops", "of dense", "predicted"]
    rows = [
        [
            layer["node"],
            layer["op"],
            layer["kind"] + (", permuted" if layer["permuted"] else ""),
            f"({','.join(map(str, layer['pattern']))})",
            f"{layer['rows']}×{layer['cols']}",
            f"{100 * layer['density']:.3g} %",
            _scaled(layer["flops"]),
            f"{100 * layer['flops'] / layer['flops_dense']:.3g} %",
            f"{layer['predicted_speedup']:.2f}×",
        ]
        for layer in layers
    ]
    yield table(["layer", "op", "structure", "pattern", "matrix", *figures], rows, right=figures)
    yield f"predicted: time as it is over time as KSLinear, {payload['samples']:,} samples, {payload['device']}"


def fit(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per layer, why some stay, and by how much outputs differ."""
    figures = ["flops", "error", "operator", "outputs", "predicted"]
    rows = [
        [
            layer["node"],
            f"{layer['rows']}×{layer['cols']}",
            "".join(f"({','.join(map(str, p))})" for p in layer["patterns"]) if layer["replaced"] else "stays dense",
            _percent(layer["flops_ratio"]),
            *(_percent(layer[key]) for key in ("error", "operator_error", "weighted_error")),
            "–" if layer["predicted_speedup"] is None else f"{layer['predicted_speedup']:.2f}×",
        ]
        for layer in payload["layers"]
    ]
    if rows:
        yield table(["layer", "matrix", "factors", *figures], rows, right=figures)
    for layer in payload["layers"]:
        if layer["reason"]:
            yield f"{layer['node']} stays dense: {layer['reason']}"
    for skipped in payload["skipped"]:
        yield f"{skipped['node']} is left out: {skipped['reason']}"
    errors = payload["end_to_end"]["relative_error"]
    for name, error in errors.items():
        yield f"output {name}: off by {_percent(error)} on {payload['end_to_end']['data']} inputs"
    if payload["output"]:
        yield f"written to {payload['output']}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.3g} %"


def _scaled(count: int) -> str:
    """Return a number of operations with a decimal prefix."""
    size = float(count)
    for prefix in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.3g} {prefix}".strip()
        size /= 1000
    return f"{size:.3g} T"
