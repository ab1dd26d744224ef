"""Tuned networks: `tune`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.envelope import Record
from schemas.kronecker import Skipped


@Record
class Chosen(TypedDict):
    """A layer, and what it becomes."""

    node: str
    patterns: list[list[int]] | None
    """a, b, c, d of each factor; null where the layer stays dense."""
    rows: int
    cols: int
    flops_ratio: float


@Record
class Dense(TypedDict):
    """The dense file."""

    latency_ms: float | None
    ci: list[float] | None
    accuracy: float | None


@Record
class Best(TypedDict):
    """The best choice; its ratio is that of a last race."""

    choice: list[Chosen]
    ratio: float
    """Of the objective, over the dense file's."""
    latency_ratio: float | None
    """The same; null where latency is not the objective."""
    ci: list[float]
    predicted_ratio: float
    error: float
    predicted_error: float | None
    accuracy: float | None


@Record
class Tried(TypedDict):
    """A choice that was verified; it is not timed where it is not within the limit."""

    ratio: float | None
    latency_ratio: float | None
    ci: list[float] | None
    predicted_ratio: float
    error: float | None
    predicted_error: float | None
    accuracy: float | None
    within: bool


@Record
class OnFront(TypedDict):
    """A choice that no other one beats, among those that were verified or those that are predicted."""

    ratio: float
    latency_ratio: float | None
    error: float
    verified: bool


@Record
class Additivity(TypedDict):
    """How well sums over layers predict."""

    rms: float | None
    """Of measured less predicted ratios."""
    repeat_std: float | None
    signatures: int
    measurements: int


@Record
class Search(TypedDict):
    """How choices were found."""

    method: str
    evaluations: int
    """Choices that were verified."""
    resumed: int
    """Measurements that the log had."""


@Record
class Baseline(TypedDict):
    """A choice to compare with."""

    ratio: float | None
    latency_ratio: float | None
    ci: list[float] | None
    error: float | None
    within: bool


@Record
class Baselines(TypedDict):
    """The best choice of one option per kind of layer, the best of as many random ones, and what `ks fit` does."""

    uniform: Baseline | None
    random: Baseline | None
    ks_fit: Baseline | None


@Record
class Noise(TypedDict):
    """What the machine does besides."""

    repeat_std: float | None
    wall_over_cpu: float | None


@Record
class Tune(TypedDict):
    """The best choice of layers, and how it was found."""

    objective: Literal["latency", "bytes", "flops"]
    limit: float
    max_drop: float | None
    dense: Dense
    best: Best | None
    tried: list[Tried]
    front: list[OnFront]
    additive: Additivity
    search: Search
    baselines: Baselines
    noise: Noise
    skipped: list[Skipped]
    output: str | None
    chart: str | None
    log: str | None
