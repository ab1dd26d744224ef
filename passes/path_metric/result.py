"""Results of path metrics: bounds, in logarithms and plain, and what each node contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isinf, nextafter
from typing import TYPE_CHECKING, Any, Literal

from pathlift.passes.path_norm.result import PER_OUTPUT_LIMIT

if TYPE_CHECKING:
    from torch import Tensor

Case = Literal["equal", "pruning", "theta-and"]


@dataclass(frozen=True)
class Figure:
    """One number.

    Parameters
    ----------
    log10
        Decimal logarithm as computed; ``None`` for 0.
    value
        The number itself, as computed; ``None`` where a float64 cannot hold it.
    upper_log10
        An upper bound of the logarithm that covers every rounding; ``None`` for 0.
    """

    log10: float | None
    value: float | None
    upper_log10: float | None

    @property
    def upper(self) -> float | None:
        """An upper bound of the number; ``None`` where a float64 cannot hold it."""
        if self.upper_log10 is None:
            return 0.0
        if not -307 < self.upper_log10 < 308:
            return None
        power: float = 10.0**self.upper_log10  # off by less than two roundings
        return nextafter(nextafter(power, inf), inf)

    def to_json(self) -> dict[str, float | None]:
        """Return plain JSON types."""
        return {"log10": self.log10, "value": self.value, "upper_log10": self.upper_log10, "upper": self.upper}


@dataclass(frozen=True)
class NodeShare:
    """What one node contributes to the bound of the sum over outputs.

    Parameters
    ----------
    node, op
        Label and op of the node.
    share
        The part of the bound that starts at this node: what its parameters differ by, times the magnitudes that reach
        it, carried on to the outputs. Shares are non-negative and add up to 1.
    """

    node: str
    op: str
    share: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"node": self.node, "op": self.op, "share": self.share}


@dataclass(frozen=True)
class PathMetric:
    """Bounds on the distance |R(x) − R'(x)| of two networks.

    Parameters
    ----------
    case
        ``equal``: no parameter differs. ``pruning``: one network has all the smaller magnitudes, with equal signs.
        ``theta-and``: neither; both are compared with the network of the smaller magnitudes, 0 where signs differ.
    is_path_metric
        Whether `l1` is ‖Φ(θ) − Φ(θ')‖₁ itself: in the case of pruning, where all activations are homogeneous, pools are
        read as sums, and inputs are all ones.
    pooling
        How pools were read.
    l1, linf
        Of the sum of |R(x) − R'(x)| over output elements, as the model lists its outputs; of the largest.
    first, second
        What `l1` is the sum of: ‖Φ(θ)‖₁ − ‖Φ(θ_∧)‖₁, and the same of θ'.
    outputs
        Per output, log10 of an upper bound of each element's distance, rounded upward, float64; −inf for 0.
    nodes
        The shares of nodes, in topological order; empty unless asked for.
    assumptions
        What was read as what.
    """

    case: Case
    is_path_metric: bool
    pooling: Literal["sum", "max"]
    l1: Figure
    linf: Figure
    first: Figure
    second: Figure
    outputs: Mapping[str, Tensor] = field(repr=False)
    nodes: tuple[NodeShare, ...]
    assumptions: tuple[str, ...]

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return plain JSON types; logarithms of 0 are null.

        Parameters
        ----------
        full
            List per-output figures past 10,000 outputs too.
        """
        figures = {name: getattr(self, name).to_json() for name in ("l1", "linf", "first", "second")}
        outputs = {
            name: {"upper_log10": [None if isinf(v) else v for v in logs.reshape(-1).tolist()]}
            if full or logs.numel() <= PER_OUTPUT_LIMIT
            else {}
            for name, logs in self.outputs.items()
        }
        nodes = {"nodes": [share.to_json() for share in self.nodes]} if self.nodes else {}
        about = {"case": self.case, "is_path_metric": self.is_path_metric, "pooling": self.pooling}
        return {**about, **figures, "outputs": outputs, **nodes}
