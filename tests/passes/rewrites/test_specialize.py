"""Graphs for inputs of given shapes."""

import numpy as np
import pytest

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import TensorType
from pathlift.passes.rewrites.specialize import specialize

JOIN = parse_graph("""
    %x = Input : f32[N, 2]
    %z = Input : f32[N, H]
    %s = Input : <seq(tensor(float))>
    %h = Opaque(%x, %z, %s) {op_type="Join", reason="it is custom", proto=b64""} : f32[N, H, K]
    %y = Flatten(%h) {axis=2}
    %two = Param {value=[[1.0], [2.0]]} : f32[2, 1]
    %g = Add(%z, %two)
    return %y, %g
""")


def shape(graph: Graph, name: str) -> object:
    type_ = graph.type_of(Value(name))
    assert isinstance(type_, TensorType)
    assert type_.dtype == np.float32
    return type_.shape


def test_symbols_get_their_extents_everywhere_and_others_stay() -> None:
    graph = specialize(JOIN, {"x": (2, 2), "z": (2, 5)})
    assert [shape(graph, name) for name in "xzhyg"] == [(2, 2), (2, 5), (2, 5, "K"), (10, "K"), (2, 5)]


def test_a_symbol_to_which_inputs_give_several_extents_is_not_known() -> None:
    graph = specialize(JOIN, {"x": (1, 2), "z": (2, 5)})
    assert [shape(graph, name) for name in "xzhg"] == [(1, 2), (2, 5), ("N", 5, "K"), (2, 5)]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"PL0415 .* inputs of shape x \[1, 2\], z \[3, 5\]: node 'g' \(Add\)"):
        specialize(JOIN, {"x": (1, 2), "z": (3, 5)})
