"""Specialization: the graph for inputs of given shapes, in which every extent that follows from them is known."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from pathlift.ir.errors import GraphError
from pathlift.ir.extents import misfit
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import TensorType, ValueType
from pathlift.passes.sizes import Extents

T = TypeVar("T", bound=ValueType)


def specialize(graph: Graph, inputs: Mapping[str, Extents]) -> Graph:
    """Fix the extents of a graph's inputs; a symbol stands for one extent, wherever a type has it.

    Parameters
    ----------
    graph
        The graph.
    inputs
        The shape of every tensor input, by name, as `pathlift.passes.sizes.resolve_inputs` returns them.

    Raises
    ------
    UsageError
        If the graph cannot run on inputs of these shapes; says where.
    """
    symbols = _symbols(graph, inputs)
    builder = graph.edit()
    for key in graph:
        node = graph[key]
        types = tuple(_bound(t, symbols) for t in node.types)
        if node.op == "Input" and isinstance(types[0], TensorType):
            types = (TensorType(types[0].dtype, inputs[node.names[0]]),)
        builder.replace_node(Value(key), types=types)
    declared = {name: _bound(type_, symbols) for name, type_ in graph.info.declared.items()}
    builder.info = dataclasses.replace(graph.info, declared=MappingProxyType(declared))
    try:
        return builder.finish()
    except GraphError as error:
        raise misfit(inputs, error.message) from None


def _symbols(graph: Graph, inputs: Mapping[str, Extents]) -> dict[str, int]:
    """The extents of symbols; one that inputs give several is no symbol."""
    extents: dict[str, set[int]] = defaultdict(set)
    for key in graph.inputs:
        type_ = graph[key].types[0]
        if isinstance(type_, TensorType) and type_.shape is not None:
            for dim, extent in zip(type_.shape, inputs[graph[key].names[0]], strict=True):
                if isinstance(dim, str):
                    extents[dim].add(extent)
    return {symbol: min(found) for symbol, found in extents.items() if len(found) == 1}


def _bound(type_: T, symbols: Mapping[str, int]) -> T:
    if not isinstance(type_, TensorType) or type_.shape is None:
        return type_
    shape = tuple(symbols.get(d, d) if isinstance(d, str) else d for d in type_.shape)
    return dataclasses.replace(type_, shape=shape)
