"""Path-norms: `norm`."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from schemas.envelope import Log10, Record, Value

Exponent = float | Literal["inf"]


@Record
class PerOutput(TypedDict):
    """Figures of one output."""

    per_output_log10: NotRequired[list[float | None]]
    """Of each element; left out past 10,000 unless `--full`."""


@Record
class OneNorm(TypedDict):
    """One path-norm."""

    q: Exponent
    mixed: Exponent | None
    """The outer exponent, if it is a mixed norm."""
    log10: Log10
    value: Value
    upper_log10: Log10
    """An upper bound of `log10` that covers every rounding."""
    pooling: Literal["sum", "max"]
    is_path_norm: bool
    """Whether it is the path-norm itself, and not another reading of the network."""
    zero: bool
    outputs: dict[str, PerOutput]


@Record
class Layer(TypedDict):
    """What one layer contributes to the first norm."""

    node: str
    share: float | None
    """The part of the norm to the power q that passes through its weights."""
    log10_gain: float | None
    log10: float | None
    """Of the norm of its outputs, over the paths so far."""


@Record
class Cut(TypedDict):
    """The node before a region, and why it is not in it."""

    node: str
    op: str
    reason: str


@Record
class Start(TypedDict):
    """A value that enters a region."""

    name: str
    cut_by: Cut | None
    """Null for an input of the network."""


@Record
class Reader(TypedDict):
    """A node that reads what leaves a region."""

    node: str
    op: str


@Record
class End(TypedDict):
    """A value that leaves a region."""

    name: str
    read_by: list[Reader]
    is_output: bool


@Record
class Region(TypedDict):
    """A part of the network that path-norms cover, as a network of its own."""

    inputs: list[Start]
    outputs: list[End]
    nodes: int
    layers: list[str]
    norms: list[OneNorm]
    assumptions: list[str]


@Record
class Skipped(TypedDict):
    """A part that they do not cover."""

    nodes: int
    layers: list[str]
    reason: str


@Record
class Factor(TypedDict):
    """Where a path starts."""

    node: str
    op: str
    parameter: str | None
    index: list[int]
    value: float


@Record
class PathStep(TypedDict):
    """An edge of a path."""

    node: str
    op: str
    parameter: str | None
    index: list[int]
    value: float
    position: list[int]
    """The element that it arrives at."""


@Record
class HeaviestPath(TypedDict):
    """A path with the largest absolute product of weights."""

    log10: Log10
    start: Factor | None
    steps: list[PathStep]
    output: str
    position: list[int]


@Record
class Interval(TypedDict):
    """The least and the largest number of an input."""

    low: float
    high: float


@Record
class Local(TypedDict):
    """Norms of what the network is on a domain."""

    norms: list[OneNorm]
    domain: dict[str, Interval]
    recentred: list[str]
    changes: str
    assumptions: list[str]


@Record
class Norm(TypedDict):
    """Path-norms of a network; of regions, none of the whole."""

    norms: list[OneNorm]
    layers: NotRequired[list[Layer]]
    """With `--per-layer`."""
    regions: NotRequired[list[Region]]
    """With `--regions`."""
    skipped: NotRequired[list[Skipped]]
    heaviest_path: NotRequired[HeaviestPath]
    """With `--heaviest-path`."""
    local: NotRequired[Local]
    """With `--domain`."""
    weights: NotRequired[str]
    """The file that was written."""
    chart: NotRequired[str]
    """The file that was written."""
