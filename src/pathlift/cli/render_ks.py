"""Kronecker-sparse layers as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from pathlift.cli.render import Payload, table


def detect(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per layer that was found, or that there is none."""
    layers = payload["layers"]
    if not layers:
        yield "no layer is Kronecker-sparse: each needs its whole matrix"
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


def _scaled(count: int) -> str:
    """Return a number of operations with a decimal prefix."""
    size = float(count)
    for prefix in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.3g} {prefix}".strip()
        size /= 1000
    return f"{size:.3g} T"
