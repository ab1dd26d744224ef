"""Windows of every kind, on inputs of which no two values are alike: the paths they read are those of the neurons.

Where all inputs are equal, what a window reads shows only at borders; a dilation or an offset of channels may go astray
elsewhere and no sum shows it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.passes.heaviest_path.heaviest_path import HeaviestPath
from pathlift.testing import assert_path_norm, oracle

Attrs = dict[str, Any]

LINE: Attrs = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}
PLANE: Attrs = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2)}

POOLS: dict[str, tuple[tuple[int, ...], Attrs]] = {
    "dilated": ((8,), {**LINE, "kernel": (3,), "dilations": (2,)}),
    "dilated and strided": ((10,), {**LINE, "kernel": (3,), "dilations": (3,), "strides": (2,)}),
    "padded by side": ((7,), {**LINE, "kernel": (3,), "pads": (0, 2)}),
    "begun in the padding": ((7,), {**LINE, "kernel": (4,), "pads": (3, 1), "strides": (2,)}),
    "a smaller last one": ((8,), {**LINE, "kernel": (3,), "strides": (2,), "ceil_mode": True}),
    "no last one in the padding": ((4,), {**LINE, "kernel": (1,), "strides": (3,), "pads": (0, 2), "ceil_mode": True}),
    "no last one right behind the input": (
        (3,), {**LINE, "kernel": (1,), "strides": (3,), "pads": (0, 1), "ceil_mode": True},
    ),
    "axes that differ": ((6, 7), {**PLANE, "kernel": (2, 3)}),
    "a volume": ((3, 4, 3), {"kernel": (1, 2, 2), "strides": (1, 2, 1), "pads": (0, 1, 0, 0, 0, 1),
                             "dilations": (1, 1, 2)}),
}  # fmt: skip
CONVS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Attrs]] = {
    "groups": ((4, 5), (6, 2, 2), {**LINE, "groups": 2}),
    "depthwise": ((3, 5), (6, 1, 3), {**LINE, "groups": 3, "pads": (1, 0)}),
    "dilated": ((2, 8), (2, 2, 3), {**LINE, "dilations": (2,), "strides": (2,), "pads": (0, 3)}),
    "axes that differ": ((2, 5, 6), (2, 2, 2, 3), PLANE),
    "groups on a plane": ((4, 4, 3), (4, 2, 2, 2), {**PLANE, "dilations": (1, 1), "groups": 2}),
}
TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], Attrs]] = {
    "groups": ((4, 3), (4, 2, 2), {**LINE, "output_padding": (0,), "groups": 2}),
    "dilated": ((2, 4), (2, 1, 3), {**LINE, "dilations": (2,), "strides": (3,), "output_padding": (2,)}),
    "cropped by side": ((2, 4), (2, 2, 3), {**LINE, "strides": (2,), "pads": (2, 1), "output_padding": (1,)}),
    "axes that differ": ((2, 3, 2), (2, 2, 2, 3), {**PLANE, "output_padding": (1, 0)}),
}
CASES = [
    *((op, (2, *sizes), (), {**attrs, **more}) for op, more in (
        ("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": True}),
    ) for sizes, attrs in POOLS.values()),
    *(("Conv", *case) for case in CONVS.values()),
    *(("ConvTranspose", *case) for case in TRANSPOSED.values()),
]  # fmt: skip
NAMES = [
    *(f"{op}-{name}" for op in ("MaxPool", "AveragePool", "AveragePool, counting pads") for name in POOLS),
    *(f"Conv-{name}" for name in CONVS),
    *(f"ConvTranspose-{name}" for name in TRANSPOSED),
]
cases = pytest.mark.parametrize(("op", "shape", "weights", "attrs"), CASES, ids=NAMES)


def window(op: str, shape: tuple[int, ...], weights: tuple[int, ...], attrs: Attrs) -> Graph:
    """One window op, behind a factor for each element of the input."""
    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray[Any, Any]:
        return rng.permutation(np.linspace(0.5, 8.0, math.prod(shape))).reshape(shape) * rng.choice([-1, 1], shape)

    b = Builder()
    x = b.op("Mul", b.input("x", (1, *shape), "f64"), b.param(values(*shape), "factors"))
    return b.finish(b.op(op, x, *([b.param(values(*weights), "w")] if weights else []), name="y", **attrs))


@cases
def test_norms_are_those_of_the_paths(op: str, shape: tuple[int, ...], weights: tuple[int, ...], attrs: Attrs) -> None:
    graph = window(op, shape, weights, attrs)
    for q in (0.0, 0.5, 2.0, math.inf):
        assert_path_norm(graph, q=q)
    assert_path_norm(graph, q=2.0, pooling="max")


@cases
def test_the_heaviest_path_to_each_channel_is_one_of_the_heaviest(
    op: str, shape: tuple[int, ...], weights: tuple[int, ...], attrs: Attrs
) -> None:
    graph = window(op, shape, weights, attrs)
    (y,) = graph.outputs
    channels = graph.type_of(y).shape[1]  # type: ignore[union-attr, index]  # a tensor of known shape
    for channel in range(channels):  # type: ignore[arg-type]  # a tensor of known shape
        assert_heaviest(sliced(graph, channel))


def sliced(graph: Graph, channel: int) -> Graph:
    b = graph.edit()
    (y,) = graph.outputs
    b.outputs.clear()
    return b.finish(b.op("Slice", y, axes=(1,), starts=(channel,), ends=(channel + 1,), steps=(1,)))


def assert_heaviest(graph: Graph) -> None:
    path = HeaviestPath().run(graph)
    assert path.start is not None
    assert path.log10 is not None
    (sums,) = oracle.power_sums(oracle.neuron_graph(graph), math.inf).values()
    assert 10**path.log10 == pytest.approx(float(sums.max()), rel=1e-12)
    assert float(sums[path.position]) == pytest.approx(float(sums.max()), rel=1e-12)
    first, *rest = path.steps
    assert first.index == path.start.index[1:]  # the factor of the very element it starts at
    for step in (first, *rest):
        if step.parameter is not None:
            values = graph[step.parameter].value
            assert values is not None
            assert step.value == float(values.numpy()[step.index])
