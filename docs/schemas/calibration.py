"""Sketches of data: `calibrate`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.envelope import Record


@Record
class Shard(TypedDict):
    """A part of the data."""

    path: str
    rows: int
    """Samples."""
    digest: str
    """SHA-256 of the samples."""


@Record
class LayerSketch(TypedDict):
    """What is known of what a layer reads."""

    node: str
    op: str
    groups: int
    """Of inputs that outputs share."""
    width: int
    """Of one group: taps times channels, for a convolution."""
    rows: int
    """Samples and positions."""
    rank: int
    """That the second moments have at most; of a projection, its columns."""
    second: Literal["exact", "projected", "diagonal"]
    bytes: int
    effective_rank: float | None
    """(Σλ)²/Σλ² of the eigenvalues of E[x·xᵀ]; null where it is not kept."""
    kurtosis_max: float | None
    """Of a channel: 3 for normal numbers."""
    outlier_channels: list[int]
    """Whose kurtosis is above 50, the largest first."""
    range: list[float] | None
    """The least and the largest number."""
    p99: float
    """The 99 % quantile of |x|."""
    p999: float
    p9999: float
    entropy: float
    """The |x| at which 8 bits clip with the least loss of information."""


@Record
class Outputs(TypedDict):
    """Outputs whose gradients are kept."""

    square: float
    """E‖y‖²."""


@Record
class Calibrate(TypedDict):
    """A sketch of data."""

    rows: int
    """Samples."""
    complete: bool
    """False if it was interrupted."""
    mask: str | None
    missing: list[str]
    """Parts of the data that a cluster has left out."""
    outputs: Outputs | None
    shards: list[Shard]
    layers: list[LayerSketch]
    bytes: int
    """Of the file; of the sums, where there is none."""
    output: str | None
