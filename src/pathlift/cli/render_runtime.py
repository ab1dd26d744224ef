"""Outputs of models, and how long they took, as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from pathlift.cli.render import Payload, table


def run(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per output."""
    figures = ["min", "mean", "max"]
    rows = [
        [name, y["dtype"], f"[{', '.join(map(str, y['shape']))}]", *(_figure(y[f]) for f in figures)]
        for name, y in payload["outputs"].items()
    ]
    yield table(["output", "dtype", "shape", *figures], rows, right=figures)
    for name, y in payload["outputs"].items():
        if y["non_finite"]:
            yield f"{name} holds {y['non_finite']} values that are not finite"
    if payload["output"]:
        yield f"written to {payload['output']}"
    yield f"run by {payload['executor']} on {payload['device']}"


def bench(payload: Payload) -> Iterator[RenderableType]:
    """Yield one row per model and number of threads."""
    figures = ["threads", "runs", "median", "quartiles", "speed-up", "95 %", "difference"]
    rows = []
    for m in payload["models"]:
        low, high = m["speedup_interval"]
        quartiles = "–".join(_milliseconds(q) for q in m["quartiles_s"])
        rows.append([
            m["model"], str(m["threads"]), str(m["runs"]), f"{_milliseconds(m['median_s'])} ms", quartiles,
            f"{m['speedup']:.2f}×", f"{low:.2f}–{high:.2f}", f"{m['relative_difference']:.1e}",
        ])  # fmt: skip
    yield table(["model", *figures], rows, right=figures)
    yield "speed-up: time of the first model over its own, per round; difference: of outputs, relative"
    yield f"run by {payload['executor']} on {payload['device']}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:#.3g}".rstrip(".")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
