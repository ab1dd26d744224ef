"""The path-conditioned form: the best conditioned diagonal of the path-lifting's Gram matrix.

With G_ii = ∂‖Φ‖₂²/∂(θ_i²), what is minimized is p·log Σ_i G_ii·e^(Bz)_i − Σ_i (Bz)_i over rescalings θ ← θ·e^(−Bz/2):
the ratio of the arithmetic to the geometric mean of the diagonal (Lebeurrier et al., "Path-conditioned training", arXiv
2602.19799). It is strictly convex; the diagonal of a rescaled copy is the rescaled diagonal, so that all copies have
one minimum. Weights that no path of the network needs (G_ii = 0) are left out of the sums.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.channels.constraints import Use
from pathlift.passes.layers.comparison_form import MEAN, comparison_form
from pathlift.passes.layers.weights import constant
from pathlift.passes.rescaling.balance import Balance, Pairs
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.normal_form import NormalForm, normal_form

_TINY = 2.0**-80
"""What a zero is replaced by, relative to the largest weight of its tensor, to differentiate by its square."""
_NOTHING = 2.0**-120
"""A share of ‖Φ‖₂² below this is that of paths through some other zero: none."""


def path_conditioned_form(graph: Graph, shape: tuple[tuple[str, int], ...] = ()) -> NormalForm:
    """Find the factors of the path-conditioned form. A frozen batch norm is one scale and one shift per channel.

    Parameters
    ----------
    graph
        One that has path-norms.
    shape
        Extents of symbolic dimensions, which must be known but for the batch's.

    Raises
    ------
    InvalidModelError
        If a weight is NaN or infinite.
    UnsupportedError
        If a node has no exact rule; names node, op and reason.
    UsageError
        If an extent is missing.
    """
    start = normal_form(graph, 2.0)
    balance = path_balance(graph, start, shape)
    if balance is None:
        return start
    factors = start.factors.times(Factors.exp(-balance.run()))
    return NormalForm(start.symmetry, factors, np.zeros(start.symmetry.count + 1, np.int64))


def path_balance(graph: Graph, start: NormalForm, shape: tuple[tuple[str, int], ...] = ()) -> Balance | None:
    """Return the minimization, in −z/2, from where `start` leads; ``None`` if there is no path."""
    pairs, linear, total = list[Pairs](), np.zeros(start.symmetry.count + 1), 0
    for use, diagonal in _diagonals(graph, start, shape):
        active = diagonal > 0
        total += int(active.sum())
        scale = use.scale.inverse if use.scale.divides else use.scale
        pairs.append(Pairs.of(scale, diagonal))
        counts = Pairs.of(scale, active.astype(np.float64)).sides(len(linear))
        linear += counts[0] - counts[1]
    return Balance(pairs, linear / total) if total else None


def _diagonals(graph: Graph, start: NormalForm, shape: tuple[tuple[str, int], ...]) -> Iterator[tuple[Use, Array]]:
    """Yield the weights of the path-lifting as uses, with their diagonal entries (up to a factor) after `start`."""
    from pathlift.passes.path_norm.path_norm import PathNorm

    plain = comparison_form(graph, ()).graph
    if PathNorm(q=(2.0,), shape=shape).run(plain).norms[0].zero:
        return
    nonzero = _without_zeros(plain)
    shares = PathNorm(q=(2.0,), per_weight=True, shape=shape).run(nonzero).weights
    scales = start.symmetry.scales()
    for key, original in _weights(graph, plain):
        param, share = nonzero[key].value, shares.get(nonzero[key].names[0])
        use = scales.get(id(original))
        if param is None or share is None or use is None:
            continue
        values = start.factors.multiplied(Use(param, use.name, use.node, use.scale), slice(None) if param.shape else ())
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = values**-2 if use.scale.divides else values**2
            diagonal = np.abs(share.numpy().reshape(values.shape)) / squares
            zeros = plain[key].value.numpy() == 0  # type: ignore[union-attr]  # a parameter has a value
            active = diagonal * np.where(zeros, squares / _TINY**2, squares) > _NOTHING
        yield use, np.where(active, diagonal, 0.0)


def _weights(graph: Graph, plain: Graph) -> Iterator[tuple[str, Param]]:
    """Yield keys of the plain graph's weights, each with the parameter of the file that has its scale."""
    taken: set[str] = set()
    for node in graph.order:
        if graph[node].op == "BatchNormalization" and node in graph.live:
            for slot, (ours, theirs) in enumerate(zip(plain.inputs_of(node), graph.inputs_of(node), strict=True)):
                original = constant(graph, theirs)
                if ours is not None and original is not None and ours.node not in taken:
                    taken.add(ours.node)
                    if slot < MEAN:
                        yield ours.node, original
    for key in graph.params:
        value = graph[key].value
        if key in plain.nx and key not in taken and key in graph.live and value is not None and is_float(value.dtype):
            yield key, value


def _without_zeros(graph: Graph) -> Graph:
    """Replace zeros by something that adds nothing, means of batch norms apart."""
    means = {
        v.node for key in graph.order if graph[key].op == "BatchNormalization" for v in graph.inputs_of(key)[MEAN:] if v
    }
    builder = graph.edit()
    for key in graph.params:
        value = graph[key].value
        if key not in means and value is not None and is_float(value.dtype):
            builder.replace_node(Value(key), value=_nonzero(value))
    return builder.finish()


def _nonzero(param: Param) -> Param:
    def load() -> Array:
        values = param.numpy()
        return np.where(values == 0, _TINY * (np.abs(values).max(initial=0.0) or 1.0), values)

    return Param(param.dtype, param.shape, load)
