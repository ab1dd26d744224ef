"""The balanced and the path-conditioned form: optima by hand, by finite differences, and on random networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pathlift
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, Param, is_float
from pathlift.passes.channels.constraints import Scale
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rescaling.balance import Balance, Pairs, as_weight, zero_sided
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.normal_form import normal_form
from pathlift.passes.rescaling.path_conditioned import path_balance
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.passes.rescaling.rescaled import rescaled
from pathlift.testing import assert_equivalent
from pathlift.testing.rescaling import in_float64

NORMS = ["balanced", "path-conditioned"]
CHAIN = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -2.0]]} : f32[2, 2]
    %b = Param {value=[-4.0, 1.0]} : f32[2]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[0.5], [-1.0]]} : f32[2, 1]
    %y = Gemm(%r, %v)
    return %y
"""
# A skip ties the classes of h and of its sum with g; the batch norm has a mean in the scale of its input.
RESIDUAL = """
    %x = Input : f32[1, 2, 3]
    %w = Param {value=[[[1.0], [2.0]], [[3.0], [-2.0]]]} : f32[2, 2, 1]
    %h = Conv(%x, %w) {strides=[1], pads=[0, 0], dilations=[1]}
    %v = Param {value=[[[0.5, 2.0, 0.0]], [[0.5, 0.25, 1.0]]]} : f32[2, 1, 3]
    %g = Conv(%h, %v) {strides=[1], pads=[1, 1], dilations=[1], groups=2}
    %gamma = Param {value=[6.0, 0.5]} : f32[2]
    %beta = Param {value=[1.0, 3.0]} : f32[2]
    %mean = Param {value=[1.0, -2.0]} : f32[2]
    %var = Param {value=[3.5, 15.5]} : f32[2]
    %n = BatchNormalization(%g, %gamma, %beta, %mean, %var) {epsilon=0.5}
    %r = Relu(%n)
    %s = Add(%r, %h)
    %u = Param {value=[[[8.0], [9.0]]]} : f32[1, 2, 1]
    %y = Conv(%s, %u) {strides=[1], pads=[0, 0], dilations=[1]}
    return %y
"""
TIED = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0], [3.0, -2.0]]} : f32[2, 2]
    %a = Gemm(%x, %w)
    %z = Input : f32[N, 2]
    %b = Gemm(%z, %w)
    %h = Max(%a, %b)
    %v = Param {value=[[0.5], [-1.0]]} : f32[2, 1]
    %y = Gemm(%h, %v)
    return %y
"""
DEAD = CHAIN.replace("[[1.0, 2.0], [3.0, -2.0]]", "[[1.0, 0.0], [3.0, 0.0]]").replace("[-4.0, 1.0]", "[-4.0, 0.0]")
UNREAD = CHAIN.replace("[[0.5], [-1.0]]", "[[0.5], [0.0]]")


def weights(graph: Graph) -> dict[str, Array]:
    values = {key: graph[key].value for key in graph.params}
    return {key: v.numpy().astype(np.float64) for key, v in values.items() if v is not None and is_float(v.dtype)}


def assert_alike(a: Graph, b: Graph, rtol: float) -> None:
    for name, values in weights(a).items():
        np.testing.assert_allclose(weights(b)[name], values, rtol=rtol, atol=rtol * np.abs(values).max(initial=0))


def squares(graph: Graph) -> float:
    """The sum that the balanced form minimizes: of the squares of all that rescalings change."""
    return float(sum((u.param.numpy().astype(np.float64) ** 2).sum() for u in symmetry(graph).scales().values()))


def moved(graph: Graph, z: Array) -> Graph:
    return rescaled(graph, symmetry(graph), Factors.exp(z)).graph


def objective(graph: Graph) -> float:
    """p·log Σ G_ii − Σ log G_ii of a network without batch norms and zeros, from its path-norm alone."""
    weights = {key: graph[key].value for key in graph.params}
    shares = PathNorm(q=(2.0,), per_weight=True).run(graph).weights
    log_norm = 2 * np.log(10) * float(PathNorm(q=(2.0,)).run(graph).norms[0].log10 or 0)
    logs = [
        log_norm + np.log(shares[graph[key].names[0]].numpy()) - 2 * np.log(np.abs(p.numpy()))
        for key, p in weights.items()
        if p is not None
    ]
    diagonal = np.concatenate([log.reshape(-1) for log in logs])
    return float(len(diagonal) * np.log(np.exp(diagonal).sum()) - diagonal.sum())


def test_balanced_by_hand(golden: Callable[[str, str], None]) -> None:
    after = Canonicalize(norm="balanced").run(parse_graph(CHAIN)).graph
    golden("passes/rescaling/canonicalize_balanced.txt", f"{parse_graph(CHAIN)}\n\nbecomes\n\n{after}")
    w, b, v = weights(after).values()
    np.testing.assert_allclose((w**2).sum(0) + b**2, (v**2).sum(1), rtol=1e-6)
    np.testing.assert_allclose((v**2).sum(1), [np.sqrt(26) * 0.5, np.sqrt(9) * 1.0], rtol=1e-6)  # √(in·out)


@pytest.mark.parametrize("text", [CHAIN, RESIDUAL, TIED])
def test_balanced_is_the_minimum(text: str) -> None:
    best = Canonicalize(norm="balanced").run(in_float64(parse_graph(text))).graph
    rng, count = np.random.default_rng(0), symmetry(best).count
    assert squares(best) < squares(in_float64(parse_graph(text)))
    for _ in range(20):
        z = np.concatenate([[0], rng.standard_normal(count)])
        assert squares(moved(best, 0.1 * z)) > squares(best)
        slope = (squares(moved(best, 1e-4 * z)) - squares(moved(best, -1e-4 * z))) / 2e-4
        assert abs(slope) < 1e-6 * squares(best)


def test_path_conditioned_by_hand() -> None:
    # One neuron, x·w·v: G = v², w². p = 2, so 2·log(v²/λ² + w²·λ²) is least where v²/λ² = w²·λ².
    graph = parse_graph(
        "%x = Input : f64[N, 1]\n%w = Param {value=[[2.0]]} : f64[1, 1]\n%h = Gemm(%x, %w)\n%r = Relu(%h)\n"
        "%v = Param {value=[[8.0]]} : f64[1, 1]\n%y = Gemm(%r, %v)\nreturn %y"
    )
    after = Canonicalize(norm="path-conditioned").run(graph).graph
    assert weights(after) == {"w": pytest.approx(np.array([[4.0]])), "v": pytest.approx(np.array([[4.0]]))}


def dense_mlp(*widths: int) -> Graph:
    from pathlift.ir.builder import Builder

    rng, b = np.random.default_rng(sum(widths)), Builder()
    h = b.input("x", ("N", widths[0]), "f64")
    for n, m in itertools.pairwise(widths):
        h = b.op("Gemm", h, b.param(rng.standard_normal((n, m))), b.param(rng.standard_normal(m)))
        h = h if m == widths[-1] else b.op("Relu", h)
    return b.finish(h)


def test_path_conditioned_is_stationary() -> None:
    best = Canonicalize(norm="path-conditioned").run(dense_mlp(3, 5, 4, 2)).graph
    count, least = symmetry(best).count, objective(best)
    for h in range(1, count + 1):
        z = np.zeros(count + 1)
        z[h] = 1e-3
        up, down = objective(moved(best, z)), objective(moved(best, -z))
        assert min(up, down) > least
        assert abs(up - down) / 2e-3 < 1e-4 * (up + down - 2 * least) / 1e-6  # against the curvature
    rng = np.random.default_rng(0)
    assert all(objective(moved(best, np.append(0, rng.standard_normal(count)))) > least for _ in range(10))


def test_each_coordinate_is_the_root_of_the_paper_s_quadratic() -> None:
    # With x = e^{2z}: (p − n)·B·x² − n·C·x − (p + n)·A = 0, where A/x + B·x + C = Σ G_ii·e^(Bz)_i.
    graph = dense_mlp(3, 4, 2)
    best = Canonicalize(norm="path-conditioned").run(graph).graph
    (_, w), (_, b), (_, v), (_, c) = weights(best).items()
    shares = [s.numpy() for s in PathNorm(q=(2.0,), per_weight=True).run(best).weights.values()]
    into, bias, out, last = (s / p**2 for s, p in zip(shares, (w, b, v, c), strict=True))
    total, p = into.sum() + bias.sum() + out.sum() + last.sum(), w.size + b.size + v.size + c.size
    for h in range(4):
        a, z, n = out[h].sum(), into[:, h].sum() + bias[h], (3 + 1) - 2
        rest = total - a - z
        x = (n * rest + np.sqrt((n * rest) ** 2 + 4 * (p**2 - n**2) * a * z)) / (2 * (p - n) * z)
        assert x == pytest.approx(1.0, abs=1e-9)


def test_the_objective_never_rises() -> None:
    for graph in (dense_mlp(6, 30, 20, 4), pathlift.load("examples/digits.onnx"), in_float64(parse_graph(RESIDUAL))):
        copy = RandomRescale(seed=1, octaves=10).run(graph).graph
        balance = path_balance(copy, normal_form(copy, 2.0))
        assert balance is not None
        balance.run()
        falls = np.diff(balance.objective)
        assert len(falls) > 2
        assert (falls <= 0).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("text", [CHAIN, RESIDUAL, TIED, DEAD, UNREAD])
def test_copies_have_one_form(norm: str, text: str) -> None:
    graph = in_float64(parse_graph(text))
    first = Canonicalize(norm=norm).run(graph).graph
    assert_equivalent(graph, first, rtol=1e-12)
    for seed in range(3):
        copy = RandomRescale(seed=seed, octaves=20).run(graph).graph
        assert_alike(first, Canonicalize(norm=norm).run(copy).graph, 1e-11)
    assert_alike(first, Canonicalize(norm=norm).run(first).graph, 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("text", [CHAIN, RESIDUAL, TIED])
def test_powers_of_two(norm: str, text: str) -> None:
    graph = parse_graph(text)
    first = Canonicalize(norm=norm, exact=True).run(graph).graph
    copy = RandomRescale(seed=0, octaves=20, exact=True).run(graph).graph
    second = Canonicalize(norm=norm, exact=True).run(copy).graph
    assert all(np.array_equal(weights(second)[name], values) for name, values in weights(first).items())


def test_dead_neurons_are_zeroed_on_both_sides() -> None:
    for text in (DEAD, UNREAD):
        after = weights(Canonicalize(norm="balanced").run(parse_graph(text)).graph)
        assert not after["w"][:, 1].any()
        assert not after["v"][1].any()
        assert after["b"][1] == 0
        assert after["w"][:, 0].all()


def test_zero_weights_count_as_the_paths_that_they_could_be() -> None:
    # With a weight of zero, G_ii is what its square would be multiplied by.
    graph = in_float64(parse_graph(CHAIN.replace("[3.0, -2.0]", "[0.0, -2.0]")))
    nearly = in_float64(parse_graph(CHAIN.replace("[3.0, -2.0]", "[1e-12, -2.0]")))
    a, b = (Canonicalize(norm="path-conditioned").run(g).graph for g in (graph, nearly))
    assert_alike(a, b, 1e-9)


def test_what_has_no_path_norm_is_refused_by_name() -> None:
    text = CHAIN.replace("Relu(%h)", "Sigmoid(%h)")
    with pytest.raises(UnsupportedError, match=r"'r' \(Sigmoid\)"):
        Canonicalize(norm="path-conditioned").run(parse_graph(text))
    Canonicalize(norm="balanced").run(parse_graph(text))


def test_nothing_to_rescale() -> None:
    graph = parse_graph("%x = Input : f32[N, 2]\n%y = Relu(%x)\nreturn %y")
    for norm in NORMS:
        assert Canonicalize(norm=norm).run(graph).graph is graph


# ---- the convex core


def test_pairs_add_up_what_elements_contribute() -> None:
    rng = np.random.default_rng(0)
    shapes: list[tuple[Any, Any, tuple[int, ...]]] = [
        ([[1], [2], [1]], [[3, 4, 3, 3]], (3, 4)),
        (np.arange(1, 101), np.arange(101, 201), (100,)),
        ([[[1]], [[2]]], [[[2], [0], [1]]], (2, 3, 5)),
        (np.zeros((), int), np.zeros((), int), (7,)),
    ]
    for times, over, shape in shapes:
        values = rng.random(shape)
        count = 201
        expected = np.zeros((count, count))
        t, o = np.broadcast_arrays(times, over, np.empty(shape))[:2]
        np.add.at(expected, (t, o), values)
        p = Pairs.of(Scale(np.asarray(times), np.asarray(over)), values)
        v = rng.random(count)
        np.testing.assert_allclose(p.applied(v), expected @ v + expected.T @ v)
        np.testing.assert_allclose(p.sides(count), [expected.sum(1), expected.sum(0)])
        groups = rng.integers(0, 4, count)
        among = np.eye(4)[groups]
        np.testing.assert_allclose(p.grouped(groups, 4), among.T @ expected @ among)
        dz = rng.random(count)
        factors = np.exp(2 * (dz[:, None] - dz))
        assert p.total(dz) == pytest.approx((expected * factors).sum())
        p.move(dz, 3.0)
        np.testing.assert_allclose(p.sides(count)[0], 3 * (expected * factors).sum(1))
        p.without(groups == 0)
        kept = expected * (groups != 0)[:, None] * (groups != 0) * (1 - np.eye(count))
        np.testing.assert_allclose(p.sides(count)[0], 3 * (kept * factors).sum(1))


def test_one_dead_class_may_leave_others_dead() -> None:
    # 0 → 1 → 2 → 3, and nothing reads 3.
    pairs = [Pairs(np.array([t]), np.array([o]), np.ones((1, 1))) for t, o in ((1, 0), (2, 1), (3, 2), (4, 0), (0, 4))]
    assert zero_sided(pairs, 5).tolist() == [False, True, True, True, False]


def test_extreme_coefficients() -> None:
    rng = np.random.default_rng(0)
    chain = [(1, 0), (2, 1), (3, 2), (0, 3)]
    logs = rng.uniform(-300, 300, 4)
    pairs = [
        Pairs(np.array([t]), np.array([o]), np.full((1, 1), np.exp(x))) for (t, o), x in zip(chain, logs, strict=True)
    ]
    z = Balance(pairs, np.zeros(4)).run()
    found = [x + 2 * (z[t] - z[o]) for (t, o), x in zip(chain, logs, strict=True)]
    np.testing.assert_allclose(found, np.mean(logs), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("divides", [False, True])
def test_pairs_that_are_joined_are_those_with_sums(divides: bool) -> None:
    rng = np.random.default_rng(3)
    shapes = [
        (np.array([[1], [2], [1]]), np.array([[3, 4, 3, 3]]), (3, 4)),
        (np.arange(1, 101), np.arange(101, 201), (100,)),
        (np.arange(300)[:, None], np.arange(400)[None], (300, 400)),  # several blocks
        (np.array(0), np.array(1), ()),
    ]
    for times, over, shape in shapes:
        values = np.asarray(rng.integers(-1, 2, shape)).astype(np.float64)
        scale = Scale(times, over, divides)
        sums = Pairs.of(*as_weight(scale, np.ones(shape) if divides else values**2))
        joined = Pairs.joined(scale, Param.of(values))
        assert joined.m.dtype == bool
        np.testing.assert_array_equal(joined.m, sums.m != 0)
        for side, expected in zip(joined.sides(401), sums.sides(401), strict=True):
            np.testing.assert_array_equal(side != 0, expected != 0)
