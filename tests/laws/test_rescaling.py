"""Rescalings of random networks: the function stays, and copies are recognized."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph
from pathlift.passes.channels.constraints import Scale
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.passes.rescaling.rescaled import rescaled
from pathlift.testing import assert_equivalent
from pathlift.testing.rescaling import in_float64
from pathlift.testing.samples import sample
from pathlift.testing.strategies import graphs
from pathlift.testing.symmetry_oracle import rescaling_equations
from pathlift.verbs.compare import compare

NORMS = ["l1", "l2", "balanced", "path-conditioned"]
PADDED = """
    %x = Input : f32[1, 1]
    %w = Param {value=[[0.75, 0.25]]} : f32[1, 2]
    %h = Gemm(%x, %w)
    %p = Pad(%h) {pads=[0, 0, 0, 1], value=-0.5}
    %v = Param {value=[[0.0], [-0.5], [-0.5]]} : f32[3, 1]
    %y = Gemm(%p, %v)
    return %y
"""

NOTHING = {
    "at the first position": """
        %x = Input : f32[1, 1, 1, 1]
        %w = Param {value=[[0.0, 0.0, 0.5]]} : f32[1, 3]
        %h = Gemm(%x, %w)
        %k = Param {value=[[[[1.0]]]]} : f32[1, 1, 1, 1]
        %c = Conv(%h, %k) {strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}
        %v = Param {value=[[-1.0], [-0.75], [0.75]]} : f32[3, 1]
        %y = Gemm(%c, %v)
        return %y
    """,
    "divided": """
        %x = Input : f32[1, 1]
        %w = Param {value=[[0.0]]} : f32[1, 1]
        %h = Gemm(%x, %w)
        %v = Param {value=[[0.0]]} : f32[1, 1]
        %g = Gemm(%x, %v)
        %c = Concat(%h, %g) {axis=-1}
        %d = Param {value=[0.75, 1.5]} : f32[2]
        %y = Div(%c, %d)
        return %y
    """,
    "multiplied by 0": """
        %x = Input : f32[1, 2]
        %w = Param {value=[[-0.5], [-0.25]]} : f32[2, 1]
        %b = Param {value=[-1.0]} : f32[1]
        %h = Gemm(%x, %w, %b)
        %v = Param {value=[[1.0, 0.75]]} : f32[1, 2]
        %g = Gemm(%h, %v)
        %z = Param {value=[[0.0], [0.0]]} : f32[2, 1]
        %y = Gemm(%g, %z)
        return %y
    """,
}


ALL = """
    %x = Input : f32[1, 2]
    %w = Param {value=[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]} : f32[2, 3]
    %b = Param {value=[1.0, 2.0, 3.0]} : f32[3]
    %g = Gemm(%x, %w, %b)
    %h = Relu(%g)
    %v = Param {value=[[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [2.0, 2.0, 3.0]]} : f32[3, 3]
    %r = Gemm(%h, %v)
    %s = Add(%r, %h)
    %u = Param {value=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]} : f32[3, 2]
    %t = Gemm(%s, %u)
    %c = Concat(%s, %t) {axis=-1}
    %m = Param {value=[[1.0], [2.0], [3.0], [4.0], [5.0]]} : f32[5, 1]
    %y = Gemm(%c, %m)
    return %y
"""

FEWER = {
    "a weight used at two depths": """
        %x = Input : f32[1, 1]
        %v = Param {value=[[1.0, 2.0]]} : f32[1, 2]
        %h = Gemm(%x, %v)
        %w = Param {value=[[1.0, 2.0], [3.0, 4.0]]} : f32[2, 2]
        %h1 = Gemm(%h, %w)
        %h2 = Gemm(%h1, %w)
        %u = Param {value=[[1.0], [2.0]]} : f32[2, 1]
        %y = Gemm(%h2, %u)
        return %y
    """,
    "a factor of one element": """
        %x = Input : f32[1, 1]
        %c = Param {value=[2.0]} : f32[1]
        %h = Mul(%x, %c)
        %w = Param {value=[[3.0]]} : f32[1, 1]
        %y = Gemm(%h, %w)
        return %y
    """,
    "a factor for several classes": """
        %x = Input : f32[1, 2, 1]
        %w = Param {value=[[1.0, 2.0]]} : f32[1, 2]
        %h = Gemm(%x, %w)
        %c = Param {value=[[2.0], [3.0]]} : f32[2, 1]
        %y = Mul(%h, %c)
        return %y
    """,
    "positions that share weights, and nothing else mixes": """
        %x = Input : f32[1, 1]
        %w = Param {value=[[0.75, 0.25]]} : f32[1, 2]
        %g = Gemm(%x, %w)
        %h = Reshape(%g) {shape=[1, 1, 2]}
        %v = Param {value=[[2.0]]} : f32[1, 1]
        %e = Einsum(%h, %v) {equation="bij,oi->boj"}
        %u = Param {value=[[1.0], [-1.0]]} : f32[2, 1]
        %y = Gemm(%e, %u)
        return %y
    """,
    "a position that meets nothing but padding": """
        %x = Input : f32[1, 1, 1]
        %k = Param {value=[[[2.0]]]} : f32[1, 1, 1]
        %h = Conv(%x, %k) {strides=[1], pads=[0, 1], dilations=[1]}
        %w = Param {value=[[1.0], [3.0]]} : f32[2, 1]
        %y = Gemm(%h, %w)
        return %y
    """,
}


def dimensions(graph: Graph) -> tuple[int, int]:
    """How many rescalings the classes span, and how many there are; the former are among the latter."""
    found, equations = symmetry(graph), rescaling_equations(graph)
    logs = np.zeros((int(sum(n.size for n in equations.numbers.values())), found.count))
    for use in found.uses:
        numbers = equations.numbers.get(id(use.param))
        if numbers is None:
            continue
        for h in range(found.count):
            ratio = (use.scale.times == h + 1).astype(float) - (use.scale.over == h + 1)
            logs[numbers.reshape(-1), h] = np.broadcast_to(ratio, numbers.shape).reshape(-1)
    assert equations.hold_for(logs)
    used = logs[equations.used]
    return int(np.linalg.matrix_rank(used)) if used.size else 0, equations.dimension()


def test_a_channel_of_padding_keeps_its_scale() -> None:
    graph = parse_graph(PADDED)
    for transform in (RandomRescale(seed=1), Canonicalize()):
        assert_equivalent(graph, transform.run(graph).graph, rtol=1e-6)


def test_a_rescaled_copy_computes_the_same_and_is_recognized(check_law: Callable[..., None]) -> None:
    def law(graph: Graph) -> None:
        copy = RandomRescale(seed=1, octaves=4, exact=True).run(graph).graph
        assert_equivalent(graph, copy, trials=1)
        assert compare(graph, copy, modulo=("rescaling",), tolerance=1e-4).exit_code == 0

    check_law(law, graphs())


WRONG: dict[str, Callable[[Scale], Scale]] = {
    "the other way round": lambda s: replace(s, times=s.over, over=s.times),
    "not at all": lambda s: replace(s, times=np.zeros((), np.int64), over=np.zeros((), np.int64)),
    "towards other channels": lambda s: replace(s, times=np.flip(s.times)),
    "from other channels": lambda s: replace(s, over=np.flip(s.over)),
    "towards one channel": lambda s: replace(s, times=np.full_like(s.times, s.times.flat[0])),
    "from one channel": lambda s: replace(s, over=np.full_like(s.over, s.over.flat[-1])),
}
"""What may be wrong with how one parameter is rescaled."""


def check_that_wrong_rescalings_are_refused(graph: Graph) -> int:
    """A symmetry that is none: what comes of it is refused by its witness unless it computes the same all the same."""
    found, refused = symmetry(graph), 0
    rng = np.random.default_rng(len(found.uses))
    factors = Factors.exp(rng.uniform(-2, 2, found.count + 1))
    for use, change in itertools.product({id(u.param): u for u in found.uses if u.param.size}.values(), WRONG.values()):
        # All uses of a tied parameter, whose symmetry it therefore still is as far as `Symmetry` says.
        uses = tuple(replace(u, scale=change(u.scale)) if u.param is use.param else u for u in found.uses)
        step = rescaled(graph, replace(found, uses=uses), factors)
        try:
            assert_equivalent(graph, step.graph, rtol=1e-4, trials=1)
        except AssertionError:
            with pytest.raises(WitnessError, match="PL0813"):
                step.witness.check(graph, step.graph)
            refused += 1
    return refused


def test_no_wrong_rescaling_gets_past_its_witness(check_law: Callable[..., None]) -> None:
    check_law(check_that_wrong_rescalings_are_refused, graphs())


@pytest.mark.parametrize("name", ["Conv/grouped", "Conv/depthwise", "ConvTranspose/grouped", "Gemm", "KSLinear/blocks"])
def test_nor_one_of_an_op_between_others(name: str) -> None:
    assert check_that_wrong_rescalings_are_refused(between(name)) >= 4


def between(name: str) -> Graph:
    """A sample's op with linear layers around it, so that all its channels are free."""
    graph = sample(name)
    b, (x,) = graph.edit(), [Value(key) for key in graph.inputs]
    (y,) = graph.outputs
    first, last = (graph.type_of(v).shape[1] for v in (x, y))  # type: ignore[union-attr, index]  # a tensor of known shape
    images = len(graph.type_of(x).shape) == 4  # type: ignore[union-attr, arg-type]  # a tensor of known shape
    ((reader, slot, _),) = graph.users(x.node)
    b.connect(reader, slot, _layer(b, x, first, images=images))
    return b.finish(_layer(b, b.op("Relu", y), last, images=images))


def _layer(b: Builder, x: Value, n: int, *, images: bool) -> Value:
    values = ((np.arange(n * n) * 5 % 7 - 3) / 4).astype(np.float32).reshape(n, n)
    if not images:
        return b.op("Gemm", x, b.param(values))
    return b.op("Conv", x, b.param(values[:, :, None, None]), strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))


def check_canonical_form(graph: Graph, norm: str) -> None:
    graph = in_float64(graph)
    first = Canonicalize(norm=norm).run(graph).graph
    assert_equivalent(graph, first, rtol=1e-9, trials=1)
    second = Canonicalize(norm=norm).run(RandomRescale(seed=1, octaves=4).run(graph).graph).graph
    for key in first.params:
        a, b = (g[key].value.numpy() for g in (first, second))  # type: ignore[union-attr]  # never None
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-9 * np.abs(a).max(initial=0.0))


@pytest.mark.parametrize("norm", NORMS)
def test_copies_have_one_canonical_form(norm: str, check_law: Callable[..., None]) -> None:
    check_law(lambda graph: check_canonical_form(graph, norm), graphs(homogeneous=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NOTHING)
def test_so_have_copies_of_networks_parts_of_which_carry_nothing(name: str, norm: str) -> None:
    check_canonical_form(parse_graph(NOTHING[name]), norm)


def test_classes_are_symmetries_that_scalar_neurons_have(check_law: Callable[..., None]) -> None:
    def law(graph: Graph) -> None:
        ours, all_there_are = dimensions(graph)
        assert ours <= all_there_are

    check_law(law, graphs(max_nodes=6, batch=1))


def test_classes_are_all_the_symmetries_of_layers_and_skips(check_law: Callable[..., None]) -> None:
    """Where no weight is used twice, and none stands for several neurons."""

    def law(graph: Graph) -> None:
        ours, all_there_are = dimensions(graph)
        assert ours == all_there_are

    ops = ("Gemm", "Relu", "LeakyRelu", "Add", "Sum", "Max", "Concat")
    check_law(law, graphs(ops=ops, max_nodes=6, batch=1, tied=False, capacity=8))


def test_classes_are_all_the_symmetries_of_a_network_with_a_skip_connection() -> None:
    assert dimensions(parse_graph(ALL)) == (5, 5)


@pytest.mark.parametrize("name", FEWER)
def test_where_there_are_more_symmetries_than_classes(name: str) -> None:
    ours, all_there_are = dimensions(parse_graph(FEWER[name]))
    assert ours < all_there_are
