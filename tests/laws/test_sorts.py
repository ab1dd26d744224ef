"""Every two-sorted algebra sorts the operands of every op alike, whichever of them are parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.ops import OPS
from pathlift.ir.primitives.base import Nonlinear
from pathlift.ir.types import TensorType, ValueType, is_float
from pathlift.passes.channels.maps import CellMap
from pathlift.passes.channels.ties import Ties
from pathlift.passes.equivalence.neurons import NeuronAlgebra, ParamRef
from pathlift.passes.fields.algebra import FieldAlgebra
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.weight import Weight
from pathlift.passes.fields.weight_parameters import WeightParameters
from pathlift.passes.generalization.product import NormProduct, Slope
from pathlift.passes.generalization.words import Paths, PathWords
from pathlift.passes.heaviest_path.algebra import HeaviestPathAlgebra
from pathlift.passes.path_metric.algebra import PairField, PathMetricAlgebra
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.support import KindAlgebra, Signal
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.passes.tape import record
from pathlift.testing import samples
from pathlift.testing.assertions import assert_equivalent

PARAMETERS = {"w", "c", "slope", "gamma", "var"}
"""Slots, by name, that only parameters fit."""
KEEPING = {"derive", "add", "scale", "move"}
"""Primitives that make a parameter of parameters; all others make signals."""


def written(recorder: record.Recorder, shape: tuple[int, ...]) -> record.Signal:
    """A value of a tape that nothing computes."""
    return recorder.lift(Weight(torch.zeros([n if isinstance(n, int) else 1 for n in shape], dtype=torch.float64)))


# How each algebra reads an input of the network.
SIGNALS: dict[type[TwoSorted[Any, Any]], Callable[[Any, tuple[int, ...]], object]] = {
    KindAlgebra: lambda algebra, shape: Signal.NEURONS,
    PathNormAlgebra: lambda algebra, shape: Field.ones(shape, algebra.dtype, algebra.device),
    PathMetricAlgebra: lambda algebra, shape: PairField(Field.ones(shape, torch.float64, torch.device("cpu"))),
    HeaviestPathAlgebra: lambda algebra, shape: algebra.input("x", shape),
    Ties: lambda algebra, shape: CellMap(algebra.cells.fresh(*shape), shape),
    NeuronAlgebra: lambda algebra, shape: CellMap(algebra.fresh(*shape), shape),
    PathWords: lambda algebra, shape: Paths(shape),
    NormProduct: lambda algebra, shape: Slope(0.0, shape),
    record.Recorder: written,
}
NEW: dict[type[TwoSorted[Any, Any]], Callable[[], TwoSorted[Any, Any]]] = {
    **{algebra: algebra for algebra in SIGNALS},
    PathNormAlgebra: lambda: PathNormAlgebra(1.0),
    PathMetricAlgebra: lambda: PathMetricAlgebra({}),
    NormProduct: lambda: NormProduct("l2"),
    record.Recorder: lambda: record.Recorder({}),
}


def computed(graph: Graph) -> str:
    """The key of the one node of a sample that computes something."""
    (key,) = (key for key in graph.order if graph[key].op not in ("Input", "Param"))
    return key


def with_signals(graph: Graph, signals: Collection[int]) -> Graph:
    """A sample in which the operands in these slots are inputs, and all others parameters."""
    key = computed(graph)
    node, b, rng = graph[key], Builder(), np.random.default_rng(0)
    operands: list[Value | None] = []
    for slot, value in enumerate(graph.inputs_of(key)):
        if value is None:
            operands.append(None)
            continue
        source = graph[value.node]
        (type_,) = source.types
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        shape = tuple(n if isinstance(n, int) else 2 for n in type_.shape)
        if slot in signals:
            operands.append(b.input(f"x{slot}", shape, "f32" if is_float(type_.dtype) else "i64"))
        else:
            array = (rng.integers(1, 30, shape) / 8).astype(np.float32) if source.value is None else source.value
            operands.append(b.param(array, f"w{slot}"))
    types = {"types": node.types} if node.op == "Opaque" else {}
    return b.finish(*b.node(node.op, *operands, names=node.names, **node.attrs, **types))


def cases() -> list[Any]:
    found = []
    for name, graph in samples().items():
        slots = [slot for slot, value in enumerate(graph.inputs_of(computed(graph))) if value is not None]
        for signals in (s for count in range(len(slots) + 1) for s in itertools.combinations(slots, count)):
            found.append(pytest.param(name, signals, id=f"{name}{list(signals)}"))
    return found


class Recorder(Algebra[None]):
    """Knows nothing but which primitives were used."""

    def __init__(self, node: Node) -> None:
        self.used: set[str] = set()
        self.enter(node)

    def apply(self, f: Nonlinear, xs: Sequence[None], types: Sequence[ValueType]) -> tuple[None, ...]:
        self.used.add("apply")
        return (None,) * len(types)


def _recorded(primitive: str) -> Callable[..., None]:
    return lambda recorder, *args, **kwargs: recorder.used.add(primitive)


for primitive in ("derive", "linear", "add", "scale", "gate", "select", "move"):
    setattr(Recorder, primitive, _recorded(primitive))


def used(node: Node) -> set[str]:
    """The primitives that a node's program is made of."""
    recorder = Recorder(node)
    OPS[node.op].program(recorder, *OPS[node.op].inputs, **node.attrs)
    return recorder.used


def operand(algebra: TwoSorted[Any, Any], key: str, node: Node) -> object:
    """The value of an operand of a sample, under an algebra."""
    algebra.enter(node)
    if node.value is not None:
        return ParamRef(key, node.value.shape) if isinstance(algebra, NeuronAlgebra) else algebra.param(node.value)
    (type_,) = node.types
    assert isinstance(type_, TensorType)
    return SIGNALS[type(algebra)](algebra, type_.shape)  # type: ignore[arg-type]  # all known


def sorts(algebra: TwoSorted[Any, Any], graph: Graph) -> set[bool] | str:
    """Whether each result is a parameter; or the code of the refusal."""
    key = computed(graph)
    reads = graph.inputs_of(key)
    operands = tuple(None if v is None else operand(algebra, v.node, graph[v.node]) for v in reads)
    try:
        return {algebra.is_parameter(y) for y in evaluate(algebra, graph[key], operands)}
    except UnsupportedError as refusal:
        return refusal.code


def test_every_two_sorted_algebra_is_tried() -> None:
    pending, found = [TwoSorted], set()
    while pending:
        algebra = pending.pop()
        pending.extend(algebra.__subclasses__())
        ours = algebra.__module__.startswith("pathlift.") and not algebra.__name__.startswith("_")
        found |= {algebra} if ours else set()
    assert found - {TwoSorted, WeightParameters, FieldAlgebra} == set(SIGNALS)


@pytest.mark.parametrize(("name", "signals"), cases())
def test_operands_are_sorted_alike(name: str, signals: tuple[int, ...]) -> None:
    graph = with_signals(samples()[name], signals)
    node = graph[computed(graph)]
    misplaced = PARAMETERS & {OPS[node.op].inputs[slot] for slot in signals if slot < len(OPS[node.op].inputs)}
    keeps = not signals and used(node) <= KEEPING
    for algebra in SIGNALS:
        found = sorts(NEW[algebra](), graph)
        if algebra is record.Recorder and used(node) == {
            "apply"
        }:  # a program may want, and make, parameters of its own
            assert len(found) == 1 or found in ("PL0304", "PL0311"), algebra
        elif misplaced:
            # What KSLinear reads is rearranged first, which Neurons does to no parameter.
            earlier = algebra is NeuronAlgebra and node.op == "KSLinear" and 0 not in signals
            assert found == ("PL0302" if earlier else "PL0311"), algebra
        elif isinstance(found, str):
            assert found.startswith(("PL03", "PL13")), algebra
            assert found != "PL0311", algebra
        else:
            assert found == {keeps}, algebra


@pytest.mark.parametrize(("name", "signals"), cases())
def test_rescaled_copies_compute_the_same_whichever_operands_are_parameters(
    name: str, signals: tuple[int, ...]
) -> None:
    graph = with_signals(samples()[name], signals)
    assert_equivalent(graph, RandomRescale(seed=1, octaves=4, exact=True).run(graph).graph, trials=1)
