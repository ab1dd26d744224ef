"""Pruned networks: `prune`."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from schemas.comparison import Interval
from schemas.envelope import Log10, Record, Value


@Record
class Change(TypedDict):
    """A count before and after; null where it is not known."""

    before: int | None
    after: int | None


@Record
class Layer(TypedDict):
    """The weights of a layer."""

    node: str
    parameter: str
    total: int
    zeroed: int
    channels: Change


@Record
class Channels(TypedDict):
    """What it brings that channels are gone."""

    target: str | None
    """What the sparsity was a share of; null where single weights were pruned."""
    flops: Change
    bytes: Change


@Record
class Kept(TypedDict):
    """A node that was left alone."""

    node: str
    reason: str


@Record
class Refit(TypedDict):
    """By how much a layer's outputs are off on the data, before and after its refit."""

    parameter: str
    before: float | None
    after: float | None
    reason: str


@Record
class Figure(TypedDict):
    """One number."""

    log10: Log10
    value: Value
    upper_log10: Log10
    upper: Value


@Record
class Metric(TypedDict):
    """The path metric of the network before and after."""

    case: Literal["equal", "pruning", "theta-and"]
    is_path_metric: bool
    l1: Figure
    linf: Figure
    norm_log10: Log10
    relative: float | None
    """As a share of the path-norm."""


@Record
class OnDomain(TypedDict):
    """What is proved on a domain."""

    inputs: dict[str, Interval]
    samples: int
    radius: float | None
    uniform: bool
    l1: Value
    linf: Value
    method: str | None
    method_linf: str | None
    sampled_max_l1: Value
    sampled_max_linf: Value
    vacuous: bool


@Record
class Certificate(TypedDict):
    """How far the pruned network can be from what it was."""

    refused: str | None
    path_metric: Metric | None
    domain: OnDomain | None


@Record
class Bytes(TypedDict):
    """Of the weights, with all zeros and with sparse initializers."""

    dense: int
    sparse: int


@Record
class Pruned(TypedDict):
    """One pruning."""

    criterion: str
    sparsity_requested: float | None
    sparsity: float
    total: int
    zeroed: int
    layers: list[Layer]
    channels: Channels | None
    kept: list[Kept]
    compensation: list[Refit] | None
    certificate: Certificate
    output: str | None
    """The file that was written."""
    bytes: Bytes
    masks: NotRequired[str]
    """The file that was written."""
    sparse: NotRequired[bool]
    file_bytes: NotRequired[int]


@Record
class Point(TypedDict):
    """A pruned network of a sweep."""

    criterion: str
    """Empty for the network as it was."""
    sparsity_requested: float
    sparsity: float
    accuracy: float
    flops: float
    file_bytes: int
    sparse_bytes: int
    seconds: float
    seconds_quartiles: list[float]
    speedup: float
    pareto: NotRequired[bool]
    """Whether no other is at least as accurate with fewer operations."""


@Record
class Sweep(TypedDict):
    """With `--sweep`: networks of several sparsities."""

    dense: Point
    points: list[Point]
    samples: int
    batch: int
    resumed: int
    """Points that were in the log already."""
    chart: NotRequired[str]
    log: NotRequired[str]


Prune = Pruned | Sweep
