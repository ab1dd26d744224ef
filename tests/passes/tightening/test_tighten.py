"""Networks on a box of inputs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError, UsageError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.base import Rewritten
from pathlift.passes.layers.comparison_form import in_float64
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pipeline import parse_pipeline
from pathlift.passes.sizes import resolve_inputs
from pathlift.passes.tightening.tighten import Tighten, tightened
from pathlift.passes.tightening.witness import Tightened
from pathlift.passes.witness.rewritings import SequentialWitness
from pathlift.testing.strategies import graphs

OPS = {"Relu", "LeakyRelu", "PRelu", "Clip", "Abs", "Gemm", "Conv", "Add", "Sub", "Mul", "Flatten", "Concat", "MaxPool",
       "AveragePool", "BatchNormalization", "Reshape", "Transpose", "Max", "Min"}  # fmt: skip
NEAR = 1 + 1e-9


def norm(graph: Graph, q: float = 1.0, **options: Any) -> float:
    value = PathNorm(q=(q,), **options).run(graph).norms[0].value
    assert value is not None
    return value


def tighten(graph: Graph, domain: str, **options: Any) -> Rewritten:
    result = Tighten(domain, **options).run(graph)
    result.witness.check(graph, result.graph)
    return result


def values(graph: Graph, **feeds: Any) -> Any:
    (y,) = run(graph, Numeric(), {n: torch.tensor(x, dtype=torch.float64) for n, x in feeds.items()}).values()
    return y


def mlp(*weights: Any, biases: Any, gate: str = "Relu", dtype: Any = np.float64, **attrs: Any) -> Graph:
    b = Builder()
    x = b.input("x", ("N", len(weights[0][0])), "f64" if dtype is np.float64 else "f32")
    for i, (w, c) in enumerate(zip(weights, biases, strict=True)):
        x = b.op(gate, x, **attrs) if i else x
        x = b.op("Gemm", x, b.param(np.array(w, dtype)), b.param(np.array(c, dtype)), trans_w=True, name=f"h{i}")
    return b.finish(x)


def ops(graph: Graph) -> list[str]:
    return [graph[key].op for key in graph.order if graph[key].op not in ("Input", "Param")]


def test_active_dead_and_bent_neurons() -> None:
    # On [0, 1]: x + 1 is active, x − 2 dead, x − 1/2 bends.
    net = mlp([[1.0], [1.0], [1.0]], [[1.0, 7.0, -1.0]], biases=[[1.0, -2.0, -0.5], [0.25]])
    result = tighten(net, "0:1").graph
    # y = (x + 1) − relu(x − 1/2) + 1/4
    assert ops(result) == ["Gemm", "Relu", "Gemm", "Gemm", "Add"] or norm(result) < norm(net)
    for x in (0.0, 0.3, 1.0):
        assert values(result, x=[[x]]).item() == pytest.approx(x + 1 - max(x - 0.5, 0) + 0.25, rel=1e-15)
    # Nothing cancels between the two terms that were merged: nothing but the dead neuron goes.
    assert norm(result) == pytest.approx(1 + 1 + 1 + 0.5 + 0.25)
    assert values(result, x=[[10.0]]).item() != values(net, x=[[10.0]]).item()


def test_what_cancels_behind_active_neurons_is_gone() -> None:
    # relu(x + 1) − relu(x + 2) = −1 on [0, 1].
    net = mlp([[1.0], [1.0], [1.0]], [[1.0, -1.0, 1.0]], biases=[[1.0, 2.0, -0.5], [0.0]])
    result = tighten(net, "x=0:1").graph
    assert norm(net) == pytest.approx(3 + 3.5)
    assert norm(result) == pytest.approx(1 + 0.5 + 1, rel=1e-12)
    assert values(result, x=[[0.75]]).item() == pytest.approx(-1 + 0.25)


def test_gates_of_a_piece_each() -> None:
    b = Builder()
    x = b.input("x", ("N", 2), "f64")
    w, c = b.param(np.eye(2)), b.param(np.array([3.0, 4.0]))
    up = b.op("Add", x, c)
    results = [
        b.op("Relu", up),  # the identity
        b.op("Relu", b.op("Sub", x, c)),  # zero
        b.op("LeakyRelu", b.op("Sub", x, c), alpha=0.25),
        b.op("PRelu", b.op("Sub", x, c), b.param(np.array([0.5, -2.0]))),
        b.op("Abs", b.op("Sub", x, c)),
        b.op("Clip", up, low=0.0, high=6.0),
        b.op("Clip", x, low=-9.0, high=-2.0),  # −2
    ]
    net = b.finish(b.op("Concat", *(b.op("Gemm", r, w, trans_w=True) for r in results), axis=1))
    result = tighten(net, "-1:1").graph
    assert not {"Relu", "LeakyRelu", "PRelu", "Abs", "Clip"} & set(ops(result))
    assert norm(result) < norm(net)
    twice = tighten(result, "-1:1")
    assert twice.graph is result


@pytest.mark.parametrize(("low", "high", "expected"), [(7.0, 9.0, 6.0), (-3.0, -1.0, 0.0), (1.0, 2.0, None)])
def test_relu6_saturates(low: float, high: float, expected: float | None) -> None:
    net = mlp([[1.0]], [[2.0]], biases=[[50.0], [1.0]], gate="Clip", low=0.0, high=6.0)
    result = tighten(net, f"x={low - 50}:{high - 50}").graph
    assert "Clip" not in ops(result)
    y = values(result, x=[[low - 50]]).item()
    assert y == pytest.approx(1 + 2 * (low if expected is None else expected))


def test_constants_that_raise_the_norm_are_left() -> None:
    net = mlp([[0.125]], [[1.0]], biases=[[0.0], [0.0]], gate="Clip", low=0.0, high=6.0)
    result = tighten(net, "x=100:200").graph
    assert result is net  # 6 is more than 1/8


def test_slopes_of_leaky_gates_that_bend_elsewhere() -> None:
    b = Builder()
    x = b.input("x", ("N", 3), "f64")
    h = b.op("LeakyRelu", b.op("Add", x, b.param(np.array([-5.0, 0.0, 5.0]))), alpha=0.5)
    net = b.finish(h)
    result = tighten(net, "-1:1").graph
    assert norm(net) == pytest.approx(3 + 10)
    assert norm(result) == pytest.approx(0.5 * 6 + 1 + 6)
    assert tighten(result, "-1:1").graph is result


def test_convolutions() -> None:
    b = Builder()
    rng = np.random.default_rng(0)
    x = b.input("x", ("N", 2, 3, 3))
    attrs: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    h = x
    for out, inside, c in ((4, 2, [9.0, -9.0, 0.0, 0.1]), (3, 4, [-40.0, 0.0, 1.0])):
        w = rng.uniform(-1, 1, (out, inside, 3, 3)).astype(np.float32)
        h = b.op("Relu", b.op("Conv", h, b.param(w), b.param(np.array(c, np.float32)), **attrs))
    net = b.finish(b.op("Flatten", h))
    result = tighten(net, "x=0:0.5").graph
    assert norm(result) < 0.8 * norm(net)
    assert tighten(result, "x=0:0.5").graph is result
    centred = tighten(net, "x=0:0.5", recentre=True).graph
    feed = rng.uniform(0, 0.5, (1, 2, 3, 3))
    assert torch.allclose(values(centred, x=feed - 0.25), values(net, x=feed), rtol=1e-5, atol=1e-5)
    # Zero padding is not c: what c adds differs by position.
    assert "Add" in ops(centred)


def test_unpadded_convolutions_take_the_centre_into_their_bias() -> None:
    b = Builder()
    w = b.param(np.arange(8.0).reshape(2, 1, 2, 2))
    x = b.input("x", ("N", 1, 3, 3), "f64")
    net = b.finish(b.op("Conv", x, w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1)))
    result = tighten(net, "2:4", recentre=True).graph
    assert ops(result) == ["Conv"]
    bias = result.inputs_of(result.outputs[0].node)[2]
    assert bias is not None
    assert np.allclose(result[bias.node].value.numpy(), [3 * 6, 3 * 22])  # type: ignore[union-attr]  # a parameter has a value


def test_recentring_goes_through_views_and_refuses_what_it_cannot_pass() -> None:
    b = Builder()
    x, z = b.input("x", ("N", 2, 2), "f64"), b.input("z", ("N", 4), "f64")
    h = b.op("Gemm", b.op("Flatten", x), b.param(np.eye(4)), b.param(np.ones(4)), trans_w=True)
    net = b.finish(b.op("Add", h, z))
    result = tighten(net, "x=0:1;z=0:2", recentre=True)
    assert "input 'z' is not recentred" in result.witness.describe()
    assert "recentred: x" in result.witness.describe()
    b = Builder()
    with pytest.raises(
        UnsupportedError, match=r"PL1390 no input can be recentred: input 'x' is not recentred: .*no layer"
    ):
        Tighten("-1:3", recentre=True).run(b.finish(b.op("Identity", b.op("Relu", b.input("x", ("N", 2), "f64")))))
    around_zero = tighten(net, "-1:1", recentre=True)
    assert around_zero.graph is net


@pytest.mark.parametrize(
    ("domain", "code"),
    [
        ("", "PL1474"), ("x=1:0", "PL1474"), ("x=0:inf", "PL1474"), ("x=0", "PL1474"), ("x=a:b", "PL1474"),
        ("x=0:1;x=0:1", "PL1474"), ("0:1;x=0:1", "PL1474"), ("y=0:1", "PL1476"), ("x=0:1;y=0:1", "PL1476"),
    ],
)  # fmt: skip
def test_domains(domain: str, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        Tighten(domain).run(mlp([[1.0]], biases=[[0.0]]))


def test_a_domain_that_misses_an_input() -> None:
    b = Builder()
    net = b.finish(b.op("Add", b.input("x", ("N", 2)), b.input("z", ("N", 2))))
    with pytest.raises(UsageError, match="PL1476 the domain says nothing of input 'z'"):
        Tighten("x=0:1").run(net)


def test_as_text() -> None:
    (found,) = parse_pipeline('tighten{domain="x=0:1;z=-1:1", recentre=true}')
    assert found == Tighten("x=0:1;z=-1:1", recentre=True)


@st.composite
def boxes(draw: Any, graph: Graph) -> Domain:
    shapes = resolve_inputs(graph, {})
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    radius = draw(st.sampled_from([0.0, 0.05, 0.5, 2.0]))
    centre = {n: torch.from_numpy(rng.uniform(-2, 2, (1, *s[1:]))) for n, s in shapes.items()}
    return Domain({n: c - radius for n, c in centre.items()}, {n: c + radius for n, c in centre.items()})


@settings(max_examples=50)
@given(st.data())
def test_function_and_norm_on_random_graphs(data: st.DataObject) -> None:
    graph = in_float64(data.draw(graphs(ops=OPS, batch="N", max_nodes=8)))
    domain = data.draw(boxes(graph))
    shapes = resolve_inputs(graph, {})
    try:
        result = tightened(graph, domain, shapes)
    except UnsupportedError:
        return
    result.witness.check(graph, result.graph)
    again = tightened(result.graph, domain, shapes)
    assert again.graph is result.graph
    try:
        before = PathNorm().run(graph).norms[0]
    except UnsupportedError:
        return
    after = PathNorm().run(result.graph).norms[0]
    assert after.log10 is None or (before.log10 is not None and after.log10 <= before.log10 + 1e-9)


@settings(max_examples=30)
@given(
    st.integers(0, 2**16), st.sampled_from(["Relu", "LeakyRelu", "Clip", "Abs"]), st.integers(1, 3), st.booleans()
)  # fmt: skip
def test_deep_products(seed: int, gate: str, depth: int, recentre: bool) -> None:
    rng = np.random.default_rng(seed)
    sizes = [3, *rng.integers(2, 7, depth), 2]
    weights = [rng.standard_normal((m, n)) for n, m in pairwise(sizes)]
    attrs = {"Clip": {"low": 0.0, "high": 6.0}, "LeakyRelu": {"alpha": 0.1}}.get(gate, {})
    net = mlp(*weights, biases=[rng.standard_normal(len(w)) * 2 for w in weights], gate=gate, **attrs)
    low, high = -0.2 + rng.uniform(-1, 1), 0.2 + rng.uniform(1, 1.2)
    result = tighten(net, f"{low}:{high}")
    assert norm(result.graph) <= norm(net) * NEAR
    assert tighten(result.graph, f"{low}:{high}").graph is result.graph
    graph = tighten(net, f"{low}:{high}", recentre=recentre).graph
    # The norm of what starts at the inputs bounds slopes on the domain, and that of all paths the values.
    bound, centre = norm(graph, inputs_only=True), (low + high) / 2 if recentre else 0.0
    x, y = (torch.from_numpy(rng.uniform(low, high, (50, 3))) for _ in range(2))
    fx, fy = (next(iter(run(net, Numeric(), {"x": v}).values())) for v in (x, y))
    distance = (x - y).abs().amax(1)
    assert bool(((fx - fy).abs().sum(1) <= bound * distance * NEAR).all())
    reach = (x - centre).abs().amax(1).clamp(min=1.0)
    assert bool((fx.abs().sum(1) <= norm(graph) * reach * NEAR).all())


def test_merged_weights_are_never_too_small() -> None:
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal((3, 9)).astype(np.float32)]
    net = mlp(*weights, biases=[np.full(9, 50.0), np.zeros(3)], dtype=np.float32)
    result = tighten(net, "-1:1").graph
    assert ops(result) == ["Gemm"]
    weight, bias = (result[v.node].value.numpy() for v in result.inputs_of("h1")[1:])  # type: ignore[union-attr]  # a parameter has a value
    w, v = ([[Fraction(float(c)) for c in row] for row in m] for m in weights)
    for i in range(3):
        for j in range(4):
            true = sum((v[i][k] * w[k][j] for k in range(9)), Fraction(0))
            assert abs(Fraction(float(weight[i, j]))) >= abs(true)
            assert abs(Fraction(float(weight[i, j])) - true) <= Fraction(1, 10**6) * (1 + abs(true))
        assert abs(Fraction(float(bias[i]))) >= abs(sum((v[i][k] * 50 for k in range(9)), Fraction(0)))


def test_the_witness_finds_another_function_and_gates_that_bend() -> None:
    net = mlp([[1.0], [1.0]], [[1.0, -1.0]], biases=[[1.0, 2.0], [0.0]])
    result = tighten(net, "0:1")
    assert isinstance(result.witness, SequentialWitness)
    (first, _), *_ = result.witness.steps
    assert isinstance(first, Tightened)
    wrong = mlp([[1.0]], biases=[[-1.0 + 1e-7]]).edit()
    wrong.rename(Value("h0"), "h1")
    with pytest.raises(WitnessError, match="differs"):
        first.check(net, wrong.finish())
    wide = Domain(*({"x": torch.tensor([[end]], dtype=torch.float64)} for end in (-9.0, 9.0)))
    with pytest.raises(WitnessError, match="is not linear on the domain"):
        replace(first, domain=wide).check(net, net)
    with pytest.raises(WitnessError, match="is no gate"):
        replace(first, pieces={"h0": next(iter(first.pieces.values()))}).check(net, net)
