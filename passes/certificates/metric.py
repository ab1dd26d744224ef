"""The path metric as a method: it needs the graphs, whose paths it counts, and of the domain how large inputs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import torch

from pathlift.ir.graph import Graph
from pathlift.passes.certificates.elementary import total
from pathlift.passes.certificates.problem import Bound, Clock, Problem
from pathlift.passes.intervals.box import up
from pathlift.passes.path_metric.algebra import Errors
from pathlift.passes.path_metric.path_metric import path_metric

Tensor = torch.Tensor


@dataclass(frozen=True)
class Metric:
    """The path metric with pools as maxima, which are never more than sums.

    Parameters
    ----------
    first, second
        The graphs that the problem's tapes were recorded from.
    errors
        How far their parameters may be off what is meant, by key.
    """

    first: Graph
    second: Graph
    errors: Mapping[str, Errors] = field(default_factory=dict)

    name: ClassVar[str] = "path_metric"

    def search(self, problem: Problem, clock: Clock) -> Iterator[Bound]:
        """Yield the bound."""
        del clock
        yield self.check(problem, {})

    def check(self, problem: Problem, parameters: Mapping[str, Tensor]) -> Bound:
        """Return the bound.

        Raises
        ------
        UnsupportedError
            If a node has no proved rule; names node, op and reason.
        """
        del parameters
        names = [self.first[key].names[0] for key in self.first.inputs]
        sizes = {name: box.magnitude.numpy() for name, box in zip(names, problem.domain, strict=True)}
        errors = {self.first[key].names[0]: both for key, both in self.errors.items() if key in self.first.nx}
        found = path_metric(self.first, self.second, inputs=sizes, pooling="max", errors=errors)
        parts = [logs.reshape(-1) for logs in found.outputs.values()]
        logs = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
        # From logarithms: a few roundings, relative to their size.
        value = torch.pow(10.0, logs) * (1 + 1e-13 * (1 + logs.abs().nan_to_num(0.0, 0.0, 0.0)))
        per_output = torch.where(logs == -inf, 0.0, up(value))
        upper = found.l1.upper
        l1 = total(per_output) if upper is None else min(upper, total(per_output))
        return Bound(self.name, per_output, l1)
