"""Kronecker-sparse layers: `ks detect`, `ks fit`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.envelope import Record, Value


@Record
class Written(TypedDict):
    """A layer that the file has as one."""

    node: str
    pattern: list[int]


@Record
class Detected(TypedDict):
    """A layer that is Kronecker-sparse."""

    node: str
    op: str
    kind: Literal["zeros", "grouped", "batched"]
    pattern: list[int]
    """a, b, c, d."""
    rows: int
    cols: int
    density: float
    flops: float
    flops_dense: float
    bytes: float
    bytes_dense: float
    predicted_speedup: float
    permuted: bool


@Record
class KsDetect(TypedDict):
    """Layers that were found."""

    written: list[Written]
    layers: list[Detected]
    samples: int
    device: str


@Record
class Fitted(TypedDict):
    """A layer, and the product that was fitted to it."""

    node: str
    rows: int
    cols: int
    replaced: bool
    reason: str | None
    patterns: list[list[int]]
    flops_ratio: float | None
    error: float | None
    operator_error: float | None
    weighted_error: float | None
    bound: float | None
    solver: str | None
    predicted_speedup: float | None


@Record
class Skipped(TypedDict):
    """A layer that was not asked about, or is none."""

    node: str
    reason: str


@Record
class EndToEnd(TypedDict):
    """By how much outputs differ."""

    data: Literal["calibration", "random", "none"]
    samples: int
    relative_error: dict[str, Value]


@Record
class KsFit(TypedDict):
    """What became of each layer."""

    replaced: int
    layers: list[Fitted]
    skipped: list[Skipped]
    end_to_end: EndToEnd
    output: str | None
    """The file that was written."""
