"""Hypothesis strategies: random graphs over all ops, and inputs for them. Needs the extra ``test``.

>>> from hypothesis import given
>>> from pathlift.testing.strategies import graphs
>>> @given(graphs(homogeneous=True))
... def test_my_pass(graph): ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, TensorType, is_float
from pathlift.testing.growth import Growth, anywhere
from pathlift.testing.steps import all_steps

Draw = Callable[[st.SearchStrategy[Any]], Any]
_BATCHES: list[int | str] = [1, "N"]

__all__ = ["feeds", "graphs"]


@st.composite
def graphs(
    draw: Draw,
    *,
    ops: Collection[str] | None = None,
    max_nodes: int = 10,
    homogeneous: bool = False,
    tied: bool = True,
    batch: int | str | None = None,
    capacity: int = 48,
    octaves: int = 0,
) -> Graph:
    """Random networks: MLP-like and convolutional in one to three dimensions, with skips, splits and tied weights.

    Parameters
    ----------
    draw
        Hypothesis's.
    ops
        The ops that may occur; all, by default.
    max_nodes
        The most steps a network has; a step is an op or a small idiom (GroupSort, MaxMin).
    homogeneous
        Restrict to what path-norms have exact semantics for.
    tied
        Whether weights may be used more than once.
    batch
        Extent of the batch axis of the inputs, perhaps symbolic; by default 1 or ``"N"``.
    capacity
        The most elements of a value, per example of the batch, roughly.
    octaves
        Weights differ in magnitude by up to 2**±octaves; by default they are in [−1, 1].

    Returns
    -------
    Graph
        At most two inputs and two outputs, all of float32.
    """
    choices = [s for s in all_steps() if (s.exact or not homogeneous) and (ops is None or s.ops <= frozenset(ops))]
    b = Builder()
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    g = Growth(draw, b, rng, choices, tied, capacity, octaves)
    extent: int | str = g.choice(_BATCHES) if batch is None else batch
    dense = [_dense] if any(s.fits is anywhere for s in choices) else []
    shape = g.choice([*dense, _line, _image, _volume])(g)
    g.live.append(b.input("x", (extent, *shape)))
    if g.integer(0, 3) == 3:
        g.live.append(b.input("z", (extent, *shape)))
    for i in range(max_nodes):
        # Whether to stop is asked at each step, and a step is a strategy of its own: so Hypothesis can drop one.
        if not g.integer(0, 3 * max_nodes) and i:
            break
        draw(_grown(g))
    ends = [g.live[-1]]
    if len(g.live) > 1 and g.integer(0, 3) == 3:
        ends.append(g.live[-2])
    return b.finish(*ends)


@st.composite
def _grown(draw: Draw, g: Growth) -> None:
    """Take one step; the graph in the making changes in place."""
    g.draw, outer = draw, g.draw
    x = g.live[-1 - min(g.integer(0, 4), len(g.live) - 1)]
    fitting = [s for s in g.steps for _ in range(s.weight) if s.fits(g, x)]
    if fitting:
        result = g.choice(fitting).grow(g, x)
        g.live.extend([result] if isinstance(result, Value) else result)
    g.draw = outer


def _dense(g: Growth) -> tuple[int, ...]:
    return (g.integer(1, 6),)


def _line(g: Growth) -> tuple[int, ...]:
    return g.integer(1, 4), g.integer(1, 8)


def _image(g: Growth) -> tuple[int, ...]:
    return g.integer(1, 3), g.integer(1, 5), g.integer(1, 4)


def _volume(g: Growth) -> tuple[int, ...]:
    return g.integer(1, 2), g.integer(1, 3), g.integer(1, 2), g.integer(1, 3)


@st.composite
def feeds(draw: Draw, graph: Graph, *, max_extent: int = 3) -> dict[str, Array]:
    """Inputs for a graph: short decimals in [−2, 2]; every symbol gets one extent, every unknown extent its own.

    Parameters
    ----------
    draw
        Hypothesis's.
    graph
        Whose inputs; their ranks are known.
    max_extent
        The largest extent that a symbolic or unknown axis gets.
    """
    rng, symbols = np.random.default_rng(draw(st.integers(0, 2**16))), dict[str, int]()
    result: dict[str, Array] = {}
    for name in graph.inputs:
        type_ = graph[name].types[0]
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        assert type_.dtype is not None
        shape = []
        for d in type_.shape:
            if isinstance(d, str):
                symbols.setdefault(d, draw(st.integers(1, max_extent)))
            shape.append(d if isinstance(d, int) else symbols[d] if d else draw(st.integers(1, max_extent)))
        values = rng.integers(-8, 9, shape)
        result[name] = (values / 4 if is_float(type_.dtype) else np.abs(values) % 4).astype(type_.dtype)
    return result
