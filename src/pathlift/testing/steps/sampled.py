"""Steps that nobody wrote: an op without one of its own is drawn the way its samples have it."""

from __future__ import annotations

import functools
from math import prod
from typing import Any

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import DTYPES, TensorType, ValueType
from pathlift.testing.growth import STEPS, Growth, Shape, Step, anywhere
from pathlift.testing.oracle import neuron_graph
from pathlift.testing.samples import samples

_PROBES: list[Shape] = [(5,), (3, 7), (2, 3, 5), (1, 2, 3, 4)]


def all_steps() -> list[Step]:
    """Return the steps that are written, then one for each sample of an op that none of them adds."""
    written = frozenset[str]().union(*(s.ops for s in STEPS))
    derived = (_derived(graph) for name, graph in samples().items() if name.split("/")[0] not in written)
    return [*STEPS, *(s for s in derived if s is not None)]


@functools.cache
def _derived(sample: Graph) -> Step | None:
    """Return a step that adds the sample's node to a value; all of its activations are that value.

    A node that keeps every shape goes anywhere. Before any other, a layer makes the shape that the sample has. There is
    no step where the activations differ in shape, or something is no batch of float32.
    """
    key = next(key for key in sample.order if sample[key].op not in ("Input", "Param"))
    node = sample[key]
    attrs: dict[str, Any] = dict(node.attrs)
    shapes = {_without_batch(sample[name].types[0]) for name in sample.inputs}
    shape = shapes.pop() if len(shapes) == 1 else None
    if shape is None or None in map(_without_batch, node.types):
        return None

    def add(b: Builder, x: Value) -> tuple[Value, ...]:
        operands: list[Value | None] = []
        for source in sample.inputs_of(key):
            param = None if source is None else sample[source.node].value
            signal = None if source is None else x
            operands.append(signal if param is None else b.param(param, b.fresh("w")))
        return b.node(node.op, *operands, names=[b.fresh(node.op.lower()) for _ in node.names], **attrs)

    def keeps(shape: Shape) -> bool:
        b = Builder()
        try:
            return [_without_batch(b.type_of(y)) for y in add(b, b.input("x", ("N", *shape)))] == [shape]
        except PathliftError:
            return False

    def behind_a_layer(g: Growth, x: Value) -> tuple[Value, ...]:
        layer = g.op("Gemm", g.op("Flatten", x), g.weights(prod(g.shape(x)), prod(shape)))
        return add(g.b, g.op("Reshape", layer, shape=(0, *shape)))

    if all(map(keeps, _PROBES)):
        return Step(frozenset([node.op]), anywhere, lambda g, x: add(g.b, x), _has_neurons(sample), 1)
    ops = frozenset([node.op, "Flatten", "Gemm", "Reshape"])
    return Step(ops, anywhere, behind_a_layer, _has_neurons(sample), 1)


def _without_batch(type_: ValueType) -> Shape | None:
    if not isinstance(type_, TensorType) or type_.dtype != DTYPES["f32"] or not type_.shape or type_.shape[0] != "N":
        return None
    rest = tuple(d for d in type_.shape[1:] if isinstance(d, int))
    return rest if len(rest) == len(type_.shape) - 1 else None


def _has_neurons(sample: Graph) -> bool:
    try:
        neuron_graph(sample)
    except PathliftError:
        return False
    return True
