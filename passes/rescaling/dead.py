"""Dead classes of neurons: no path of weights that are not zero leads to them, or none from them to an output.

The balanced form sets their weights to zero, and comparisons leave them out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pathlift.ir.graph import Graph, Value
from pathlift.ir.rows import blocks
from pathlift.ir.types import DTYPES, Array, Param, is_float
from pathlift.passes.channels.symmetry import Symmetry
from pathlift.passes.rescaling.balance import Pairs, zero_sided
from pathlift.passes.rescaling.normal_form import prefix_norms


def dead_classes(graph: Graph) -> tuple[Symmetry, Array]:
    """Find the classes of neurons that carry nothing.

    Parameters
    ----------
    graph
        A graph whose batch norms subtract no mean. Only which of its weights are zero matters.

    Returns
    -------
    Symmetry, Array
        The classes of the graph, and a boolean per class; never for class 0.
    """
    plain, params = _indicator(graph)
    found, m, _ = prefix_norms(plain, 1.0)
    dead = m == 0
    dead[0] = False
    uses = [u for u in found.scales().values() if is_float(u.param.dtype) and u.param.size]
    pairs = [Pairs.joined(u.scale, u.param) for u in uses]
    for p in pairs:
        p.without(dead)
    dead |= zero_sided(pairs, found.count + 1)
    return replace(found, uses=tuple(replace(u, param=params[id(u.param)]) for u in found.uses)), dead


def _indicator(graph: Graph) -> tuple[Graph, dict[int, Param]]:
    """Ones where weights are not zero; and whose ones a parameter holds, by its id."""
    b, new = graph.edit(), dict[int, Param]()
    of = {id(p): p for key in graph.params if (p := graph[key].value) is not None}
    for key in graph.params:
        param = graph[key].value
        if param is not None and is_float(param.dtype):
            ones = new.setdefault(id(param), _nonzero(param))
            of[id(ones)] = param
            b.replace_node(Value(key), value=ones, types=(ones.type,))
    return b.finish(), of


def _nonzero(param: Param) -> Param:
    f64 = DTYPES["f64"]
    ones = Param.by_rows(f64, param.shape, lambda rows: np.asarray(param.rows(rows) != 0).astype(f64))

    def load() -> Array:
        if all(param.rows(rows).all() for rows in blocks(param.shape)):  # as ever but in pruned networks
            return np.broadcast_to(np.ones((), f64), param.shape)
        return ones.numpy()

    return replace(ones, load=load)
