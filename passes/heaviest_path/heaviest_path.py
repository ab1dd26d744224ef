"""The heaviest path: the one whose product of weights is the path-norm for q = ∞, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum, inf, log10
from typing import ClassVar

import numpy as np

from pathlift.ir.algebras.interpret import run
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.passes.base import Analysis
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.heaviest_path.algebra import Backpointer, HeaviestPathAlgebra, TracedField
from pathlift.passes.heaviest_path.result import HeaviestPathResult, PathStart, PathStep, Position
from pathlift.passes.heaviest_path.terms import Magnitude, heaviest
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import Extents, check_sizes, missing_batches, resolve_inputs

__all__ = ["HeaviestPath", "HeaviestPathResult", "PathStart", "PathStep"]

_TOLERANCE = 1e-9
"""By how much the logarithm of a path may be below that of the norm, for rounding."""


@dataclass(frozen=True)
class HeaviestPath(Analysis[HeaviestPathResult]):
    """The path with the largest |product of weights|: where it starts, which weights it passes, where it ends.

    Parameters
    ----------
    shape
        Fill in symbolic dimensions. The batch needs none.
    memory_limit
        Refuse larger tensors and models. In bytes.
    inputs_only
        Leave out paths that start at a bias.
    """

    name: ClassVar[str] = "heaviest-path"

    shape: tuple[tuple[str, int], ...] = ()
    memory_limit: int = MEMORY_LIMIT
    inputs_only: bool = False

    def run(self, graph: Graph) -> HeaviestPathResult:
        """Find the path.

        The network is evaluated in the semiring (max, ×), and the path followed back from the largest output element:
        at each node, to the largest of the terms that this one element is made of.

        Parameters
        ----------
        graph
            A batch axis of its inputs gets extent 1, other symbolic axes come from `shape`.

        Raises
        ------
        UnsupportedError
            If a node has no exact rule (exit 4); names node, op and reason. Also if values of the network differ by
            more than the format holds, so that another path may be heavier.
        InvalidModelError
            If a weight is NaN or infinite (exit 3); names the tensor.
        UsageError
            If an extent is missing.
        """
        stripped = StripHead().run(graph)
        inputs = resolve_inputs(stripped.graph, dict(self.shape))
        check_sizes(stripped.graph, inputs, self.memory_limit)
        algebra = HeaviestPathAlgebra(self.inputs_only)
        with rounding_mode(up=False) as record:
            outputs = _outputs(algebra, stripped.graph, inputs)
        assumptions = [stripped.witness.describe(), *missing_batches(stripped.graph, inputs), *algebra.norms.caveats()]
        path = _heaviest_path(outputs, tuple(a for a in assumptions if a))
        if record.inexact:
            self._check_heaviest(path, graph)
        return path

    def _check_heaviest(self, path: HeaviestPathResult, graph: Graph) -> None:
        """Check that no bias that cancellation leaves uncertain starts a heavier path.

        Raises
        ------
        UnsupportedError
            If it may be.
        """
        options = PathNorm((inf,), shape=self.shape, memory_limit=self.memory_limit, inputs_only=self.inputs_only)
        upper = options.run(graph).norms[0].upper_log10
        if upper is not None and (path.log10 is None or path.log10 < upper - _TOLERANCE):
            reason = "cancellation leaves a batch norm's shift uncertain, where the heaviest path may start"
            raise UnsupportedError("0320", reason, hint="--inputs-only leaves biases out")


def _outputs(algebra: HeaviestPathAlgebra, graph: Graph, inputs: dict[str, Extents]) -> dict[str, TracedField]:
    feeds = {name: algebra.input(name, inputs.get(name, ())) for name in (graph[key].names[0] for key in graph.inputs)}
    with exact_arithmetic(algebra.norms.device, algebra.norms.dtype):
        results = run(graph, algebra, feeds)
        outputs = {}
        for value in graph.outputs:
            algebra.enter(graph[value.node])  # whose bias it is, if the output is a parameter
            outputs[graph.name_of(value)] = algebra.signal(results[graph.name_of(value)])
    return outputs


def _heaviest_path(outputs: dict[str, TracedField], assumptions: tuple[str, ...]) -> HeaviestPathResult:
    ends: list[tuple[Magnitude, str, Position]] = []
    for name, y in outputs.items():
        if 0 not in y.operand.shape:
            position, magnitude = heaviest(y.operand, np.ix_(*map(np.arange, y.operand.shape)))
            ends.append((magnitude, name, position))
    largest, output, position = max(ends, key=lambda end: end[0], default=(Magnitude(0, 0.0), "", ()))
    if not largest.mantissa:
        return HeaviestPathResult(None, None, (), "", (), assumptions)
    value, at, steps = outputs[output], position, list[PathStep]()
    viewed: tuple[str, Position] = "", ()
    while isinstance(hop := value.back(at), Backpointer):
        if hop.viewed and hop.viewed != viewed[0]:
            viewed = hop.viewed, at
        if hop.step is not None:  # an element of the node's result, not of what it rearranged last
            steps.append(replace(hop.step, position=viewed[1]) if hop.step.node == viewed[0] else hop.step)
            viewed = "", ()
        value, at = hop.source, hop.position
    weight = fsum(log10(abs(factor.value)) for factor in (hop, *steps))
    return HeaviestPathResult(weight, hop, tuple(reversed(steps)), output, position, assumptions)
