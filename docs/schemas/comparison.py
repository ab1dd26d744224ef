"""Two models: `compare`, `verify-cert`."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from schemas.envelope import Log10, Record, Source, Value
from schemas.norms import Interval


@Record
class Domain(TypedDict):
    """What inputs lie in."""

    inputs: dict[str, Interval]
    """Over all boxes."""
    samples: int
    """How many boxes there are."""
    radius: float | None
    """Of balls around samples."""
    uniform: bool
    """Whether each box is all that lies between the ends."""


@Record
class Bound(TypedDict):
    """The best of all methods, the largest over all boxes; null where none has a finite one."""

    l1: Value
    linf: Value
    log10: Log10
    method: str | None
    method_linf: str | None
    per_output: list[float | None] | None
    """Of each element; null past 10,000."""


@Record
class Methods(TypedDict):
    """Bounds in l1, by method; null where one has none."""

    interval: NotRequired[Value]
    differential: NotRequired[Value]
    path_metric: NotRequired[Value]
    joint: NotRequired[Value]
    ellipsoid: NotRequired[Value]
    refused: dict[str, str]
    """Why a method has none."""


@Record
class PerSample(TypedDict):
    """One box: bounds, and the largest differences found."""

    l1: Value
    linf: Value
    sampled_l1: Value
    sampled_linf: Value


@Record
class Blame(TypedDict):
    """What one layer's change does alone, in l1."""

    node: str
    bound: Value
    measured: Value


@Record
class Distance(TypedDict):
    """How far two models can be apart on a domain."""

    other: Source
    bound: Bound
    methods: Methods
    methods_linf: dict[str, float | None]
    seconds: dict[str, float]
    domain: Domain
    sampled_max_l1: Value
    sampled_max_linf: Value
    looseness: Value
    """The bound over what was found; null where nothing was."""
    looseness_linf: Value
    vacuous: bool
    norm: Literal["l1", "linf"]
    tolerance: float | None
    verdict: Literal["bounded", "proved", "refuted", "inconclusive"]
    interrupted: bool
    per_sample: NotRequired[list[PerSample]]
    """Of several boxes."""
    layers: NotRequired[list[Blame]]
    """With `--per-layer`."""
    certificate: NotRequired[str]
    """The file that was written."""
    witness: NotRequired[str]
    """The file that was written."""
    chart: NotRequired[str]
    """The file that was written."""


@Record
class Difference(TypedDict):
    """The first difference."""

    kind: Literal["interface", "structure", "parameter"]
    message: str
    node: str | None
    parameter: str | None
    index: list[int] | None
    values: list[float | int | bool | str | None] | None
    """The two elements; null where one is NaN or infinite."""


@Record
class Rescaled(TypedDict):
    """Neurons that the same nodes write."""

    nodes: list[str]
    log2_factors: list[float | None]
    """Null where no weight tells."""


@Record
class Permuted(TypedDict):
    """Where each channel of a node went."""

    node: str
    image: list[int]


@Record
class Equivalence(TypedDict):
    """With `--modulo`: whether two models are one up to symmetries of their weights."""

    other: Source
    modulo: list[str]
    tolerance: float
    verdict: Literal["equivalent", "different", "inconclusive"]
    reason: str | None
    largest_difference: Value
    difference: Difference | None
    rescaling: list[Rescaled] | None
    permutation: list[Permuted] | None


@Record
class OutputDifference(TypedDict):
    """One output over all inputs: where the relative difference is largest; null figures are infinite."""

    name: str
    other: str
    """What the second file calls it."""
    same: bool
    input: str
    relative: Value
    index: list[int] | None
    values: list[float | int | bool | str | None] | None
    """The two elements; null where one is NaN or infinite."""
    reason: str | None
    """Why there are none to compare."""
    absolute: Value
    """The largest absolute difference, which may be another input's."""
    absolute_input: str


@Record
class PartedValue(TypedDict):
    """A value or a parameter that is another one in the second model."""

    node: str
    op: str
    value: str
    other: str
    absolute: Value
    relative: Value
    index: list[int] | None
    values: list[float | int | bool | str | None] | None
    reason: str | None


@Record
class Parting(TypedDict):
    """Where the models part on the worst input."""

    input: str
    matched_by: Literal["structure", "names"]
    matched: int
    """How many values were compared."""
    nodes: list[int]
    """How many there are in either file."""
    values: list[PartedValue]
    """Producers first; the first is where they part."""
    agreeing: list[str]
    """What its layer reads."""
    parameters: list[PartedValue]
    """Those of its layer that differ."""
    reason: str | None
    """Why nothing is known."""


@Record
class Sameness(TypedDict):
    """With `--modulo none`: whether two models return the same on the same inputs."""

    other: Source
    modulo: Literal["none"]
    verdict: Literal["same", "different"]
    tolerance: Value
    """Of real numbers, relative; null for an infinite one."""
    discrete_tolerance: Value
    """Of integers and Booleans."""
    samples: int
    given: int
    ill_conditioned: int
    """Inputs left out: rounding moves outputs about as much as they differ."""
    reason: str | None
    """What is different where that is no number."""
    outputs: list[OutputDifference]
    parting: Parting | None
    witness: NotRequired[str]
    """The file that was written."""


Comparison = Distance | Equivalence | Sameness


@Record
class ByNorm(TypedDict):
    """A bound in each norm."""

    l1: NotRequired[Value]
    linf: NotRequired[Value]


@Record
class Verification(TypedDict):
    """A certificate's bound, proved again."""

    other: Source
    verdict: Literal["proved", "refuted"]
    reason: str | None
    domain: Domain | None
    stated: ByNorm
    proved: ByNorm
    seconds: float
