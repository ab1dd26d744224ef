"""Fold batch norms: a frozen batch norm next to a linear op is a scaling of its weights, and a bias.

For q ≤ 1, |s·b + t|^q ≤ |s·b|^q + |t|^q: where a bias and a shift become one number no path-norm rises, and all other
paths keep their weights. For q > 1 it may: (1 + 1)² > 1² + 1².
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pathlift.ir.algebras.traits import traits
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.layers.edits import disconnect, drop_constants, is_unread
from pathlift.passes.layers.linears import read_linear
from pathlift.passes.layers.weights import constant
from pathlift.passes.rewrites.absorption import Absorption, AbsorptionSearch, BackwardSearch, ForwardSearch, Reasons
from pathlift.passes.witness.rewritings import RewriteWitness, SequentialWitness
from pathlift.passes.witness.site import Site, may_rewrite


@dataclass(frozen=True)
class FoldBatchnorm(Transform):
    """Fold frozen batch norms, and arithmetic with constants per channel, into the linear op next to them."""

    name: ClassVar[str] = "fold-batchnorm"
    effect: ClassVar[Effect] = Effect.LOWERS_TO_ONE

    def run(self, graph: Graph) -> Rewritten:
        """Fold into the op before, then what is left into the op behind.

        Parameters
        ----------
        graph
            Any graph. Weights that something else uses too are copied; what a caller may replace stays.
        """
        current, steps = graph, list[tuple[Witness, Graph]]()
        while True:
            reasons, done = Reasons(), len(steps)
            for search, where in ((ForwardSearch, "before"), (BackwardSearch, "behind")):
                found = _absorptions(current, search, reasons)
                if found:
                    current, sites = _absorb(current, found)
                    steps.append((RewriteWitness(f"folded into the op {where}", sites), current))
            if len(steps) == done:
                return Rewritten(current, SequentialWitness(tuple(steps), _skipped(current, reasons)))


def _absorptions(graph: Graph, search: type[AbsorptionSearch], reasons: Reasons) -> list[Absorption]:
    linears = {key: read_linear(graph, key) for key in graph.order if key in graph.live}
    found = [search(graph, key, linear, reasons).run() for key, linear in linears.items() if linear is not None]
    return [a for a in found if a is not None and not a.is_settled and may_rewrite(graph.name_of(a.result))]


def _skipped(graph: Graph, reasons: Reasons) -> tuple[str, ...]:
    left = [key for key in graph.order if graph[key].op == "BatchNormalization" and key in graph.live]
    nowhere = ["no linear op with constant weights is next to it"]
    return tuple(f"{graph[key].label!r} stays: {', and '.join(reasons.get(key, nowhere))}" for key in left)


def _absorb(graph: Graph, found: Iterable[Absorption]) -> tuple[Graph, tuple[Site, ...]]:
    """Return the graph in which linear ops have taken in what was found, all in one direction, and the places."""
    builder = graph.edit()
    sites = tuple(_take_in(builder, graph, a) for a in found)
    return builder.finish(), sites


def _take_in(builder: Builder, graph: Graph, a: Absorption) -> Site:
    taken = [node for node in a.nodes if not traits(graph, node).permutes]
    is_behind = a.result.node != a.key
    previous, changed = (Value(a.key), [Value(a.key)]) if is_behind else (a.operand, list[Value]())
    for node in a.nodes:
        if node in taken:
            builder.replace_value(Value(node), previous)
            builder.remove(node)
        else:
            previous = Value(node)
            changed.append(previous)
    if is_behind:
        builder.rename(changed.pop(), graph.name_of(a.result))
    for value in changed:  # it is another one than before
        builder.rename(value, builder.fresh(builder[value].names[0]))
    _put_weights(builder, graph, a, taken)
    gone = (*taken, *drop_constants(builder, graph, (a.key, *taken)))
    builder.replace_node(Value(a.key), origin=graph[a.key].origin.merged(*(graph[node].origin for node in gone)))
    what = " + ".join(graph[node].label for node in ((a.key, *a.nodes) if is_behind else (*a.nodes, a.key)))
    return Site(graph.name_of(a.result), (graph.name_of(a.operand),), what)


def _put_weights(builder: Builder, graph: Graph, a: Absorption, taken: Sequence[str]) -> None:
    """Give a linear op its new parameters; where it cannot have a bias, a sum behind it."""
    _, weight, *bias = graph.inputs_of(a.key)
    label, new = graph[a.key].label, a.weights
    if new.weight is not None:
        disconnect(builder, a.key, 1)
        builder.connect(a.key, 1, _placed(builder, new.weight, [weight], f"{label}.weight"))
    if new.bias is None:
        return
    hosts = [*bias, *(v for node in reversed(taken) for v in _shifts(graph, node))]
    if a.linear.takes_bias:
        disconnect(builder, a.key, 2)
        builder.connect(a.key, 2, _placed(builder, new.bias, hosts, f"{label}.bias"))
        return
    column = [-1 if i == a.linear.axes[1] else 1 for i in range(a.linear.rank)]
    shift = _placed(builder, Param.of(new.bias.numpy().reshape(column)), hosts, f"{label}.bias")
    product, name = Value(a.key), builder[Value(a.key)].names[0]
    builder.rename(product, builder.fresh(name))
    total = builder.op("Add", product, shift, name=name)
    builder.replace_value(product, total)
    builder.connect(total.node, 0, product)


def _shifts(graph: Graph, node: str) -> Sequence[Value | None]:
    """The parameters by which a node shifts."""
    operands = graph.inputs_of(node)
    if graph[node].op == "BatchNormalization":
        return operands[2:3]
    return [v for v in operands if graph[node].op in ("Add", "Sub") and constant(graph, v) is not None]


def _placed(builder: Builder, param: Param, hosts: Sequence[Value | None], name: str) -> Value:
    """Put a parameter where one was that nothing reads any more, or else next to it."""
    named = [builder[host].names[0] for host in hosts if host is not None]
    for host in hosts:
        if host is not None and is_unread(builder, host.node):
            builder.replace_node(host, value=param, types=(param.type,))
            return host
    return builder.param(param, builder.fresh((*named, name)[0]))
