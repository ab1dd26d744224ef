"""Rewrites of whole networks, against ONNX Runtime."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

import pathlift
from pathlift.ir.graph import Graph
from pathlift.passes.base import Transform
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.common_subexpressions import CommonSubexpressions
from pathlift.passes.rewrites.constant_folding import ConstantFolding
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, in_float64, zoo

DIGITS = Path(__file__).parents[3] / "examples" / "digits.onnx"
BATCH_NORMS = {"digits": (2, 0), "resnet18": (20, 0), "mobilenet_v2": (52, 0), "densenet121": (121, 62)}
"""How many there are, and how many have a ReLU on one side and no convolution on the other."""
DEEP = ("mobilenet_v2", "densenet121")
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in DEEP else ()) for name in BATCH_NORMS]
TRANSFORMS = [FoldBatchnorm(), ConstantFolding(), CommonSubexpressions(), CommonSubexpressions(parameters=True)]


@functools.cache
def network(name: str) -> Graph:
    return pathlift.load(DIGITS if name == "digits" else zoo.export(name, image=32, width=0.25))


def batch_norms(graph: Graph) -> int:
    return Counter(graph[key].op for key in graph)["BatchNormalization"]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", NAMES)
def test_the_function_stays(name: str, transform: Transform) -> None:
    graph = network(name)
    rewritten = transform.run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    assert transform.run(rewritten.graph).graph is rewritten.graph
    assert_same_as_onnxruntime(rewritten.graph, rtol=1e-3, trials=1)  # mobilenet itself is as ill-conditioned as that
    wide = in_float64(graph)
    assert_equivalent(wide, transform.run(wide).graph, trials=1)


@pytest.mark.parametrize("name", NAMES)
def test_batch_norms(name: str) -> None:
    graph = in_float64(network(name))
    rewritten = FoldBatchnorm().run(graph)
    assert (batch_norms(graph), batch_norms(rewritten.graph)) == BATCH_NORMS[name]
    before, after = (PathNorm().run(g).norms[0].log10 for g in (graph, rewritten.graph))
    assert before is not None
    assert after == pytest.approx(before, abs=1e-9)  # what a convolution without a bias takes in loses no path
