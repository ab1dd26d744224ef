"""Execution is ONNX Runtime's, of the model that is saved; Shape says what shapes execution has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.algebras.shape import Shape
from pathlift.ir.graph import Graph, Node
from pathlift.ir.ops import OPS
from pathlift.ir.types import TensorType, ValueType
from pathlift.testing import assert_close, assert_same_as_onnxruntime, execute, oracle, random_feeds, samples
from pathlift.testing.strategies import feeds, graphs

CheckLaw = Callable[..., None]


@pytest.mark.parametrize("name", samples())
def test_execution_is_onnxruntimes_on_samples(name: str) -> None:
    assert_same_as_onnxruntime(samples()[name])


def test_execution_is_onnxruntimes(check_law: CheckLaw) -> None:
    def law(graph: Graph, data: st.DataObject) -> None:
        assume(not casts_twice_into_a_layer(graph))
        assert_same_as_onnxruntime(graph, feeds=[data.draw(feeds(graph))])

    # A quantizer rounds half-way cases as the last bit decides, and float32 has other last bits: samples cover it.
    continuous = graphs(ops=set(OPS) - {"FakeQuantize"})
    check_law(law, continuous, st.data(), examples=2)


def casts_twice_into_a_layer(graph: Graph) -> bool:
    """ONNX Runtime, without optimizations, removes the second of two casts, and a layer's subgraph still reads it."""
    for key in graph.order:
        if graph[key].op == "KSLinear":
            x = graph.inputs_of(key)[0]
            if x is not None and graph[x.node].op == "Cast":
                before = graph.inputs_of(x.node)[0]
                if before is not None and graph[before.node].op == "Cast":
                    return True
    return False


@pytest.mark.parametrize("name", samples())
def test_shape_is_executions_shape_on_samples(name: str) -> None:
    graph = samples()[name]
    assert_shapes(graph, random_feeds(graph, np.random.default_rng(0)))


def test_shape_is_executions_shape(check_law: CheckLaw) -> None:
    def law(graph: Graph, data: st.DataObject) -> None:
        assert_shapes(graph, data.draw(feeds(graph)))

    check_law(law, graphs(), st.data())


def assert_shapes(graph: Graph, fed: dict[str, np.ndarray]) -> None:
    """Every value has the shape that Shape infers for these inputs, and that the graph declares for all inputs."""
    inferred: dict[str, tuple[ValueType, ...]] = {}
    types: dict[str, ValueType] = {name: TensorType(x.dtype, x.shape) for name, x in fed.items()}
    run(graph, Shape(), types, observe=lambda key, node, xs, ys: inferred.update({key: ys}))

    # An opaque node knows of its outputs what it declares for all inputs, symbols included.
    opaque = any(graph[key].op == "Opaque" for key in graph.order)

    def compare(key: str, node: Node, _: object, ys: tuple[torch.Tensor, ...]) -> None:
        for y, t, declared in zip(ys, inferred[key], node.types, strict=True):
            assert isinstance(t, TensorType)
            assert isinstance(declared, TensorType)
            extents = list(zip(y.shape, t.shape, strict=True))
            assert all(n == d for n, d in extents if isinstance(d, int)), f"{key}: {tuple(y.shape)}, inferred {t}"
            assert opaque or all(isinstance(d, int) for d in t.shape), f"{key}: inferred {t}"
            assert all(n == d for n, d in zip(y.shape, declared.shape, strict=True) if isinstance(d, int)), key

    numeric = Numeric()
    run(graph, numeric, {name: numeric.tensor(x) for name, x in fed.items()}, observe=compare)


def test_the_oracles_neurons_compute_the_network(check_law: CheckLaw) -> None:
    def law(graph: Graph, data: st.DataObject) -> None:
        fed = data.draw(feeds(graph))
        neurons = oracle.neuron_graph(graph, {name: x.shape for name, x in fed.items()})
        # Resize edges come from ONNX Runtime, in float32.
        assert_close(oracle.evaluate(neurons, fed), execute(graph, fed), rtol=1e-5)

    check_law(law, graphs(homogeneous=True), st.data())
