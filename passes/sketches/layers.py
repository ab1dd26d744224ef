"""Layers that sketches are of: all that are linear, with constant weights."""

from __future__ import annotations

import hashlib

from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Param
from pathlift.passes.layers.dense import is_named, naming_hint, split_globs, unmatched
from pathlift.passes.layers.layers import LINEAR_OPS
from pathlift.passes.layers.rows import extents
from pathlift.passes.layers.weights import constant
from pathlift.passes.sketches.layer import LayerId


def linear_layers(graph: Graph, names: str = "*") -> dict[str, LayerId]:
    """Find the layers that globs name, by key, in topological order.

    Raises
    ------
    UsageError
        If a glob names none.
    UnsupportedError
        If there is none with constant weights.
    """
    globs = split_globs(names)
    if missing := unmatched(graph, globs):
        raise UsageError("1513", f"no layer is called {missing!r}", hint=naming_hint(graph, missing))
    found, digests = dict[str, LayerId](), dict[int, str]()
    for key in graph.order:
        node = graph[key]
        if key not in graph.live or node.op not in LINEAR_OPS or not is_named(graph, key, globs):
            continue
        value = graph.inputs_of(key)[1]
        param = constant(graph, value)
        if param is None or value is None:
            continue
        digest = digests.get(id(param)) or digests.setdefault(id(param), weight_digest(param))
        found[key] = LayerId(
            node.label, node.op, graph.name_of(value), tuple(param.shape), digest, *extents(node, param.shape)
        )
    if not found:
        raise UnsupportedError("0305", "there is no linear layer with constant weights, of which to make a sketch")
    return found


def weight_digest(param: Param) -> str:
    """Return the SHA-256 of a parameter's shape, type and bytes."""
    values = param.numpy()
    about = f"{values.dtype} {list(values.shape)}".encode()
    return hashlib.sha256(about + values.tobytes()).hexdigest()
