"""The product of norms, against Jacobians of random networks and networks that are small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.generalization.product import NormName, norm_product
from pathlift.passes.sizes import resolve_inputs
from pathlift.testing.strategies import feeds, graphs


def jacobian(graph: Graph, arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """Of all outputs as one vector, by all inputs as one."""
    sizes = [a.size for a in arrays.values()]

    def f(x: torch.Tensor) -> torch.Tensor:
        parts = {n: p.reshape(a.shape) for (n, a), p in zip(arrays.items(), x.split(sizes), strict=True)}
        outputs = run(graph, Numeric(), parts)
        return torch.cat([outputs[graph.name_of(v)].reshape(-1) for v in graph.outputs])

    x = torch.cat([torch.from_numpy(a.astype(np.float64)).reshape(-1) for a in arrays.values()])
    result: torch.Tensor = torch.autograd.functional.jacobian(f, x)
    return result


@settings(max_examples=60)
@given(st.data(), graphs(batch=1, max_nodes=6, capacity=24), st.sampled_from(["l2", "linf"]))
def test_no_jacobian_is_steeper(data: st.DataObject, graph: Graph, norm: NormName) -> None:
    rng = np.random.default_rng(0)  # off the kinks, where what autograd calls a derivative is none
    drawn = data.draw(feeds(graph, max_extent=1))
    arrays = {name: a + rng.uniform(0.01, 0.02, a.shape) for name, a in drawn.items()}
    try:
        bound = norm_product(graph, resolve_inputs(graph, {}), norm).log10
    except UnsupportedError:
        return
    matrix = jacobian(graph, arrays)
    if not matrix.numel():
        return
    steep = float(torch.linalg.matrix_norm(matrix, 2) if norm == "l2" else matrix.abs().sum(1).amax())
    assert steep == 0 if bound is None else steep <= 10**bound * (1 + 1e-9)


def product(text: str, norm: NormName = "l2") -> float:
    graph = parse_graph(text)
    log10 = norm_product(graph, resolve_inputs(graph, {}), norm).log10
    assert log10 is not None
    return float(10**log10)


HEAD = "%x = Input : f32[N, 2]\n%w = Param {value=[[3.0, 0.0], [0.0, 4.0]]} : f32[2, 2]\n%h = Gemm(%x, %w)\n"


@pytest.mark.parametrize(
    ("text", "l2", "linf"),
    [
        ("return %h", 4, 4),
        ("%y = Add(%h, %x)\nreturn %y", 5, 5),
        ("%y = Concat(%h, %x) {axis=1}\nreturn %y", 17**0.5, 4),
        ("%y = Relu(%h)\n%z = Gemm(%y, %w)\nreturn %z", 16, 16),
        ("%y = LeakyRelu(%h) {alpha=3.0}\nreturn %y", 12, 12),
        ("%c = Param {value=[2.0, -5.0]} : f32[2]\n%y = Mul(%h, %c)\nreturn %y", 20, 20),
        ("%y = ReduceSum(%h) {axes=[1]}\nreturn %y", 4 * 2**0.5, 8),
        ("%y = TopK(%h) {axis=1, k=2}\nreturn %y", 4, 4),
        ("return %h, %x", 17**0.5, 4),
    ],
)
def test_by_hand(text: str, l2: float, linf: float) -> None:
    assert product(HEAD + text) == pytest.approx(l2, rel=2e-3)
    assert product(HEAD + text) >= l2
    assert product(HEAD + text, "linf") == pytest.approx(linf, rel=1e-9)
    assert product(HEAD + text, "linf") >= linf


def test_overlapping_pools() -> None:
    """The values that win twice are counted twice, in ℓ₂ only."""
    text = (
        "%x = Input : f32[1, 1, 5]\n%y = MaxPool(%x) {kernel=[3], strides=[1], pads=[1, 1], dilations=[1]}\nreturn %y"
    )
    assert product(text) == pytest.approx(3**0.5)
    assert product(text, "linf") == pytest.approx(1)


def test_a_constant_does_not_move() -> None:
    graph = parse_graph(HEAD.replace("3.0", "0.0").replace("4.0", "0.0") + "return %h")
    assert norm_product(graph, {"x": (1, 2)}, "linf").log10 is None


def test_depth_does_not_overflow() -> None:
    text = HEAD + "".join(f"%h{i} = Gemm(%{'h' if not i else f'h{i - 1}'}, %w)\n" for i in range(600)) + "return %h599"
    graph = parse_graph(text)
    assert norm_product(graph, {"x": (1, 2)}, "linf").log10 == pytest.approx(601 * np.log10(4), rel=1e-9)
