"""Executors: what runs a graph."""

from __future__ import annotations

from pathlift.ir.graph import Graph


def has_layers(graph: Graph) -> bool:
    """Whether there are Kronecker-sparse layers, which kernels are generated for."""
    return any(graph[key].op == "KSLinear" for key in graph.live)
