"""What pruning costs, proved: the path metric, and on a domain what `compare` proves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import UnsupportedError
from pathlift.passes.path_metric.path_metric import path_metric
from pathlift.passes.path_norm.path_norm import PathNorm

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph
    from pathlift.passes.path_metric.result import PathMetric
    from pathlift.report.distance import DistanceResult

METADATA = "pathlift.prune"
"""The key of a file's metadata under which it says how it was pruned, as JSON."""


@dataclass(frozen=True)
class PruningCertificate:
    """How far a pruned network can be from what it was.

    Parameters
    ----------
    metric
        ‖Φ(θ) − Φ(θ')‖₁, or a bound where weights were refitted; ``None`` if path metrics do not cover the network.
    norm_log10
        log10 of ‖Φ(θ)‖₁, if there is a metric.
    refused
        Why there is none.
    on_domain
        What `compare` proves on a domain, if one was given.
    """

    metric: PathMetric | None = None
    norm_log10: float | None = None
    refused: str = ""
    on_domain: DistanceResult | None = field(default=None)

    @property
    def relative(self) -> float | None:
        """The metric as a share of ‖Φ(θ)‖₁."""
        if self.metric is None or self.norm_log10 is None:
            return None
        log10 = self.metric.l1.log10
        return 0.0 if log10 is None else float(10.0 ** (log10 - self.norm_log10))

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it rests on."""
        metric = self.metric.assumptions if self.metric else ()
        return (*metric, *(self.on_domain.assumptions if self.on_domain else ()))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = {"refused": self.refused or None, "path_metric": None, "domain": None}
        if self.metric is not None:
            figures = {name: getattr(self.metric, name).to_json() for name in ("l1", "linf")}
            about = {"case": self.metric.case, "is_path_metric": self.metric.is_path_metric}
            found["path_metric"] = {**about, **figures, "norm_log10": self.norm_log10, "relative": self.relative}
        if self.on_domain is not None:
            told = self.on_domain.to_json()
            bound = {key: told["bound"][key] for key in ("l1", "linf", "method", "method_linf")}
            sampled = {key: told[key] for key in ("sampled_max_l1", "sampled_max_linf", "vacuous")}
            found["domain"] = {**told["domain"], **bound, **sampled}
        return found


def certified(before: Graph, after: Graph, shape: Mapping[str, int], memory_limit: int) -> PruningCertificate:
    """Return the path metric of two graphs of the same nodes: by how much |R(x) − R'(x)| may differ for ‖x‖∞ ≤ 1.

    Raises
    ------
    PathliftError
        If extents are missing, or weights are NaN.
    """
    try:
        metric = path_metric(before, after, shape=shape, memory_limit=memory_limit)
        norm = PathNorm(shape=tuple(shape.items()), memory_limit=memory_limit).run(before).norms[0].log10
    except UnsupportedError as refusal:
        return PruningCertificate(refused=f"{refusal.code} {refusal.message}")
    return PruningCertificate(metric, norm)


def told_in_file(graph: Graph, told: Mapping[str, Any]) -> Graph:
    """Return the graph with this in its file's metadata."""
    builder = graph.edit()
    text = json.dumps(told, allow_nan=False)
    builder.info = dataclasses.replace(builder.info, metadata={**builder.info.metadata, METADATA: text})
    return builder.finish()
