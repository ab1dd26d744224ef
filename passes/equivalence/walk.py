"""Neurons of a graph, derived from its ops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathlift.ir.algebras.interpret import evaluate, walk
from pathlift.ir.errors import GraphError, UnsupportedError
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import TensorType
from pathlift.passes.channels.maps import CellMap
from pathlift.passes.equivalence.network import Network
from pathlift.passes.equivalence.neurons import NeuronAlgebra, Operand, ParamRef
from pathlift.passes.witness.correspondence import overridable


def neurons_of(graph: Graph) -> Network:
    """Derive the neurons of a graph.

    Parameters
    ----------
    graph
        Any graph, each of whose parameters is used once, and whose batch norms have mean 0 and variance 1. A node
        without a rule is read as computing all of its outputs from all of its inputs, in their order.
    """
    names = overridable(graph)
    algebra = NeuronAlgebra(frozenset(key for key in graph.params if graph[key].names[0] in names))
    outputs = walk(graph, lambda key, inputs: _outputs(graph, key, algebra, inputs))
    ends = []
    for value in graph.outputs:
        algebra.enter(graph[value.node])
        ends.append(algebra.whole(algebra.renewed(algebra.signal(outputs[graph.name_of(value)]))))
    nonzero = np.concatenate([*algebra.nonzero, np.zeros(0, np.int64)])
    origin = np.concatenate([*algebra.origin, np.zeros(0, np.int32)])
    return Network(
        tuple(algebra.steps), origin, tuple(algebra.labels), nonzero, np.array(ends, np.int64), algebra.replaceable
    )


def _outputs(graph: Graph, key: str, algebra: NeuronAlgebra, inputs: tuple[Operand | None, ...]) -> Sequence[Operand]:
    node = graph[key]
    algebra.enter(node)
    if node.op == "Param" and node.value is not None:
        return (ParamRef(key, node.value.shape),)
    types = [*node.types, *(graph.type_of(v) for v in graph.inputs_of(key) if v is not None)]
    computes = not all(isinstance(x, ParamRef) for x in inputs)
    mark = algebra.mark()
    if computes and all(isinstance(t, TensorType) and t.shape is not None for t in types):
        try:
            return evaluate(algebra, node, inputs)
        except (UnsupportedError, GraphError):
            algebra.forget(mark)
    return _mixture(node, algebra, [algebra.signal(x) for x in inputs if x is not None])


def _mixture(node: Node, algebra: NeuronAlgebra, inputs: Sequence[CellMap]) -> list[Operand]:
    """One neuron per output, computed from all inputs."""
    outputs: list[Operand] = []
    wholes = [algebra.whole(x) for x in inputs]
    for type_ in node.types:
        dims = type_.shape if isinstance(type_, TensorType) and type_.shape is not None else ()
        y = algebra.fresh(*[1] * len(dims))
        for slot, whole in enumerate(wholes):
            algebra.flow(y, whole, slot)
        algebra.nonzero.append(y.reshape(-1))
        outputs.append(CellMap(y, dims))
    return outputs
