"""PathNorm is what enumerating the paths gives, does not see rescalings, and grows with every weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.testing import assert_path_norm, execute, in_float64, oracle, random_rescale, rescaling_sites, samples
from pathlift.testing.strategies import feeds, graphs

CheckLaw = Callable[..., None]
LIMIT = 20_000
QS = (0.0, 0.5, 1.0, 2.0, 3.3, math.inf)
POOLED = ["Gemm", "Conv", "Relu", "Add", "MaxPool", "ReduceMax", "Max", "TopK", "Reshape", "Split", "Min", "Concat"]
NOT_MONOTONE = {"BatchNormalization", "Div"}  # the bias of a batch norm is a difference; a divisor divides


def rtol(graph: Graph) -> float:
    # The oracle has its resize coefficients from ONNX Runtime, in float32.
    return 1e-5 if any(graph[key].op == "Resize" for key in graph.order) else 1e-9


def norm(graph: Graph, **options: Any) -> float:
    (result,) = PathNorm(**options).run(graph).norms
    return -math.inf if result.log10 is None else result.log10


@pytest.mark.parametrize("q", QS)
def test_equals_enumeration(check_law: CheckLaw, q: float) -> None:
    def law(graph: Graph, inputs_only: bool, mixed: float | None) -> None:
        if oracle.path_count(oracle.neuron_graph(graph)) <= LIMIT:
            assert_path_norm(graph, q=q, mixed=mixed, inputs_only=inputs_only, rtol=rtol(graph))

    check_law(law, networks(), st.booleans(), st.sampled_from([None, 1.0, 2.0, math.inf]))


@pytest.mark.parametrize("q", QS)
def test_pools_as_maxima_equal_a_recursion_over_neurons(check_law: CheckLaw, q: float) -> None:
    def law(graph: Graph, inputs_only: bool) -> None:
        assert_path_norm(graph, q=q, pooling="max", inputs_only=inputs_only, rtol=rtol(graph))

    check_law(law, graphs(ops=POOLED, octaves=6), st.booleans(), examples=0.5)


@pytest.mark.parametrize("name", samples())
def test_equals_enumeration_on_samples(name: str) -> None:
    graph = samples()[name]
    try:
        oracle.neuron_graph(graph)
    except Exception as refusal:
        pytest.skip(str(refusal))
    for q in QS:
        for inputs_only in (False, True):
            assert_path_norm(graph, q=q, inputs_only=inputs_only, rtol=rtol(graph))


def test_falls_with_q_towards_the_largest_path(check_law: CheckLaw) -> None:
    def law(graph: Graph) -> None:
        falling = [0.5, 1.0, 2.0, 50.0, 200.0, math.inf]
        paths, *norms = PathNorm(q=(0.0, *falling)).run(graph).norms
        if paths.zero:
            assert all(n.zero for n in norms)
            return
        largest = norms[-1].log10
        for q, this, next_ in zip(falling, norms, norms[1:], strict=False):
            assert this.log10 >= next_.log10 - 1e-12, f"‖Φ‖_{q:g} is below ‖Φ‖_{next_.q:g}"
            assert this.log10 <= largest + paths.log10 / q + 1e-9, f"‖Φ‖_{q:g} is more than so many paths make"

    check_law(law, networks())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_sweep_over_q_is_one_norm_at_a_time(check_law: CheckLaw, dtype: str) -> None:
    def law(graph: Graph, mixed: float | None) -> None:
        options: dict[str, Any] = {"dtype": dtype, "mixed": mixed}
        for swept in PathNorm(q=QS, **options).run(graph).norms:
            (alone,) = PathNorm(q=(swept.q,), **options).run(graph).norms
            assert (swept.log10, swept.upper_log10, swept.value) == (alone.log10, alone.upper_log10, alone.value)
            assert all(torch.equal(y, alone.outputs[name]) for name, y in swept.outputs.items())

    check_law(law, networks(), st.sampled_from([None, 2.0]), examples=0.5)


def test_upper_is_above(check_law: CheckLaw) -> None:
    def law(graph: Graph, q: float) -> None:
        (result,) = PathNorm(q=(q,)).run(graph).norms
        if result.zero:
            assert result.upper_log10 is None
        else:
            assert result.log10 <= result.upper_log10 <= result.log10 + 1e-9

    check_law(law, networks(), st.sampled_from(QS))


def test_float32_agrees_with_float64(check_law: CheckLaw) -> None:
    def law(graph: Graph) -> None:
        wide, narrow = norm(graph), norm(graph, dtype="float32")
        assert wide == narrow or abs(wide - narrow) < 1e-5

    check_law(law, networks())


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0])
def test_invariant_under_rescaling(check_law: CheckLaw, q: float) -> None:
    def law(graph: Graph, seed: int) -> None:
        rescaled = random_rescale(graph, np.random.default_rng(seed))
        a, b = norm(graph, q=(q,)), norm(rescaled, q=(q,))
        assert a == b or abs(a - b) < 1e-12 * max(1, abs(a)), f"{a} and {b} after rescaling to\n{rescaled}"

    check_law(law, chains(), st.integers(0, 2**16))


@pytest.mark.parametrize("q", [1.0, 2.0])
def test_invariant_to_the_last_bit_under_powers_of_two(check_law: CheckLaw, q: float) -> None:
    def law(graph: Graph, seed: int) -> None:
        rescaled = random_rescale(graph, np.random.default_rng(seed), powers_of_two=True)
        assert norm(graph, q=(q,)) == norm(rescaled, q=(q,)), f"after rescaling to\n{rescaled}"

    check_law(law, chains(), st.integers(0, 2**16))


@pytest.mark.parametrize(("q", "dtype"), [(1.0, "float64"), (2.0, "float64"), (3.3, "float64"), (1.0, "float32")])
def test_invariant_under_rescaling_by_any_magnitude(check_law: CheckLaw, q: float, dtype: str) -> None:
    def law(graph: Graph, seed: int) -> None:
        # Single weights reach 2**±400 here: products of a few are beyond any floating-point format.
        rescaled = random_rescale(in_float64(graph), np.random.default_rng(seed), powers_of_two=True, octaves=200)
        a, b = norm(graph, q=(q,), dtype=dtype), norm(rescaled, q=(q,), dtype=dtype)
        assert a == b or abs(a - b) < (1e-12 if dtype == "float64" else 1e-5), f"{a} and {b}"

    check_law(law, chains(), st.integers(0, 2**16))


def test_rescaling_is_an_equivalence(check_law: CheckLaw) -> None:
    def law(graph: Graph, data: st.DataObject) -> None:
        rescaled = random_rescale(graph, np.random.default_rng(data.draw(st.integers(0, 2**16))), powers_of_two=True)
        fed = data.draw(feeds(graph))
        expected, actual = execute(graph, fed), execute(rescaled, fed)
        assert all(np.array_equal(actual[name], y) for name, y in expected.items())

    check_law(law, chains(), st.data())


def test_chains_are_rescaled() -> None:
    from hypothesis import find

    assert list(rescaling_sites(find(chains(), lambda g: any(rescaling_sites(g)))))


def test_monotone_in_each_weight(check_law: CheckLaw) -> None:
    def law(graph: Graph, seed: int) -> None:
        keys = [key for key in graph.params if all(graph[k].op not in NOT_MONOTONE for k, _, _ in graph.users(key))]
        if keys:
            rng = np.random.default_rng(seed)
            larger = _enlarged(graph, keys[rng.integers(len(keys))], rng)
            assert norm(larger) >= norm(graph) - 1e-12

    check_law(law, networks(tied=False), st.integers(0, 2**16))


def test_pools_as_maxima_are_below_pools_as_sums(check_law: CheckLaw) -> None:
    def law(graph: Graph) -> None:
        assert norm(graph, pooling="max") <= norm(graph) + 1e-12

    check_law(law, networks())


def test_bounds_the_function_per_output(check_law: CheckLaw) -> None:
    def law(graph: Graph, data: st.DataObject) -> None:
        # |R(x)| ≤ ‖Φ‖₁ · max(‖x‖∞, 1), output by output.
        fed = data.draw(feeds(graph, max_extent=1))
        reach = max(1.0, *(float(np.abs(x).max(initial=0)) for x in fed.values()))
        (result,) = PathNorm().run(graph).norms
        for name, y in execute(graph, fed).items():
            assert (np.abs(y) <= 10 ** result.outputs[name].numpy() * reach * (1 + 1e-9)).all()

    check_law(law, networks(), st.data())


def networks(*, tied: bool = True) -> st.SearchStrategy[Graph]:
    """Networks that path-norms cover, of weights whose magnitudes differ."""
    return graphs(homogeneous=True, tied=tied, octaves=6)


def chains() -> st.SearchStrategy[Graph]:
    """Networks in which there mostly is something to rescale."""
    ops = ["Gemm", "Conv", "Relu", "LeakyRelu", "Identity", "MaxPool", "AveragePool", "Flatten", "Add"]
    return graphs(ops=ops, tied=False, max_nodes=10)


def _enlarged(graph: Graph, key: str, rng: np.random.Generator) -> Graph:
    param = graph[key].value
    assert param is not None
    values = param.numpy()
    grown = (np.abs(values) + rng.integers(0, 3, values.shape) / 4) * np.where(values < 0, -1, 1)
    b = graph.edit()
    b.replace_node(Value(key), value=Param.of(grown.astype(values.dtype)))
    return b.finish()
