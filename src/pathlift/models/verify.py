"""Verification of rewritten models: the original and the new one are run in ONNX Runtime, as they are written.

Relative difference of an output tensor: max|a − b| / max|a|, where a is the original's. Near a tie of two classes, or
where an output cancels or saturates, rounding alone makes it large. An input whose difference is above the tolerance is
left out as ill-conditioned if moving each of its elements by two units of rounding moves the original's own outputs by
1/32 of that difference or more. (On trained networks, a rescaling moves outputs about as much as such a step does.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pathlift.ir.errors import (
    ExecutionError,
    InvalidModelError,
    PathliftError,
    RuntimeFailureError,
    UnsupportedError,
    UsageError,
)
from pathlift.ir.graph import Graph
from pathlift.ir.stages import stage
from pathlift.ir.types import DTYPE_NAMES, Array, TensorType, is_float
from pathlift.models.probes import Feeds, Probes, signature
from pathlift.models.reference import Outputs, open_session, run_session

if TYPE_CHECKING:
    from pathlift.models.source import Model

STEPS = 16
"""In the search for a larger difference."""
NUDGES, AMPLIFICATION = 4, 32.0
"""How often an input is moved by rounding, and how much more than that moves outputs is a difference."""


class Rounding(NamedTuple):
    """The unit of rounding of a float type, and the relative difference that rounding explains by default."""

    unit: float
    tolerance: float


_ROUNDING = {"f64": Rounding(2.0**-52, 1e-9), "f32": Rounding(2.0**-23, 1e-4)}
_COARSE = Rounding(2.0**-10, 5e-2)  # 16 bits and fewer


@dataclass(frozen=True)
class Verification:
    """The largest relative difference that was found between the outputs of two models.

    Parameters
    ----------
    max_relative_difference
        ∞ if an output has another shape or type, or if NaN and infinite values are not in the same places.
    output, input
        Where: the output's name, and the kind of input.
    samples
        How many inputs the outputs were compared on.
    ill_conditioned
        How many more were left out.
    tolerance
        What rounding may explain.
    shapes
        Of the inputs, by name.
    """

    max_relative_difference: float
    output: str
    input: str
    samples: int
    ill_conditioned: int
    tolerance: float
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.max_relative_difference <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object: an infinite difference is null, an infinite tolerance ``"inf"``."""
        difference = self.max_relative_difference
        return {
            "max_relative_difference": difference if isfinite(difference) else None,
            "output": self.output,
            "input": self.input,
            "samples": self.samples,
            "ill_conditioned": self.ill_conditioned,
            "tolerance": self.tolerance if isfinite(self.tolerance) else "inf",
            "passed": self.passed,
        }


def open_original(model: Model) -> Any:
    """Open a model in ONNX Runtime as it was given: what passes do later cannot reach it.

    Raises
    ------
    InvalidModelError, UnsupportedError
        If ONNX Runtime finds it invalid, or cannot load it; says why.
    """
    try:
        return open_session(model)
    except ExecutionError as error:
        raise _original_fails(error) from error


def rounding(*graphs: Graph) -> Rounding:
    """Return that of the coarsest float type of any value, of float32 if there is none."""
    types = [type_ for graph in graphs for _, node in graph.nx.nodes(data="node") for type_ in node.types]
    dtypes = {type_.dtype for type_ in types if isinstance(type_, TensorType)}
    names = [DTYPE_NAMES[dtype] for dtype in dtypes if dtype is not None and is_float(dtype)]
    return max((_ROUNDING.get(name, _COARSE) for name in names), default=_ROUNDING["f32"])


def verify_outputs(
    original: Any,
    before: Graph,
    after: Graph,
    *,
    tolerance: float | None,
    sizes: Mapping[str, int],
    seed: int,
    memory_limit: int,
) -> Verification:
    """Run the original and the rewritten model on the same inputs, and compare their outputs.

    Parameters
    ----------
    original
        From `open_original`.
    before, after
        The original's graph, and the rewritten one, which is saved for the purpose.
    tolerance
        The relative difference that rounding may explain; by default, that of the coarsest float type of any value:
        float64 1e-9, float32 1e-4, others 5e-2.
    sizes
        Extents of symbolic dimensions, by name; the batch needs none.
    seed
        Of the inputs.
    memory_limit
        Bytes that no value may take.

    Raises
    ------
    UnsupportedError
        If ONNX Runtime cannot run the original, or no inputs can be made, or the outputs are no numbers.
    RuntimeFailureError
        If ONNX Runtime runs the original, but not the rewritten model.
    UsageError
        If an extent is missing.
    """
    if not before.outputs:
        raise UnsupportedError("0378", "a model without outputs leaves nothing to compare", hint="leave --verify out")
    inputs, (unit, default) = signature(before, sizes, memory_limit), rounding(before, after)
    limit = default if tolerance is None else tolerance
    probes = Probes(inputs, seed)
    pair = _Pair(original, _open_rewritten(after), lambda feeds: probes.nudged(feeds, 2 * unit), max(limit, default))
    with stage("comparing outputs"):
        samples = (pair.compare(kind, feeds) for kind, feeds in probes)
        worst = max(filter(None, samples), key=lambda sample: sample.difference, default=None)
        if worst is None:
            raise _original_fails(pair.refusal) from pair.refusal
        worst = _search(pair, probes, worst)
    shapes = {name: shape for name, (_, shape) in inputs.items()}
    return Verification(worst.difference, worst.output, worst.kind, pair.samples, pair.ill_conditioned, limit, shapes)


class _Sample(NamedTuple):
    """The output that differs most on one input."""

    difference: float
    output: str
    kind: str
    feeds: Feeds


class _Pair:
    """Two sessions to run on the same inputs; differences up to `limit` are taken as they are."""

    def __init__(self, original: Any, rewritten: Any, nudge: Callable[[Feeds], Feeds], limit: float) -> None:
        self._original, self._rewritten = original, rewritten
        self._nudge, self._limit = nudge, limit
        self._checked = False
        self.refusal: PathliftError | None = None
        self.samples = self.ill_conditioned = 0

    def compare(self, kind: str, feeds: Feeds) -> _Sample | None:
        """Compare the outputs on one input; None if the original does not run on it, or is ill-conditioned there."""
        try:
            expected = run_session(self._original, feeds)
        except (ExecutionError, UsageError) as error:  # an index out of range, for example
            self.refusal = error
            return None
        if not self._checked:
            _check_comparable(expected, run_session(self._original, feeds), self._limit)
            self._checked = True
        try:
            actual = run_session(self._rewritten, feeds)
        except (ExecutionError, UsageError) as error:
            raise _rewritten_fails(error) from error
        difference, output = _largest_difference(expected, actual)
        if difference > self._limit and difference <= AMPLIFICATION * self._noise(expected, feeds):
            self.ill_conditioned += 1
            return None
        self.samples += 1
        return _Sample(difference, output, kind, feeds)

    def _noise(self, expected: Outputs, feeds: Feeds) -> float:
        """How far rounding moves the original's outputs."""
        nudged = [run_session(self._original, self._nudge(feeds)) for _ in range(NUDGES)]
        return max(_largest_difference(expected, outputs)[0] for outputs in nudged)


def _largest_difference(expected: Outputs, actual: Outputs) -> tuple[float, str]:
    return max((relative_difference(y, actual.get(name)), name) for name, y in expected.items())


def relative_difference(original: Array, rewritten: Array | None) -> float:
    """Return max|a − b| / max|a| of two tensors; ∞ if their shapes, types or non-finite elements differ."""
    if rewritten is None or (original.shape, original.dtype) != (rewritten.shape, rewritten.dtype):
        return inf
    a, b = original.astype(np.float64), rewritten.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return inf
    difference = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    size = float(np.abs(a[finite]).max(initial=0.0))
    return difference / size if size else inf if difference else 0.0


def _search(pair: _Pair, probes: Probes, worst: _Sample) -> _Sample:
    """Look for a larger difference, going on from wherever it grew."""
    if not isfinite(worst.difference) or all(values.dtype.kind != "f" for values in worst.feeds.values()):
        return worst
    kind = f"{worst.kind}, moved"
    for _ in range(STEPS):
        sample = pair.compare(kind, probes.near(worst.feeds))
        if sample is not None and sample.difference > worst.difference:
            worst = sample
    return worst


def _open_rewritten(graph: Graph) -> Any:
    try:
        return open_session(graph)
    except (ExecutionError, InvalidModelError) as error:
        raise _rewritten_fails(error) from error


def _check_comparable(first: Outputs, second: Outputs, limit: float) -> None:
    """Check that outputs are arrays of numbers, and the same whenever the model runs on the same input."""
    for name, y in first.items():
        if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiub":
            raise UnsupportedError("0397", f"output {name!r} is no tensor of real numbers")
        if relative_difference(y, second[name]) > limit:
            raise UnsupportedError("0398", f"output {name!r} of the original differs from one run to the next")


def _original_fails(error: PathliftError | None) -> UnsupportedError:
    reason = "" if error is None else f": {error.message}"
    return UnsupportedError("0396", f"ONNX Runtime cannot run the original{reason}", hint="leave --verify out")


def _rewritten_fails(error: PathliftError) -> RuntimeFailureError:
    message = f"ONNX Runtime runs the original, but not the rewritten model: {error.message}"
    return RuntimeFailureError("0921", message)
