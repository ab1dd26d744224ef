"""Neurons that go around their gates, and where they do not."""

from __future__ import annotations

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.passes.tightening.tighten import Tighten

W = np.array([[1.0], [1.0], [1.0]])
C = np.array([1.0, 2.0, -2.0])
V = np.array([[1.0, -1.0, 8.0]])


def check(graph: Graph, domain: str = "0:1") -> Graph:
    rewritten = Tighten(domain).run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    for x in (0.0, 0.25, 1.0):
        feeds = {"x": torch.tensor([[x]], dtype=torch.float64)}
        were, are = (run(g, Numeric(), feeds) for g in (graph, rewritten.graph))
        assert all(torch.allclose(were[n], are[n], rtol=1e-12) for n in were)
    return rewritten.graph


def test_values_that_others_read_stay() -> None:
    for read in ("gated", "before"):
        b = Builder()
        h = b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(W), b.param(C), trans_w=True, name="before")
        r = b.op("Relu", h, name="gated")
        y = b.op("Gemm", r, b.param(V), trans_w=True)
        other = b.op("Abs", b.value(read), name="other")
        check(b.finish(y, other))


def test_masked_gates_that_are_not_zero_at_zero() -> None:
    b = Builder()
    x = b.input("x", ("N", 1), "f64")
    shifted = b.op("Add", x, b.param(np.array([-4.0, 1.5])))
    net = b.finish(b.op("Clip", shifted, low=1.0, high=2.0))
    result = check(net)
    assert len(result) > len(net)


def test_deep_chains_reach_the_input() -> None:
    b = Builder()
    x = b.input("x", ("N", 1), "f64")
    h = b.op("Gemm", x, b.param(W), b.param(C), trans_w=True)
    h = b.op("Gemm", b.op("Relu", h), b.param(np.vstack([V, -V, V])), b.param(np.full(3, 9.0)), trans_w=True)
    net = b.finish(b.op("Gemm", b.op("Relu", h), b.param(np.array([[1.0, 1.0, 0.5]])), trans_w=True))
    result = check(net)
    assert not any(result[key].op == "Relu" for key in result.order)


def test_neurons_that_went_around_are_gone() -> None:
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(W), b.param(C - 0.5), trans_w=True, name="h")
    h = b.op("Gemm", b.op("Relu", h), b.param(V), trans_w=True)
    bent = b.op("Gemm", b.value("x"), b.param(W[:1]), b.param(np.array([-0.5])), trans_w=True)
    both = b.op("Concat", b.op("Relu", bent), h, axis=1)
    result = check(b.finish(both))
    assert Tighten("0:1").run(result).graph is result
    half = np.array([1.0, 2.0, -0.5])  # the last neuron bends
    b = Builder()
    h = b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(W), b.param(half), trans_w=True, name="h")
    result = check(b.finish(b.op("Gemm", b.op("Relu", h), b.param(V), trans_w=True)))
    weight = result.inputs_of("h")[1]
    assert weight is not None
    param = result[weight.node].value
    assert param is not None
    assert param.numpy().tolist() == [[0.0], [0.0], [1.0]]
