"""Matrix products with gates between them: neurons that are linear on a domain go around the gate, merged with weights.

Behind a gate, of which the neurons S are linear on the domain (slope a, offset c) and the neurons U are not,

    W g(z) + b = W[:,U] g(z)[U] + (W[:,S] diag(a)) z[S] + (b + W[:,S] c),

where z is a sum of products with values further back. Dead neurons are those of slope 0. Entry by entry, the magnitude
of a merged weight is at most the sum over the paths that it stands for, if |a| is no more than the gate counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.types import Array, Param, TensorType
from pathlift.passes.layers.edits import disconnect, drop_constants, is_read_once
from pathlift.passes.layers.layers import Layer, read_layer
from pathlift.passes.tightening.gates import Pieces
from pathlift.passes.tightening.outward import Computed

GAIN = 1e-9
"""What merging must lower the sum of magnitudes by, relatively: more than storing its result outward may raise it."""


@dataclass(eq=False)
class _Sum:
    """What a matrix product computes, as a sum of products with values, and a constant.

    Parameters
    ----------
    layer, operand
        The product as it was.
    terms
        Weights by what they act on, ``(out, in)``.
    bias
        ``(out,)``.
    root
        What the first product of the chain acts on, and how many features it has.
    kept
        Neurons that the gate behind it still reads.
    changed
        Whether this is another sum than it was.
    """

    layer: Layer
    operand: Value
    terms: dict[Value, Computed]
    bias: Computed
    root: tuple[Value, int]
    kept: Array
    changed: bool = field(default=False)


def tighten_chains(graph: Graph, pieces: Mapping[str, Pieces]) -> tuple[Graph, frozenset[str]]:
    """Let linear neurons between matrix products go around their gates.

    Parameters
    ----------
    graph
        The network.
    pieces
        What its gates are.

    Returns
    -------
    tuple
        The graph, and the gates that are done with.
    """
    sums: dict[str, _Sum] = {}
    done = set[str]()
    for key in graph.order:
        layer = read_layer(graph, key) if key in graph.live else None
        operand = graph.inputs_of(key)[0] if layer is not None else None
        if layer is None or layer.strides or operand is None:
            continue
        bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        if not np.isfinite(layer.weight).all() or not np.isfinite(bias).all():
            continue
        before = _before(graph, operand, sums)
        sums[key] = _Sum(
            layer,
            operand,
            {operand: Computed.exact(layer.weight)},
            Computed.exact(bias),
            (operand, layer.weight.shape[1]) if before is None else before.root,
            np.ones(len(bias), bool),
        )
        found = pieces[operand.node].features() if before is not None and operand.node in pieces else None
        if before is not None and found is not None:
            done.add(operand.node)
            _around(sums[key], before, found)
    changed = {key: s for key, s in sums.items() if s.changed}
    if not changed:
        return graph, frozenset()
    builder = graph.edit()
    for key, total in changed.items():
        if not _write(builder, graph, key, total):
            return graph, frozenset()
    return builder.finish(), frozenset(done)


def _before(graph: Graph, value: Value, sums: Mapping[str, _Sum]) -> _Sum | None:
    """The product in front of a gate, if they are alone with each other and with who reads `value`."""
    operands = graph.inputs_of(value.node)
    first = operands[0] if operands else None
    if first is None or first.node not in sums or not is_read_once(graph, value) or not is_read_once(graph, first):
        return None
    return sums[first.node]


def _around(total: _Sum, before: _Sum, found: Pieces) -> None:
    """Let neurons go around the gate, where that lowers something."""
    gated = total.terms[total.operand].values
    linear = found
    if not _lowers(gated, before, found):
        linear = found.where(np.abs(found.slope) < 1)
    if not linear.known.any() or not (gated[:, linear.known].any() or _is_read(before, linear.known)):
        return
    through = np.where(linear.known, gated, 0.0)
    total.terms = {total.operand: Computed.exact(np.where(linear.known, 0.0, gated))}
    for value, weights in _scaled(before, linear).items():
        total.terms[value] = weights.after(through)
    constant = before.bias.times(linear.slope).plus(Computed.exact(linear.offset))
    total.bias = total.bias.plus(constant.after(through))
    total.changed = before.changed = True
    before.kept = before.kept & ~linear.known


def _scaled(before: _Sum, linear: Pieces) -> dict[Value, Computed]:
    """The weights in front of linear neurons, times their slopes; what is nothing is left out."""
    scaled = {value: weights.times(linear.slope[:, None]) for value, weights in before.terms.items()}
    return {value: weights for value, weights in scaled.items() if weights.size.any()}


def _lowers(gated: Array, before: _Sum, found: Pieces) -> bool:
    """Whether merged weights of active neurons are smaller than what they stand for."""
    active = found.where(np.abs(found.slope) >= 1)
    if not active.known.any():
        return True
    weights = np.where(active.known, gated, 0.0)
    scaled = _scaled(before, active).values()
    merged = sum(float(np.abs(weights @ w.values).sum()) for w in scaled)
    apart = sum(float((np.abs(weights) @ np.abs(w.values)).sum()) for w in scaled)
    return merged < apart * (1 - GAIN)


def _is_read(before: _Sum, neurons: Array) -> bool:
    """Whether anything leads to some of the neurons."""
    return any(bool(w.size[neurons].any()) for w in before.terms.values()) or bool(before.bias.size[neurons].any())


def _write(builder: Builder, graph: Graph, key: str, total: _Sum) -> bool:
    """Write a sum of products in place of a product; whether its numbers can be stored."""
    dtype, kept = total.layer.dtype, total.kept.astype(float)
    terms = {v: w.times(kept[:, None]) for v, w in total.terms.items()}
    root, features = total.root
    nothing = Computed.exact(np.zeros((len(kept), features)))
    terms = {v: w for v, w in terms.items() if w.size.any()} or {root: nothing}
    stored = {v: w.stored(dtype) for v, w in terms.items()}
    bias = total.bias.times(kept).stored(dtype)
    if bias is None or any(w is None for w in stored.values()):
        return False
    node, result = graph[key], graph.type_of(Value(key))
    disconnect(builder, key)
    products = list[tuple[Value, Value, Value | None]]()
    for i, (value, weights) in enumerate(stored.items()):
        assert weights is not None
        w = builder.param(
            Param.of(weights),
            builder.fresh(f"{node.label}.weight"),
            node.origin if not i else replace(node.origin, nodes=()),
        )
        b = builder.param(Param.of(bias), builder.fresh(f"{node.label}.bias")) if not i and bias.any() else None
        products.append((value, w, b))
    if len(products) == 1:
        builder.replace_node(Value(key), op="Gemm", attrs=freeze_attrs({"trans_w": True}))
        for slot, operand in enumerate(products[0]):
            if operand is not None:
                builder.connect(key, slot, operand)
    else:
        parts = [builder.op("Gemm", *p, name=builder.fresh(f"{node.label}.part"), trans_w=True) for p in products]
        first = parts[0]
        for part in parts[1:-1]:
            first = builder.op("Add", first, part, name=builder.fresh(f"{node.label}.sum"))
        builder.replace_node(Value(key), op="Add", attrs=freeze_attrs({}))
        builder.connect(key, 0, first)
        builder.connect(key, 1, parts[-1])
    assert isinstance(result, TensorType)
    drop_constants(builder, graph, [key])
    return True
