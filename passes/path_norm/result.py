"""Results of path-norms: norms, their bounds, and the layers' shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isinf
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


PER_OUTPUT_LIMIT = 10_000
"""Elements beyond which an output's figures are not listed unless asked for."""


@dataclass(frozen=True)
class Norm:
    """One path-norm.

    Parameters
    ----------
    q
        The exponent; 0 counts the non-zero paths, ∞ is the largest absolute product of a path.
    log10
        Decimal logarithm of the norm; ``None`` if it is zero.
    value
        The norm itself; ``None`` where a float64 cannot hold it.
    upper_log10
        An upper bound of `log10` that covers every rounding of the computation (docs/theory); ``None`` if zero.
    pooling
        How pools were read: ``sum`` (the path-norm) or ``max``.
    is_path_norm
        Whether this is a norm of Φ(θ) itself, and not another reading (a bound) of the same graph.
    outputs
        Per output, log10 of the q-norm of the paths that end at each element (−inf where there are none), float64. One
        that the model lists twice is here once; the norm counts it twice, as it would a copy under another name.
    mixed
        r, if this is the r-norm over output elements of their q-norms, ‖Φ‖_{q,r}; ``None`` for the q-norm of all.
    """

    q: float
    log10: float | None
    value: float | None
    upper_log10: float | None
    pooling: Literal["sum", "max"]
    is_path_norm: bool
    outputs: Mapping[str, Tensor] = field(repr=False)
    mixed: float | None = None

    @property
    def zero(self) -> bool:
        """Whether no path has a non-zero weight."""
        return self.log10 is None

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return plain JSON types; infinite exponents are ``"inf"``, and logarithms of 0 are null.

        Parameters
        ----------
        full
            List per-output figures past 10,000 outputs too.
        """
        return {
            "q": _exponent(self.q),
            "mixed": None if self.mixed is None else _exponent(self.mixed),
            "log10": self.log10,
            "value": self.value,
            "upper_log10": self.upper_log10,
            "pooling": self.pooling,
            "is_path_norm": self.is_path_norm,
            "zero": self.zero,
            "outputs": {
                name: {"per_output_log10": [None if isinf(v) else v for v in logs.reshape(-1).tolist()]}
                if full or logs.numel() <= PER_OUTPUT_LIMIT
                else {}
                for name, logs in self.outputs.items()
            },
        }


def _exponent(q: float) -> float | str:
    return "inf" if isinf(q) else q


@dataclass(frozen=True)
class LayerNorm:
    """What one layer contributes.

    Parameters
    ----------
    node, op
        Label and op of the node.
    share
        The part of ‖Φ‖_q^q that passes through the node's weights (not its bias); 1 for every layer of a chain
        without biases. Invariant under rescaling. For q = ∞: 1 if the largest path passes there.
    log10_gain
        log10 of (norm of its outputs / norm of its inputs), both over the paths so far; along a chain the gains add
        up to the norm over that of the input. ``None`` if either is zero.
    channels
        The share of each output channel, float64; they add up to `share`. ``None`` if the norm is zero.
    log10
        log10 of the norm of its outputs, over the paths so far; ``None`` if it is zero.
    """

    node: str
    op: str
    share: float | None
    log10_gain: float | None
    channels: Tensor | None = field(default=None, repr=False, compare=False)
    log10: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"node": self.node, "share": self.share, "log10_gain": self.log10_gain, "log10": self.log10}


@dataclass(frozen=True)
class PathNormResult:
    """All norms of one graph, and what they rest on.

    Parameters
    ----------
    norms
        One per q, in the order asked for.
    layers
        For the first q, in topological order; empty unless asked for.
    assumptions
        What was read as what.
    weights
        For the first q, π = θ·∂log‖Φ‖_q/∂θ of every parameter that takes part, by its name, in its shape, float64;
        empty unless asked for. π ≥ 0 for weights; it is the share of ‖Φ‖_q^q that passes through that weight.
    """

    norms: tuple[Norm, ...]
    layers: tuple[LayerNorm, ...]
    assumptions: tuple[str, ...]
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return the norms, and the layers if there are any, in plain JSON types; `full` is that of `Norm.to_json`."""
        layers = {"layers": [layer.to_json() for layer in self.layers]} if self.layers else {}
        return {"norms": [norm.to_json(full=full) for norm in self.norms], **layers}
