"""Order statistics."""

from __future__ import annotations

from pathlift.ir.graph import Value
from pathlift.testing.growth import Growth, is_map, step
from pathlift.testing.steps.linear import reduce_some


@step("MaxPool", fits=is_map, weight=3)
def _max_pool(g: Growth, x: Value) -> Value:
    return g.op("MaxPool", x, **g.windows(x))


@step("ReduceMax")
def _reduce_max(g: Growth, x: Value) -> Value:
    return reduce_some(g, x, "ReduceMax")


@step("ReduceMin")
def _reduce_min(g: Growth, x: Value) -> Value:
    return reduce_some(g, x, "ReduceMin")


@step("Max")
def _max(g: Growth, x: Value) -> Value:
    return _extremum(g, x, "Max")


@step("Min")
def _min(g: Growth, x: Value) -> Value:
    return _extremum(g, x, "Min")


def _extremum(g: Growth, x: Value, op: str) -> Value:
    other = g.weights(*g.constant_shape(x)) if g.flag() else g.choice(g.partners(x))
    return g.op(op, x, other)


@step("TopK")
def _top_k(g: Growth, x: Value) -> Value:
    axis = g.axis(x)
    return g.op("TopK", x, axis=axis, k=g.integer(1, g.shape(x)[axis - 1]), largest=not g.flag())


@step("Reshape", "TopK")
def _group_sort(g: Growth, x: Value) -> Value:
    shape = g.shape(x)
    size = g.choice([k for k in range(shape[0], 0, -1) if shape[0] % k == 0])
    grouped = g.op("Reshape", x, shape=(0, shape[0] // size, size, *shape[1:]))
    return g.op("Reshape", g.op("TopK", grouped, axis=2, k=size), shape=(0, *shape))


@step("Split", "Max", "Min", "Concat", fits=lambda g, x: g.shape(x)[0] % 2 == 0)
def _max_min(g: Growth, x: Value) -> Value:
    half = g.shape(x)[0] // 2
    a, b = g.b.node("Split", x, names=[g.b.fresh("split"), g.b.fresh("rest")], axis=1, parts=(half, half))
    return g.op("Concat", g.op("Max", a, b), g.op("Min", a, b), axis=1)
