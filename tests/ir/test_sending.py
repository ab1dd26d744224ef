"""Graphs on their way to other processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.types import Param

cloudpickle = pytest.importorskip("cloudpickle")


def sent(graph: Graph) -> Graph:
    found: Graph = pickle.loads(cloudpickle.dumps(graph))
    return found


def test_a_file_arrives_as_it_was_read(digits: Path) -> None:
    graph = load(digits)
    assert graph.info.spellings or graph.info.remarks
    found = sent(graph)
    assert str(found) == str(graph)
    assert (found.order, found.outputs, found.info) == (graph.order, graph.outputs, graph.info)
    params = [(graph[key].value, found[key].value) for key in graph.params]
    assert params
    for one, other in params:
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    with pytest.raises(Exception, match="Frozen"):
        found.nx.add_node("new")


@pytest.mark.parametrize("dtype", ["float32", "bool", ml_dtypes.bfloat16, ml_dtypes.int4])
def test_parameters_keep_their_types(dtype: object) -> None:
    param = Param.by_rows(np.dtype(dtype), (2, 3), lambda rows: np.ones((2, 3))[rows].astype(dtype))  # type: ignore[call-overload]  # names of types
    found: Param = pickle.loads(cloudpickle.dumps(param))
    assert (found.dtype, found.shape) == (param.dtype, param.shape)
    np.testing.assert_array_equal(found.numpy(), param.numpy())


def test_tied_parameters_stay_tied() -> None:
    b, weight = Builder(), Param.of(np.ones((2, 2), np.float32))
    h = b.input("x", ("N", 2))
    for i in range(2):
        h = b.op("Gemm", h, b.param(weight, f"w{i}"))
    graph = sent(b.finish(h))
    assert len({id(graph[key].value) for key in graph.params}) == len({id(weight)})
