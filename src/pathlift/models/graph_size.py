"""Sizes of graphs: ops, parameters, their bytes, and the floating-point operations of one sample's linear layers."""

from __future__ import annotations

from math import prod
from typing import Any

from pathlift.ir.graph import Graph, Value
from pathlift.ir.text.raw import raw_size
from pathlift.ir.types import TensorType


def graph_size(graph: Graph) -> dict[str, int | None]:
    """Return how large a graph is.

    Returns
    -------
    dict
        ``ops``, ``parameters`` (elements; tied ones once), ``bytes`` of these, and ``flops`` of all Gemm, Conv and
        ConvTranspose nodes, where a multiplication with its addition is 2 and axis 0 counts as 1 if it is open; None
        if another extent is open.
    """
    params = {id(value): value for key in graph.params if (value := graph[key].value) is not None}.values()
    counts = [flops(graph, key) for key in graph if graph[key].op in ("Gemm", "Conv", "ConvTranspose")]
    return {
        "ops": sum(graph[key].op not in ("Input", "Param") for key in graph),
        "parameters": sum(param.size for param in params),
        "bytes": sum(0 if param.dtype == object else raw_size(param.dtype, param.shape) for param in params),
        "flops": None if None in counts else sum(f for f in counts if f is not None),
    }


def flops(graph: Graph, key: str) -> int | None:
    """Return the operations of a product, for each weight and each place that it is used at; None if those are open."""
    x, w = graph.inputs_of(key)[:2]
    weight = None if w is None else _extents(graph.type_of(w))
    data: Any = x if graph[key].op == "ConvTranspose" else Value(key)
    places = None if data is None else _extents(graph.type_of(data), batch=1)
    if weight is None or places is None:
        return None
    if graph[key].op == "Gemm":
        inside = weight[-1] if graph[key].attrs.get("trans_w") else weight[0]
        return 2 * prod(places) * inside
    # A weight has the channels first that `data` has: those of the result, or of what a transposed one reads.
    return 2 * prod(places) * prod(weight[1:])


def _extents(type_: object, batch: int | None = None) -> list[int] | None:
    if not isinstance(type_, TensorType) or type_.shape is None:
        return None
    shape = [
        batch if not axis and batch is not None and not isinstance(d, int) else d for axis, d in enumerate(type_.shape)
    ]
    return [d for d in shape if isinstance(d, int)] if all(isinstance(d, int) for d in shape) else None
