"""The path metric: how far apart two networks that differ in their parameters can be, from their paths.

Sources: Gonon, Brisebarre, Riccietti, Gribonval, "A Rescaling-Invariant Lipschitz Bound Based on Path-Metrics"
(arXiv 2405.15006), for ‖Φ(θ) − Φ(θ')‖₁ with equal signs; the case of any signs is proved in docs/theory.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.types import Array
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.fields.field import Field, classes, plus
from pathlift.passes.fields.figures import LOG10_2, plain_value, slack, total
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.fields.scaled import Scaled, log2_of
from pathlift.passes.fields.semiring import Maxima
from pathlift.passes.path_metric.algebra import Errors, PairField, PathMetricAlgebra
from pathlift.passes.path_metric.pair import check_pair, parameters
from pathlift.passes.path_metric.result import Case, Figure, NodeShare, PathMetric
from pathlift.passes.path_norm.algebra import Pooling
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import Extents, check_sizes, missing_batches, resolve_inputs

__all__ = ["Figure", "NodeShare", "PathMetric", "path_metric"]

_CPU = torch.device("cpu")


def path_metric(
    first: Graph,
    second: Graph,
    *,
    inputs: Mapping[str, Array | float] | None = None,
    pooling: Pooling = "sum",
    per_node: bool = False,
    errors: Mapping[str, Errors] | None = None,
    shape: Mapping[str, int] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> PathMetric:
    """Bound |R(x) − R'(x)| for two networks that differ in their parameters only.

    Between them lies a network that has of each parameter the smaller magnitude, and 0 where signs differ. By induction
    over its nodes, c bounds its magnitudes, and E, E' the distances of the two to it. At an input c = |x|, or whatever
    is given for it: the induction asks for nothing but c ≥ |x|, element by element. At a bias c = |b_∧| and
    E = |b| − |b_∧|, through edges c_v = Σ|w_∧|c_u and E_v = Σ|w|E_u + (|w| − |w_∧|)c_u; through a 1-Lipschitz
    activation both stay. So |R(x) − R'(x)| ≤ E + E', element by element. Nothing is subtracted but parameters, and the
    bounds cover every rounding of their computation; not that of whoever executes the networks in floating point.

    Parameters
    ----------
    first, second
        Of the same nodes, edges and attributes.
    inputs
        Per input, by name, a bound on |x|: a number, or an array that broadcasts to the input's shape. By default ones:
        then the figures hold for ‖x‖∞ ≤ 1, and times max(‖x‖∞, 1) for any x.
    pooling
        ``sum`` reads pools as path-norms do; ``max`` as maxima, a smaller bound, since order statistics are 1-Lipschitz
        in ℓ∞.
    per_node
        Whether to find what each node contributes.
    errors
        By a parameter's name in the first: how far each of its elements may be off what is meant, in both networks.
    shape
        Extents of symbolic dimensions, by name; a batch needs none.
    memory_limit
        Bytes that no value may take.

    Raises
    ------
    UnsupportedError
        If a node has no proved rule, or has other attributes or slopes in the second network; names node, op, reason.
    InvalidModelError
        If a weight is NaN or infinite; names the tensor.
    UsageError
        If the graphs are no pair, or an option is out of range.
    """
    if pooling not in ("sum", "max"):
        raise UsageError("1490", f"pools are read as sum or max, not {pooling!r}")
    check_pair(first, second)
    stripped = StripHead().run(first)
    graph, values = stripped.graph, parameters(first, second)
    extents = resolve_inputs(graph, dict(shape or {}))
    check_sizes(graph, extents, memory_limit)
    magnitudes = _magnitudes(extents, inputs)
    with rounding_mode(up=True), exact_arithmetic(_CPU, torch.float64):
        algebra = PathMetricAlgebra(values, pooling, errors=errors)
        outputs = _outputs(graph, algebra, magnitudes)
        listed = [outputs[graph.name_of(v)] for v in graph.outputs]
        apart = {name: _distance(algebra, y) for name, y in outputs.items()}
        sides = [total([e for y in listed if (e := y.excess[i]) is not None], algebra.norms.semiring) for i in (0, 1)]
        largest = total([d for d in apart.values() if d is not None], Maxima())
    shares: tuple[NodeShare, ...] = ()
    if per_node:
        shares = _shares(graph, PathMetricAlgebra(values, pooling, attribute=True, errors=errors), magnitudes)
    case: Case = "theta-and" if all(algebra.exceeds) else "pruning" if any(algebra.exceeds) else "equal"
    return PathMetric(
        case,
        case != "theta-and" and pooling == "sum" and not algebra.norms.bounded and inputs is None,
        pooling,
        _figure(sides[0].plus(sides[1], algebra.norms.semiring)),
        _figure(largest),
        _figure(sides[0]),
        _figure(sides[1]),
        {name: _upper_logs(apart[name], y.common) for name, y in outputs.items()},
        shares,
        _assumptions(graph, algebra, extents, stripped.witness.describe()),
    )


def _magnitudes(extents: Mapping[str, Extents], inputs: Mapping[str, Array | float] | None) -> dict[str, Array]:
    """Return a magnitude for every element of every input.

    Raises
    ------
    UsageError
        If one is missing, belongs to no input, does not fit its shape, or is no finite number ≥ 0.
    """
    if inputs is None:
        return {name: np.broadcast_to(1.0, shape) for name, shape in extents.items()}
    if inputs.keys() != extents.keys():
        known = ", ".join(extents)
        raise UsageError("1489", f"magnitudes of {', '.join(inputs) or 'nothing'}, but the inputs are {known}")
    result = {}
    for name, extent in extents.items():
        given = np.asarray(inputs[name])
        try:
            array = np.broadcast_to(given.astype(np.float64), extent)
        except (TypeError, ValueError):
            shapes = f"{list(given.shape)} are none of {list(extent)}"
            raise UsageError("1491", f"input {name!r}: magnitudes of shape {shapes}") from None
        if not bool((np.isfinite(array) & (array >= 0)).all()):
            raise UsageError("1492", f"input {name!r}: magnitudes must be finite and at least 0")
        result[name] = array
    return result


def _field(array: Array) -> Field:
    """An array as a field: positions along an axis with equal slices are of one class."""
    labels = []
    for axis, n in enumerate(array.shape if array.size else ()):
        rows = np.moveaxis(array, axis, 0).reshape(n, -1)
        _, found = classes(rows)
        labels.append(found)
        if found is not None:
            index = np.unique(found, return_index=True)[1]
            array = array.take(index, axis)
    value = Scaled.of(torch.from_numpy(np.array(array, np.float64)))
    return Field(value, tuple(labels)) if array.size else Field.plain(value)


def _outputs(graph: Graph, algebra: PathMetricAlgebra, magnitudes: Mapping[str, Array]) -> dict[str, PairField]:
    feeds = {graph[key].names[0]: PairField(_field(magnitudes[graph[key].names[0]])) for key in graph.inputs}
    results = run(graph, algebra, feeds)
    outputs = {}
    for value in graph.outputs:
        algebra.enter(graph[value.node])  # which it is, if the output is a parameter
        outputs[graph.name_of(value)] = algebra.signal(results[graph.name_of(value)])
    return outputs


def _distance(algebra: PathMetricAlgebra, y: PairField) -> Field | None:
    """E + E' of an output."""
    first, second = y.excess
    return second if first is None else first if second is None else plus(first, second, algebra.norms.semiring)


def _figure(value: Scaled) -> Figure:
    mantissa, exponent = value.m.item(), int(value.e)
    log2 = log2_of(mantissa, exponent)
    if log2 == -inf:
        return Figure(None, 0.0, None)
    upper = nextafter((log2 + slack(value.roundings, log2)) * LOG10_2, inf)
    return Figure(log2 * LOG10_2, plain_value(mantissa, exponent), upper)


def _upper_logs(distance: Field | None, like: Field) -> torch.Tensor:
    """log10 of every element, rounded upward as a figure is."""
    if distance is None:
        return torch.full(like.shape, -inf, dtype=torch.float64)
    logs = distance.log2()
    largest = float(torch.where(logs > -inf, logs.abs(), 0.0).amax()) if logs.numel() else 0.0
    raised = (logs + slack(distance.value.roundings, largest)) * LOG10_2
    return torch.where(logs > -inf, torch.nextafter(raised, torch.tensor(inf, dtype=torch.float64)), -inf)


def _shares(graph: Graph, algebra: PathMetricAlgebra, magnitudes: Mapping[str, Array]) -> tuple[NodeShare, ...]:
    """∂ log(bound) / ∂t of a factor t on what starts at a node: the bound is a sum of such terms."""
    with rounding_mode(up=True), exact_arithmetic(_CPU, torch.float64, gradients=True):
        outputs = _outputs(graph, algebra, magnitudes)
        found = [e for v in graph.outputs for e in outputs[graph.name_of(v)].excess if e is not None]
        bound = total(found, algebra.norms.semiring).m
        nodes, probes = [node for node, _ in algebra.probes.values()], [probe for _, probe in algebra.probes.values()]
        if not probes or not bound.item() > 0:
            return ()
        grads = torch.autograd.grad(bound.log(), probes, allow_unused=True)
    return tuple(
        NodeShare(node.label, node.op, 0.0 if g is None else g.item()) for node, g in zip(nodes, grads, strict=True)
    )


def _assumptions(
    graph: Graph, algebra: PathMetricAlgebra, extents: Mapping[str, Extents], head: str
) -> tuple[str, ...]:
    lines = [head, *missing_batches(graph, extents)]
    wide = [f"{name!r} ({shape[0]})" for name, shape in extents.items() if len(shape) > 1 and shape[0] > 1]
    if wide:
        lines.append(f"axis 0 of {', '.join(wide)} is no batch here: sums over outputs are over all of it")
    for op, labels in algebra.norms.bounded.items():
        if op == "FakeQuantize":
            lines.append(f"activation quantizers ({labels[0]!r}) add a step of their scale where inputs may differ")
        else:
            lines.append(f"{op} ({labels[0]!r}) is not homogeneous: a bound of the distance, no path metric")
    return tuple(line for line in lines if line)
