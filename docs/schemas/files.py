"""Models as files: `inspect`, `export`, `run`, `bench`, `codegen`."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from schemas.envelope import Record, Value
from schemas.rewriting import Symmetry


@Record
class Port(TypedDict):
    """An input or an output."""

    name: str
    dtype: str
    """`f32`, `i64`, ...; `?` where it is not known."""
    shape: list[int | str | None] | None
    """Names stand for open dimensions; null where nothing is known."""


@Record
class Parameters(TypedDict):
    """All weights."""

    count: int
    bytes: int


@Record
class Refusal(TypedDict):
    """A node that an analysis does not cover."""

    code: str
    node: str
    op: str
    reason: str


@Record
class Applicability(TypedDict):
    """Whether an analysis applies."""

    applies: bool
    refusals: list[Refusal]


@Record
class Node(TypedDict):
    """A node, in the order of execution."""

    node: str
    op: str
    parameters: list[str]
    """Names of the weights that it reads."""
    outputs: list[Port]


@Record
class Inspect(TypedDict):
    """What a model is made of."""

    ops: dict[str, int]
    """How many nodes there are of each op."""
    opaque: int
    """Nodes that are carried and executed, and not analysed."""
    inputs: list[Port]
    outputs: list[Port]
    parameters: Parameters
    opset: int | None
    ir_version: int | None
    producer: str
    rescaling: Symmetry
    analyses: dict[str, Applicability]
    nodes: NotRequired[list[Node]]
    """With `--nodes`."""


@Record
class Export(TypedDict):
    """The file that was written."""

    output: str
    bytes: int
    opset: int | None
    inputs: list[Port]
    outputs: list[Port]


@Record
class Returned(TypedDict):
    """An output; figures are over its finite values."""

    dtype: str
    shape: list[int]
    min: float | None
    mean: float | None
    max: float | None
    non_finite: int


@Record
class Run(TypedDict):
    """What a model returned."""

    outputs: dict[str, Returned]
    executor: str
    device: str
    output: str | None
    """The file that was written."""


@Record
class Timed(TypedDict):
    """A model on a number of threads."""

    model: str
    threads: int
    runs: int
    median_s: float
    quartiles_s: list[float]
    speedup: float
    """The first model's time over this one's, the median over rounds."""
    speedup_interval: list[float]
    """Of 95 %, by resampling."""
    relative_difference: Value
    """Of its outputs from the first model's; null where other elements are NaN or infinite."""


@Record
class Bench(TypedDict):
    """Times of one or several models."""

    models: list[Timed]
    executor: str
    device: str


@Record
class Generated(TypedDict):
    """A layer, or several that one kernel or one dense product computes."""

    nodes: list[str]
    patterns: list[list[int]]
    samples: int
    file: str | None
    """The kernel's; null if the layer is dense, as what follows."""
    sha256: str | None
    template: str | None
    schedule: str | None
    reason: str
    predicted_seconds: float | None
    dense_seconds: float | None
    registers: int | None
    shared: int | None
    """Bytes of shared memory per program."""
    stack: int | None
    """Bytes of the stack per thread."""


@Record
class Codegen(TypedDict):
    """Kernels of Kronecker-sparse layers."""

    arch: str
    device: str
    precision: Literal["ieee", "tf32", "tf32x3"]
    triton: str
    layers: list[Generated]
    files: list[str]
    output: str | None
    """The folder; null if nothing was written."""
