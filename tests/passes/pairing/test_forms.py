"""Kronecker-sparse layers and chains against the dense layers that they stand for, and how products are rounded."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense, product
from pathlift.passes.kronecker.replace import KsReplace
from pathlift.passes.pairing.forms import LEVELS, Form, Forms, Level
from pathlift.testing import assert_equivalent, op_names
from pathlift.testing.pairs import assert_pairs
from pathlift.testing.rescaling import in_float64
from pathlift.testing.samples import samples

CHAIN = Pattern(1, 4, 2, 2), Pattern(2, 2, 2, 1)
"""8 × 4, then 4 × 4."""
Rng = np.random.Generator


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(0)


def f32(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", samples())
def test_forms_compute_the_same(name: str) -> None:
    graph, forms = samples()[name], Forms(samples()[name])
    for level in LEVELS:
        form = forms.at(level)
        assert isinstance(form, Form)
        assert_equivalent(in_float64(graph), form.graph)
        assert set(form.errors) <= set(form.graph.params)


def sparse(rng: Rng, *, activation: str = "", residual: bool = False, bias: bool = True) -> tuple[Graph, Graph]:
    """A chain of two sparse layers between dense ones, and its product in float32."""
    factors = [f32(rng, *p.shape) for p in CHAIN]
    first, last, shift = f32(rng, 3, 4), f32(rng, 8, 2), f32(rng, 8)
    beside = f32(rng, 4, 8)
    made = []
    for chain in (True, False):
        b = Builder()
        h = b.op("Relu", b.op("Gemm", b.input("x", ("N", 3)), b.param(first, "first")), name="h")
        other = b.op("Gemm", h, b.param(beside, "beside")) if residual else None
        vector = b.param(shift, "shift") if bias else None
        if chain:
            y = b.op("KSLinear", h, b.param(factors[1], "k1"), pattern=tuple(CHAIN[1]), name="inner")
            y = b.op(
                "KSLinear",
                y,
                b.param(factors[0], "k0"),
                vector,
                other,
                pattern=tuple(CHAIN[0]),
                activation=activation,
                name="outer",
            )
        else:
            weight = product([f.astype(np.float64) for f in factors]).astype(np.float32)
            y = b.op("Gemm", h, b.param(weight, "dense"), vector, trans_w=True, name="outer")
            y = y if other is None else b.op("Add", y, other)
            y = b.op(activation, y) if activation else y
        made.append(b.finish(b.op("Gemm", b.op("Relu", y) if not activation else y, b.param(last, "last"), name="y")))
    return made[0], made[1]


@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_chain_and_the_dense_layer_that_it_replaced(rng: Rng, activation: str, residual: bool, bias: bool) -> None:
    a, b = sparse(rng, activation=activation, residual=residual, bias=bias)
    for flip in (False, True):
        found = assert_pairs(*((b, a) if flip else (a, b)))
        sides = [found.second, found.first] if flip else [found.first, found.second]
        key = next(k for k, s in found.sources.items() if s[1 - flip] == "dense")
        p, q = (side[key].value.numpy() for side in sides)  # type: ignore[union-attr]  # a parameter has a value
        np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-6)
        sparse_error, dense_error = found.errors[key][flip], found.errors[key][1 - flip]
        assert dense_error is None
        assert sparse_error is not None
        exact = exactly(dense(a["k0"].value.numpy()).astype(float), dense(a["k1"].value.numpy()).astype(float))  # type: ignore[union-attr]  # a parameter has a value
        check_bound(p.T, sparse_error.T, exact)
        assert found.sources[key][flip] == "k0 + k1"
        assert "outer + inner" in {names[flip] for names in found.nodes.values()}


def exactly(*factors: np.ndarray) -> np.ndarray:
    """The product of matrices of floats, in fractions."""
    result: np.ndarray = np.vectorize(Fraction, otypes=[object])(factors[0])
    for factor in factors[1:]:
        result = result @ np.vectorize(Fraction, otypes=[object])(factor)
    return result


def check_bound(values: np.ndarray, bound: np.ndarray, exact: np.ndarray) -> None:
    assert values.shape == bound.shape == exact.shape
    for value, error, true in zip(values.flat, bound.flat, exact.flat, strict=True):
        assert abs(Fraction(float(value)) - true) <= Fraction(float(error))
        assert error <= 1e-12 * max(1.0, abs(float(true))) or abs(float(true)) < 1


def test_features_on_the_first_axis(rng: Rng) -> None:
    p, factor = CHAIN[1], f32(rng, *CHAIN[1].shape)
    b = Builder()
    h = b.op("Relu", b.op("Transpose", b.input("x", ("N", 4)), perm=(1, 0)))
    h = b.op("KSLinear", h, b.param(factor, "k"), pattern=tuple(p), feature_major=True)
    a = b.finish(b.op("Transpose", h, perm=(1, 0), name="y"))
    b = Builder()
    h = b.op("Transpose", b.input("x", ("N", 4)), perm=(1, 0))
    h = b.op("Transpose", b.op("Relu", h), perm=(1, 0))
    other = b.finish(b.op("Gemm", h, b.param(dense(factor).T.copy(), "d"), name="y"))
    found = assert_pairs(a, other)
    assert all(errors == (None, None) for errors in found.errors.values()), "nothing is computed"


@pytest.mark.parametrize("norm", [False, True])
def test_a_convolution_that_was_made_sparse(rng: Rng, norm: bool) -> None:
    """Replaced between transpositions, with and without a batch norm that only the dense file folds."""
    weight = dense(f32(rng, 2, 1, 2, 2))
    geometry: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    b = Builder()
    h = b.op(
        "Conv", b.input("x", ("N", 4, 3, 3)), b.param(weight[:, :, None, None].copy(), "w"), name="conv", **geometry
    )
    if norm:
        params = [b.param(rng.random(4).astype(np.float32) + 0.5, n) for n in ("gamma", "beta", "mean", "var")]
        h = b.op("BatchNormalization", h, *params)
    graph = b.finish(b.op("Relu", h, name="y"))
    other = KsReplace(always=True).run(graph).graph
    assert "KSLinear" in op_names(other)
    found = assert_pairs(graph, other)
    assert all(errors == (None, None) for errors in found.errors.values())
    assert ("BatchNormalization" in op_names(found.first)) == norm


def folded(graph: Graph) -> dict[str, tuple[np.ndarray, Any]]:
    """Parameters with everything folded, and their errors, by their consumer's slot."""
    form = Forms(graph).at(Level(True, folded=True))
    assert isinstance(form, Form), form
    (key,) = [k for k in form.graph.order if form.graph[k].op == "Gemm"]
    names = zip("wb", form.graph.inputs_of(key)[1:], strict=True)
    return {n: (form.graph[v.node].value.numpy(), form.errors.get(v.node)) for n, v in names}  # type: ignore[union-attr]  # a parameter has a value


def normed(w: Any, bias: Any, gamma: Any, beta: Any, mean: Any, var: Any, epsilon: float) -> Graph:
    b = Builder()
    arrays = [np.asarray(v, np.float64) for v in (w, bias, gamma, beta, mean, var)]
    h = b.op("Gemm", b.input("x", ("N", arrays[0].shape[0]), "f64"), *(b.param(a) for a in arrays[:2]))
    h = b.op("BatchNormalization", h, *(b.param(a) for a in arrays[2:]), epsilon=epsilon)
    return b.finish(b.op("Relu", h))


def root(x: Fraction) -> Fraction:
    """√x to 60 digits and more."""
    shift = 10**140
    return Fraction(isqrt(x.numerator * shift * shift // x.denominator), shift)


@pytest.mark.parametrize("big", [1.0, 2.0**40])
def test_a_folded_batch_norm_is_within_its_bounds(rng: Rng, big: float) -> None:
    """Also where a shift cancels: the mean is the bias, or β is s·mean, to within roundings."""
    for trial in range(20):
        w, bias, gamma, mean = (rng.standard_normal(shape) for shape in ((3, 2), 2, 2, 2))
        var, epsilon = rng.random(2) + 1e-3, 1e-5
        mean *= big
        beta = gamma / np.sqrt(var + epsilon) * (mean if trial % 2 else 0)
        bias = mean + bias if not trial % 2 else bias
        found = folded(normed(w, bias, gamma, beta, mean, var, epsilon))
        f = np.vectorize(Fraction, otypes=[object])
        s = f(gamma) / np.array([root(Fraction(v) + Fraction(epsilon)) for v in var], object)
        exact = {"w": f(w) * s, "b": f(bias) * s + f(beta) - s * f(mean)}
        for name, (values, error) in found.items():
            assert (error > 0).all()
            for value, bound, true in zip(values.flat, error.flat, exact[name].flat, strict=True):
                assert abs(Fraction(float(value)) - true) <= Fraction(float(bound)) + Fraction(1, 10**60)
        assert (found["w"][1] <= 1e-12 * abs(found["w"][0])).all()


def test_a_scale_that_is_rounded_to_1_is_no_exact_one() -> None:
    """var + ε is 1 in float64, and not in real numbers."""
    found = folded(normed([[3.0]], [0.0], [1.0], [0.0], [0.0], [1.0], 1e-17))
    assert found["w"][0] == 3.0
    assert found["w"][1] > 3e-17 / 2


def test_sums_that_cancel() -> None:
    """2⁵³ + 1 − 2⁵³, in one order or another: 0, 1 or 2 in float64."""
    big = 2.0**53
    for order in ([0, 1, 2], [1, 0, 2], [0, 2, 1]):
        factor = np.array([[big, 1.0, -big]])[:, order]
        b = Builder()
        h = b.op("Gemm", b.input("x", ("N", 1), "f64"), b.param(factor, "u"))
        a = b.finish(b.op("Relu", b.op("Gemm", h, b.param(np.ones((3, 1)), "v"), name="y")))
        form = Forms(a).at(Level(True, dense=True))
        assert isinstance(form, Form)
        (key,) = [k for k in form.graph.order if form.graph[k].op == "Gemm"]
        weight = form.graph.inputs_of(key)[1]
        assert weight is not None
        value = float(form.graph[weight.node].value.numpy()[0, 0])  # type: ignore[union-attr]  # a parameter has a value
        assert abs(value - 1.0) <= form.errors[weight.node][0, 0]
        assert form.errors[weight.node][0, 0] >= 1


@pytest.mark.parametrize(
    "change,told",
    [
        ({"gamma": [2.0**61]}, "too large"),
        ({"gamma": [np.inf]}, "too large"),
        ({"var": [2.0**-70], "epsilon": 0.0}, "variance"),
        ({"var": [2.0**70]}, "variance"),
    ],
)
def test_numbers_that_may_overflow_have_no_bounds(change: dict[str, Any], told: str) -> None:
    args: dict[str, Any] = {"w": [[3.0]], "bias": [0.0], "gamma": [1.0], "beta": [0.0], "mean": [0.0], "var": [1.0]}
    reason = Forms(normed(**{**args, "epsilon": 1e-5, **change})).at(Level(True, folded=True))
    assert isinstance(reason, str)
    assert told in reason


def test_products_of_too_many_factors_have_no_bounds() -> None:
    def deep(count: int) -> Graph:
        b = Builder()
        h = b.input("x", ("N", 1), "f64")
        for _ in range(count):
            h = b.op("Gemm", h, b.param(np.array([[0.5]])))
        return b.finish(h)

    assert isinstance(Forms(deep(16)).at(Level(True, dense=True)), Form)
    reason = Forms(deep(17)).at(Level(True, dense=True))
    assert isinstance(reason, str)
    assert "16 factors" in reason


def test_constants_computed_by_activations_have_no_bounds() -> None:
    b = Builder()
    w = b.op("Tanh", b.param(np.array([[0.5]])), name="w")
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 1), "f64"), w))
    reason = Forms(graph).at(Level(True, folded=True))
    assert isinstance(reason, str)
    assert "node 'w' (Tanh) computes a constant" in reason
    assert isinstance(Forms(graph).at(Level(True)), Form)
