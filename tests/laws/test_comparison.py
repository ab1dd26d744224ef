"""Comparisons of random networks: what is called equivalent computes the same, and canonical forms are equivalent."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.testing import assert_equivalent, execute
from pathlift.testing.rescaling import in_float64
from pathlift.testing.samples import samples
from pathlift.testing.strategies import graphs
from pathlift.verbs.compare import compare

NORMS = ["l1", "l2", "balanced", "path-conditioned"]
SEEDS = st.integers(0, 2**16)


def with_weights(graph: Graph, change: Callable[[Array, Param], Array]) -> Graph:
    """Change the values of all parameters of real numbers; tied ones stay tied."""
    b, new = graph.edit(), dict[int, Param]()
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        if is_float(param.dtype):
            if id(param) not in new:
                new[id(param)] = Param.of(change(param.numpy(), param))
            b.replace_node(Value(key), value=new[id(param)])
    return b.finish()


def shuffled(graph: Graph, seed: int) -> Graph:
    """Two places exchanged along most axes of one extent: sometimes a permutation of channels, sometimes none."""
    rng = np.random.default_rng(seed)
    extents = sorted({n for key in graph.params for n in graph[key].value.shape if n > 1})  # type: ignore[union-attr]  # a parameter has a value
    if not extents:
        return graph
    extent = rng.choice(extents)
    order = np.arange(extent)
    i, j = rng.choice(extent, 2, replace=False)
    order[[i, j]] = j, i

    def change(values: Array, _: Param) -> Array:
        for axis, n in enumerate(values.shape):
            if n == extent and rng.random() < 0.6:
                values = values.take(order, axis)
        return values

    return with_weights(graph, change)


def check_that_equivalent_networks_compute_the_same(graph: Graph, seed: int) -> None:
    other = shuffled(graph, seed)
    for modulo in (("permutation",), ("rescaling", "permutation")):
        if compare(graph, other, modulo=modulo, tolerance=1e-6).exit_code == 0:
            assert_equivalent(graph, other, rtol=1e-4, trials=1)


def test_equivalent_networks_compute_the_same(check_law: Callable[..., None]) -> None:
    check_law(check_that_equivalent_networks_compute_the_same, graphs(), SEEDS)


def grouped(op: str, groups: int, order: Sequence[int]) -> Graph:
    """Four channels computed from the input, a group from its channels, read by a convolution; in an order."""
    rng, b = np.random.default_rng(0), Builder()
    rows = rng.standard_normal((4, 4 // groups)).astype(np.float32)[list(order)]  # of each channel
    v = rng.standard_normal((3, 4, 1)).astype(np.float32)[:, list(order)]
    w = rows if op == "Conv" else rows.reshape(groups, -1, 4 // groups).swapaxes(1, 2).reshape(4, -1)
    attrs: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}
    more = {"output_padding": (0,)} if op == "ConvTranspose" else {}
    h = b.op(op, b.input("x", (1, 4, 2)), b.param(w[:, :, None]), groups=groups, **attrs, **more)
    return b.finish(b.op("Conv", b.op("Relu", h), b.param(v), name="y", **attrs))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_channels_of_a_group_that_reads_the_input_are_no_other_s(op: str, groups: int) -> None:
    first = grouped(op, groups, range(4))
    x = {"x": np.random.default_rng(1).standard_normal((1, 4, 2)).astype(np.float32)}
    for order in itertools.permutations(range(4)):
        other = grouped(op, groups, order)
        same = np.allclose(execute(first, x)["y"], execute(other, x)["y"])
        for modulo in (("permutation",), ("rescaling", "permutation")):
            assert (compare(first, other, modulo=modulo).exit_code == 0) == same, order


def zeroed(graph: Graph, seed: int) -> Graph:
    """Zeros in some parameters: here and there, in one place along an axis, or everywhere; not in divisors."""
    rng = np.random.default_rng(seed)
    divisors = {
        id(graph[v.node].value)
        for key in graph.order
        for slot, v in enumerate(graph.inputs_of(key))
        if v is not None and (graph[key].op, slot) in (("Div", 1), ("BatchNormalization", 4))
    }

    def change(values: Array, param: Param) -> Array:
        how = rng.integers(0, 5)
        if id(param) in divisors or not values.size or how > 2:
            return values
        if how == 0:
            return np.where(rng.random(values.shape) < 0.5, 0, values).astype(values.dtype)
        kept = np.ones(values.shape, bool)
        if how == 1 and values.ndim:
            axis = int(rng.integers(values.ndim))
            np.moveaxis(kept, axis, 0)[rng.integers(values.shape[axis])] = False
        elif rng.random() < 0.3:
            kept[...] = False
        return np.where(kept, values, 0).astype(values.dtype)

    return with_weights(graph, change)


def check_canonical_form(graph: Graph, norm: str) -> None:
    try:
        canonical = Canonicalize(norm=norm).run(graph)
    except UnsupportedError:  # what has no path-norm
        assert norm == "path-conditioned"
        return
    canonical.witness.check(graph, canonical.graph)
    for modulo in (("rescaling",), ("rescaling", "permutation")):
        found = compare(graph, canonical.graph, modulo=modulo).equivalence
        assert found.verdict == "equivalent", found


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_is_equivalent_to_its_canonical_form(norm: str, check_law: Callable[..., None]) -> None:
    """Also where neurons carry nothing, so that their weights become 0."""

    def law(graph: Graph, seed: int) -> None:
        check_canonical_form(in_float64(zeroed(graph, seed)), norm)

    check_law(law, graphs(), SEEDS, examples=0.1)


DEAD = {
    "one position of the input": """
        %x = Input : f64[1, 1, 2, 2]
        %k = Param {value=[[[0.0, 1.25], [0.5, -0.5]]]} : f64[1, 2, 2]
        %a = Mul(%x, %k)
        %f = Flatten(%a)
        %w = Param {value=[[1.0], [2.0], [-3.0], [4.0]]} : f64[4, 1]
        %b = Param {value=[0.5]} : f64[1]
        %y = Gemm(%f, %w, %b)
        return %y
    """,
    "read by a scale of 0": """
        %x = Input : f64[1, 2, 3]
        %g = Param {value=[1.5, 0.5]} : f64[2]
        %b = Param {value=[0.25, -0.5]} : f64[2]
        %m = Param {value=[0.5, 0.25]} : f64[2]
        %v = Param {value=[1.0, 2.0]} : f64[2]
        %n = BatchNormalization(%x, %g, %b, %m, %v)
        %h = Param {value=[0.0, -1.5]} : f64[2]
        %c = Param {value=[0.75, 1.5]} : f64[2]
        %d = Param {value=[0.25, 0.125]} : f64[2]
        %e = Param {value=[1.0, 1.5]} : f64[2]
        %o = BatchNormalization(%n, %h, %c, %d, %e)
        %y = Relu(%o)
        return %y
    """,
    "a channel of padding": """
        %x = Input : f64[1, 1, 2]
        %k = Param {value=[[1.5], [0.5]]} : f64[2, 1]
        %a = Mul(%x, %k)
        %p = Pad(%a) {pads=[0, 1, 0, 0, 0, 0]}
        %w = Param {value=[[[1.0], [2.0], [-3.0]]]} : f64[1, 3, 1]
        %y = Conv(%p, %w) {strides=[1], pads=[0, 0], dilations=[1]}
        return %y
    """,
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", DEAD)
def test_what_one_leaves_out_the_other_does(name: str, norm: str) -> None:
    check_canonical_form(parse_graph(DEAD[name]), norm)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_so_is_every_op(norm: str) -> None:
    for graph in samples().values():
        for seed in range(3):
            check_canonical_form(in_float64(zeroed(graph, seed)), norm)
