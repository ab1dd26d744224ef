"""Activations that quantizers have taken in: exporters drop a ReLU in front of a quantizer that saturates at 0."""

from __future__ import annotations

from pathlift.ir.graph import Graph, Value

_SUMS = frozenset({"Gemm", "Conv", "ConvTranspose", "Einsum", "KSLinear", "BatchNormalization", "Add", "Sum", "Sub"})
"""A choice: what a network has ReLUs behind. What comes of other ops is usually non-negative by itself."""


def with_relus(graph: Graph) -> tuple[Graph, int]:
    """Put ReLUs in front of quantizers whose smallest value is 0, which makes no difference to what they compute.

    Parameters
    ----------
    graph
        Any graph.

    Returns
    -------
    tuple
        The graph, and how many ReLUs were put in.
    """
    builder, put = graph.edit(), dict[Value, Value]()
    for key in graph.order:
        node = graph[key]
        if node.op != "FakeQuantize" or node.attrs["low"] != node.attrs["zero_point"] or key not in graph.live:
            continue
        (x,) = graph.inputs_of(key)
        assert x is not None
        if graph[x.node].op not in _SUMS or graph[x.node].attrs.get("activation"):
            continue
        if x not in put:
            put[x] = builder.op("Relu", x, name=builder.fresh(f"{node.names[0]}.relu"), origin=node.origin)
        builder.connect(key, 0, put[x])
    return (builder.finish(), len(put)) if put else (graph, 0)
