"""Rewritten models: `opt`, `canonicalize`, and the symmetries that `inspect` reports too."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from schemas.envelope import Log10, Record, Value


@Record
class Class(TypedDict):
    """Neurons that the same nodes write."""

    nodes: list[str]
    count: int


@Record
class Pinned(TypedDict):
    """What fixes scales at 1, and how many."""

    node: str
    op: str
    reason: str
    count: int


@Record
class Tied(TypedDict):
    """A parameter that is used at several depths, and how many scales that costs."""

    parameter: str
    count: int


@Record
class Symmetry(TypedDict):
    """Rescaling symmetries."""

    free: int
    """How many scales can be chosen freely."""
    classes: list[Class]
    pinned: list[Pinned]
    tied: list[Tied]


@Record
class Canonicalize(TypedDict):
    """What was rescaled."""

    norm: str
    exact: bool
    changed: bool
    rescaling: Symmetry
    dead: int
    """Neurons that carry nothing."""
    log2_factors: list[float] | None
    """The least and the largest."""
    output: str | None
    """The file that was written."""


@Record
class StepNorm(TypedDict):
    """A path-norm between two passes."""

    q: float | Literal["inf"]
    log10: Log10
    zero: bool


@Record
class Seconds(TypedDict):
    """How long a pass took."""

    rewriting: float
    checking: float


@Record
class Step(TypedDict):
    """A pass that ran."""

    name: str
    changed: bool
    note: str
    """What it did."""
    effect: str
    """What it may do to path-norms."""
    norms: list[StepNorm] | None
    """After it; empty unless asked for, null for a network that has none."""
    seconds: Seconds | None
    """If asked for."""


@Record
class Verified(TypedDict):
    """The comparison with the original, both run by ONNX Runtime."""

    max_relative_difference: Value
    output: str
    input: str
    """The kind of input."""
    samples: int
    ill_conditioned: int
    tolerance: float | Literal["inf"]
    passed: bool


@Record
class Size(TypedDict):
    """How large a graph is."""

    ops: int
    parameters: int
    bytes: int
    flops: int | None
    """Null where extents are not known."""


@Record
class Sizes(TypedDict):
    """Of the graphs before the first pass and after the last."""

    before: Size
    after: Size


# A class cannot have a field of the name `pass`.
Failed = Record(
    TypedDict(
        "Failed",
        {"index": int, "pass": str, "code": str, "message": str, "sites": list[str] | None, "ir": list[str]},
    )
)


@Record
class Bisected(TypedDict):
    """What a bisection found."""

    failure: Failed | None
    """The first pass that fails, the sites that it takes, and a small graph; null if none fails."""


@Record
class Opt(TypedDict):
    """What passes did."""

    output: str | None
    passes: list[Step]
    ir: list[str]
    """The text form, line by line, where no file was written."""
    norms: list[StepNorm] | None
    """Before the first pass."""
    verify: Verified | None
    sizes: Sizes | None
    """If asked for."""
    bisect: Bisected | None
    """If asked for."""
