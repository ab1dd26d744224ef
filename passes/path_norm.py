"""Path-norms: the graph run with |θ|^q on the all-ones input, gates open and pools read as sums.

Source: Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks" (arXiv 2310.01225): the
path-lifting Φ(θ) has one entry per path, the product of the weights along it (times the bias of its first neuron,
where that is not an input), and ‖Φ(θ)‖_q is its q-norm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp2, inf, ldexp, log, log1p, log2, log10, nextafter
from typing import ClassVar, Literal

import torch

from pathlift.ir.errors import RuntimeFailureError, UsageError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.interpret import run
from pathlift.ir.types import MEMORY_LIMIT
from pathlift.passes.base import Analysis
from pathlift.passes.batch import batch_extent
from pathlift.passes.path_norm_algebra import Operand, PathNormAlgebra, Pooling
from pathlift.passes.scaled import Scaled, log2_of, underflow
from pathlift.passes.sizes import Extents, check_sizes, missing_batches, resolve_inputs
from pathlift.passes.strip_head import StripHead

DTYPES = {"float64": torch.float64, "float32": torch.float32}
_LOG10_2 = log10(2.0)


@dataclass(frozen=True)
class Norm:
    """One path-norm.

    Parameters
    ----------
    q
        The exponent.
    log10
        Decimal logarithm of the norm; ``None`` if it is zero.
    value
        The norm itself; ``None`` where a float64 cannot hold it.
    upper_log10
        An upper bound of `log10` that covers every rounding of the computation (docs/theory); ``None`` if zero.
    pooling
        How pools were read: ``sum`` (the path-norm) or ``max``.
    is_path_norm
        Whether this is ‖Φ(θ)‖_q itself, and not another reading (a bound) of the same graph.
    outputs
        Per output, log10 of the q-norm of the paths that end at each element (−inf where there are none).
    """

    q: float
    log10: float | None
    value: float | None
    upper_log10: float | None
    pooling: Pooling
    is_path_norm: bool
    outputs: Mapping[str, torch.Tensor] = field(repr=False)

    @property
    def zero(self) -> bool:
        """Whether no path has a non-zero weight."""
        return self.log10 is None


@dataclass(frozen=True)
class LayerNorm:
    """What one layer contributes.

    Parameters
    ----------
    node, op
        Label and op of the node.
    share
        The part of ‖Φ‖_q^q that passes through the node's weights (not its bias); 1 for every layer of a chain
        without biases. Invariant under rescaling.
    log10_gain
        log10 of (norm of its outputs / norm of its inputs), both over the paths so far; along a chain the gains add
        up to the norm over that of the input. ``None`` if either is zero.
    """

    node: str
    op: str
    share: float | None
    log10_gain: float | None


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
    """

    norms: tuple[Norm, ...]
    layers: tuple[LayerNorm, ...]
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class PathNorm(Analysis[PathNormResult]):
    """Path-norms ‖Φ(θ)‖_q, exact through pools, GroupSort, skips, borders and frozen batch norms."""

    name: ClassVar[str] = "path-norm"

    q: tuple[float, ...] = (1.0,)
    pooling: Literal["sum", "max"] = "sum"
    inputs_only: bool = False
    dtype: Literal["float64", "float32"] = "float64"
    per_layer: bool = False
    shape: tuple[tuple[str, int], ...] = ()
    memory_limit: int = MEMORY_LIMIT

    def run(self, graph: Graph) -> PathNormResult:
        """Compute the norms.

        Parameters
        ----------
        graph
            Its inputs are fed with ones; a batch axis gets extent 1, other symbolic axes come from `shape`.

        Raises
        ------
        UnsupportedError
            If a node has no exact rule (exit 4); names node, op and reason.
        InvalidModelError
            If a weight is NaN or infinite (exit 3); names the tensor.
        UsageError
            If an option is out of range or an extent is missing.
        """
        if not self.q or any(not 1e-6 <= q <= 1e6 for q in self.q):
            raise UsageError("0420", f"q must be between 1e-6 and 1e6, got {', '.join(map(str, self.q)) or 'nothing'}")
        if self.pooling not in ("sum", "max") or self.dtype not in DTYPES:
            raise UsageError("0421", f"no pooling {self.pooling!r} or dtype {self.dtype!r}")
        stripped = StripHead().run(graph)
        inputs = resolve_inputs(stripped.graph, dict(self.shape))
        check_sizes(stripped.graph, inputs, self.memory_limit)
        assumptions = [stripped.witness.describe(), *missing_batches(stripped.graph, inputs)]
        norms: list[Norm] = []
        layers: tuple[LayerNorm, ...] = ()
        for i, q in enumerate(self.q):
            with underflow(up=False) as record:
                evaluation = _Evaluation(self, q, attribute=self.per_layer and i == 0)
                evaluation.run(stripped.graph, inputs)
                norm = evaluation.norm()
            if i == 0 and self.per_layer:
                layers = evaluation.layers()
            assumptions.extend(evaluation.assumptions())
            if record.happened:
                if norm.zero:
                    assumptions.append(f"q = {q:g}: every term of the norm underflowed; it is an upper bound")
                norm = self._bracketed(norm, stripped.graph, inputs)
            norms.append(norm)
        return PathNormResult(tuple(norms), layers, tuple(dict.fromkeys(a for a in assumptions if a)))

    def _bracketed(self, lower: Norm, graph: Graph, inputs: Mapping[str, Extents]) -> Norm:
        """Replace the upper bound of a norm some of whose terms underflowed by one with those terms rounded up."""
        with underflow(up=True):
            evaluation = _Evaluation(self, lower.q, attribute=False)
            evaluation.run(graph, inputs)
            upper = evaluation.norm()
        return upper if lower.zero else dataclasses.replace(lower, upper_log10=upper.upper_log10)


class _Evaluation:
    """One q on one graph."""

    def __init__(self, options: PathNorm, q: float, *, attribute: bool) -> None:
        self.q, self.options, self.attribute = q, options, attribute
        self.algebra = PathNormAlgebra(q, options.pooling, options.inputs_only, DTYPES[options.dtype], attribute)
        self._gains: list[tuple[str, Node, float | None]] = []
        self._outputs: dict[str, Scaled] = {}
        self._batch, self._whole = 1, list[str]()

    def run(self, graph: Graph, inputs: Mapping[str, Extents]) -> None:
        feeds: dict[str, Operand] = {
            name: Scaled.ones(inputs.get(name, ()), self.algebra.dtype)
            for name in (graph[key].names[0] for key in graph.inputs)
        }
        with torch.set_grad_enabled(self.attribute):
            results = run(graph, self.algebra, feeds, observe=self._observe if self.attribute else None)
            outputs = {name: self.algebra.signal(y) for name, y in results.items()}
        self._batch = batch_extent(graph, inputs, list(outputs.values()))
        if self._batch > 1:
            outputs = {name: y.first_row() for name, y in outputs.items()}
        self._whole = [f"{name!r} ({shape[0]})" for name, shape in inputs.items() if len(shape) > 1 and shape[0] > 1]
        self._outputs = outputs

    def assumptions(self) -> list[str]:
        """What was read as what."""
        lines = []
        if self._batch > 1:
            lines = [f"axis 0 of extent {self._batch} is read as a batch: the norm is of one sample"]
        elif self._whole:
            lines = [f"axis 0 of {', '.join(self._whole)} is no batch to the end: all of it counts as one sample"]
        return [*lines, *self.algebra.caveats()]

    def _observe(self, key: str, node: Node, inputs: tuple[Operand | None, ...], outputs: tuple[Operand, ...]) -> None:
        if key in self.algebra.probes:
            assert inputs[0] is not None
            x, y = self.algebra.signal(inputs[0]), self.algebra.signal(outputs[0])
            gain = (_log2_total(y) - _log2_total(x)) / self.q * _LOG10_2
            self._gains.append((key, node, gain if abs(gain) < inf else None))

    def norm(self) -> Norm:
        elementwise = {name: y.log2().detach() / self.q * _LOG10_2 for name, y in self._outputs.items()}
        mantissa, exponent, roundings = _sum(self._outputs)
        is_path_norm = self.options.pooling == "sum" and not self.options.inputs_only and not self.algebra.bounded
        if not bool(mantissa.isfinite()):
            raise RuntimeFailureError("0911", f"the sum over paths came out as {mantissa.item()}")
        log2_norm = log2_of(mantissa.item(), exponent) / self.q
        if log2_norm == -inf:
            return Norm(self.q, None, 0.0, None, self.options.pooling, is_path_norm, elementwise)
        u = 2.0**-53 if self.options.dtype == "float64" else 2.0**-24
        # The computed value is at least (1 − u)^roundings times the true one. The logarithm adds a few roundings of
        # its own, relative to its size, or to that of its two parts, which are at least 1 before the q-th root.
        slack = -roundings * log1p(-u) / self.q / log(2) + 8 * 2.0**-53 * (1 + 1 / self.q + abs(log2_norm))
        return Norm(
            self.q,
            log2_norm * _LOG10_2,
            _value(mantissa.item(), exponent, self.q),
            nextafter((log2_norm + slack) * _LOG10_2, inf),
            self.options.pooling,
            is_path_norm,
            elementwise,
        )

    def layers(self) -> tuple[LayerNorm, ...]:
        """Shares from one backward pass: ∂ log Σ / ∂t of a factor t on a node's weights, at t = 1."""
        total = _sum(self._outputs)[0]
        probes = list(self.algebra.probes.values())
        shares: list[float | None] = [None] * len(probes)
        if total.requires_grad and total.item() > 0:
            grads = torch.autograd.grad(total.log(), probes, allow_unused=True)
            shares = [0.0 if g is None else float(g) for g in grads]
        by_key = dict(zip(self.algebra.probes, shares, strict=True))
        return tuple(LayerNorm(node.label, node.op, by_key[key], gain) for key, node, gain in self._gains)


def _sum(outputs: Mapping[str, Scaled]) -> tuple[torch.Tensor, int, int]:
    """The sum of all elements of all outputs, as mantissa, exponent, roundings."""
    totals = [y.total() for y in outputs.values()]
    if not totals:
        return torch.zeros(()), 0, 0
    exponent = max(e for _, e, _ in totals)
    mantissa = torch.stack([m * exp2(max(e - exponent, -1000)) for m, e, _ in totals]).sum()
    return mantissa, exponent, max(n for _, _, n in totals) + len(totals)


def _log2_total(x: Scaled) -> float:
    mantissa, exponent, _ = x.total()
    return log2_of(mantissa.item(), exponent)


def _value(mantissa: float, exponent: int, q: float) -> float | None:
    """``(mantissa · 2**exponent)**(1/q)`` if a float64 can hold it."""
    whole = exponent // q if q != 1 else exponent
    log2_norm = log2_of(mantissa, exponent) / q
    if not -1022 <= log2_norm < 1023.999:
        return None
    if q == 1:
        return ldexp(mantissa, exponent)
    rest = (log2(mantissa) + exponent - whole * q) / q
    return ldexp(exp2(rest), int(whole))
