"""The interface of the solvers: errors that are what they say, weighted fits, every kind of input, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import InvalidModelError, PathliftError, UsageError
from pathlift.ir.kronecker import Pattern, is_chainable, pattern_of, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.fit import Fit, Solver, fit
from pathlift.passes.kronecker.fitting.patterns import candidates

MONARCH = [Pattern(1, 6, 4, 2), Pattern(2, 4, 5, 1)]
UNCHAINABLE = [Pattern(1, 3, 2, 4), Pattern(4, 2, 2, 1), Pattern(1, 2, 3, 4)]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
ITERATIVE: tuple[Solver, ...] = ("als", "adam", "muon")


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def second_moment(n: int, seed: int = 0, condition: float = 1e4) -> Array:
    root = np.linalg.qr(normal(n, n, seed=seed))[0] * np.geomspace(1, condition**-0.5, n)
    moment: Array = root @ root.T
    return moment


def weighted(weight: Array, found: Fit, covariance: Array) -> float:
    rest = weight - product(found.factors)
    return float(np.sqrt(np.trace(rest @ covariance @ rest.T) / np.trace(weight @ covariance @ weight.T)))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("patterns", [MONARCH, UNCHAINABLE, [Pattern(2, 3, 4, 2)]])
@pytest.mark.parametrize("with_covariance", [False, True])
def test_errors_are_what_they_say(patterns: list[Pattern], solver: Solver, with_covariance: bool) -> None:
    if solver == "hsvd" and not is_chainable(patterns):
        with pytest.raises(UsageError, match="not chainable"):
            fit(normal(patterns[0].rows, patterns[-1].cols), patterns, solver=solver)
        return
    weight = normal(patterns[0].rows, patterns[-1].cols)
    covariance = second_moment(weight.shape[1]) if with_covariance else None
    found = fit(weight, patterns, solver=solver, covariance=covariance)
    assert [pattern_of(k) for k in found.factors] == patterns
    assert all(k.dtype == np.float64 for k in found.factors)
    rest = weight - product(found.factors)
    assert found.error == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(weight), rel=1e-12)
    spectral = np.linalg.svd(rest, compute_uv=False)[0] / np.linalg.svd(weight, compute_uv=False)[0]
    assert found.operator_error == pytest.approx(spectral, rel=1e-12)
    if covariance is None:
        assert found.weighted_error is None
    else:
        assert found.weighted_error == pytest.approx(weighted(weight, found, covariance), rel=1e-9)
    if solver == "auto":
        assert found.solver == ("hsvd" if is_chainable(patterns) and covariance is None else "als")
    else:
        assert found.solver == solver
    assert (found.bound is None) == (found.solver != "hsvd")
    if found.bound is not None:
        assert found.error <= found.bound


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SOLVERS), st.data())
def test_weighting_is_never_worse(seed: int, solver: Solver, data: st.DataObject) -> None:
    patterns = data.draw(st.sampled_from([c.patterns for c in candidates(12, 16, 0.8)] + [tuple(UNCHAINABLE)]))
    if solver == "hsvd" and not is_chainable(patterns):
        solver = "auto"
    rng = np.random.default_rng(seed)
    n = patterns[-1].cols
    x = rng.standard_normal((n, data.draw(st.integers(1, 2 * n)))) * 10.0 ** rng.uniform(-3, 1, (n, 1))
    weight = rng.standard_normal((patterns[0].rows, n))
    covariance = x @ x.T / x.shape[1]
    options: dict[str, Any] = {"solver": solver, "steps": 8}
    plain, found = fit(weight, patterns, **options), fit(weight, patterns, covariance=covariance, **options)
    assert found.weighted_error is not None

    def on_samples(found: Fit) -> float:
        return float(np.linalg.norm((weight - product(found.factors)) @ x) / np.linalg.norm(weight @ x))

    # Of C, float64 tells directions only down to √eps of its largest.
    assert found.weighted_error <= on_samples(plain) + 1e-6
    assert found.weighted_error == pytest.approx(on_samples(found), abs=1e-6)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_correlated_inputs_are_worth_a_factor(solver: Solver) -> None:
    patterns = [Pattern(1, 8, 8, 8), Pattern(8, 8, 8, 1)]
    weight, covariance = normal(64, 64), second_moment(64, 1)
    plain = fit(weight, patterns, covariance=covariance, solver="hsvd")
    found = fit(weight, patterns, covariance=covariance, solver=solver)
    assert plain.weighted_error is not None
    assert found.weighted_error is not None
    assert found.weighted_error < plain.weighted_error / 2
    assert found.error >= plain.error  # which is the least there is


def test_a_single_block_is_fitted_exactly_as_theory_says() -> None:
    # Rank r, inputs of any second moment: the best is the truncated SVD of W·C^½ (Eckart, Young).
    weight, covariance = normal(20, 30), second_moment(30, 2)
    values, vectors = np.linalg.eigh(covariance)
    spectrum = np.linalg.svd((weight @ vectors) * np.sqrt(values), compute_uv=False)
    best = np.sqrt(np.sum(spectrum[5:] ** 2) / np.sum(spectrum**2))
    found = fit(weight, [Pattern(1, 20, 5, 1), Pattern(1, 5, 30, 1)], covariance=covariance)
    assert found.weighted_error == pytest.approx(best, rel=1e-9)


def test_trained_network_on_images_it_has_not_seen(digits: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    datasets = pytest.importorskip("sklearn.datasets")
    import onnx

    model = onnx.load(digits)
    (node,) = [n for n in model.graph.node if n.op_type == "Gemm" and n.input[1] == "hidden.weight"]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.input[0]))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = datasets.load_digits().data.reshape(-1, 1, 8, 8).astype(np.float32) / 16
    (x,) = session.run([node.input[0]], {session.get_inputs()[0].name: images})
    seen, unseen = x[::2].astype(np.float64), x[1::2].astype(np.float64)
    weight = onnx.numpy_helper.to_array(next(i for i in model.graph.initializer if i.name == "hidden.weight"))

    def error(found: Fit) -> float:
        lost = unseen @ (weight - product(found.factors)).T
        return float(np.linalg.norm(lost) / np.linalg.norm(unseen @ weight.T))

    patterns = [Pattern(1, 12, 16, 4), Pattern(4, 16, 64, 1)]
    moment = seen.T @ seen / len(seen)
    plain, found = fit(weight, patterns), fit(weight, patterns, covariance=moment)
    assert found.weighted_error is not None
    assert error(found) < 0.6 * error(plain)
    assert error(found) < 1.2 * found.weighted_error


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("with_covariance", [False, True])
def test_a_zero_matrix_has_zero_factors(solver: Solver, with_covariance: bool) -> None:
    covariance = second_moment(10) if with_covariance else None
    found = fit(np.zeros((12, 10)), MONARCH, solver=solver, covariance=covariance)
    assert not any(k.any() for k in found.factors)
    assert (found.error, found.operator_error) == (0.0, 0.0)
    assert found.weighted_error == (0.0 if with_covariance else None)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_inputs_that_are_never_on(solver: Solver) -> None:
    weight = normal(12, 10)
    nothing = fit(weight, MONARCH, solver=solver, covariance=np.zeros((10, 10)))
    assert nothing.weighted_error == 0.0
    assert np.isfinite(nothing.error)
    weight[:, 5:] = 0
    off = np.diag([0.0] * 5 + [1.0] * 5)  # the layer is zero on all inputs it ever has
    found = fit(weight, MONARCH, solver=solver, covariance=off)
    assert found.weighted_error in (0.0, np.inf)
    assert np.isfinite(found.error)


@pytest.mark.parametrize("solver", SOLVERS)
def test_low_rank_and_rows_of_zeros(solver: Solver) -> None:
    weight = np.outer(normal(12), normal(10, seed=1))
    weight[3:5] = 0
    found = fit(weight, MONARCH, solver=solver, covariance=np.eye(10))
    assert found.error < 1e-12
    assert found.weighted_error is not None
    assert found.weighted_error < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_all_floating_types(dtype: Any) -> None:
    weight = normal(12, 10).astype(dtype)
    found, same = fit(weight, MONARCH), fit(weight.astype(np.float64), MONARCH)
    assert found.error == same.error
    assert all(np.array_equal(a, b) and a.dtype == np.float64 for a, b in zip(found.factors, same.factors, strict=True))


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-400, 2.0**400, 2.0**1000])
@pytest.mark.parametrize("solver", SOLVERS)
def test_scales_do_not_matter(scale: float, solver: Solver) -> None:
    weight, covariance = normal(12, 10), second_moment(10)
    one = fit(weight, MONARCH, solver=solver, covariance=covariance)
    other = fit(weight * scale, MONARCH, solver=solver, covariance=covariance * scale)
    assert (other.error, other.operator_error) == (one.error, one.operator_error)
    assert other.weighted_error == pytest.approx(one.weighted_error, rel=1e-12)
    assert np.allclose(product(other.factors) / scale, product(one.factors), rtol=1e-12)


@pytest.mark.parametrize("solver", ITERATIVE)
def test_seeds_decide_random_starts_alone(solver: Solver) -> None:
    weight = normal(UNCHAINABLE[0].rows, UNCHAINABLE[-1].cols)
    first, again, other = (fit(weight, UNCHAINABLE, solver=solver, seed=s) for s in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first.factors, again.factors, strict=True))
    assert not np.array_equal(first.factors[0], other.factors[0])
    chainable = [fit(normal(12, 10), MONARCH, solver=solver, seed=s) for s in (3, 4)]
    assert all(np.array_equal(a, b) for a, b in zip(*(f.factors for f in chainable), strict=True))


@pytest.mark.parametrize("solver", ITERATIVE)
def test_steps_are_reported(solver: Solver) -> None:
    seen: list[tuple[int, float]] = []
    weight, covariance = normal(12, 10), second_moment(10)
    found = fit(
        weight,
        MONARCH,
        solver=solver,
        covariance=covariance,
        steps=7,
        on_step=lambda step, error: seen.append((step, error)),
    )
    assert [step for step, _ in seen] == list(range(1, found.steps + 1))
    assert found.steps <= 7
    assert found.weighted_error == pytest.approx(seen[-1][1], rel=1e-9)


def test_a_product_with_itself_keeps_its_order() -> None:
    factors = [normal(*p.shape, seed=i) for i, p in enumerate(UNCHAINABLE)]
    weight = product(factors)
    assert fit(weight, UNCHAINABLE, steps=300).error < 0.2


@pytest.mark.parametrize(
    ("change", "error", "code", "words"),
    [
        ({"patterns": []}, UsageError, "PL0460", "no pattern"),
        ({"patterns": [Pattern(1, 6, 4, 2), Pattern(2, 3, 5, 1)]}, UsageError, "PL0462", "8 columns meet 6 rows"),
        ({"patterns": [Pattern(1, 6, 6, 2)]}, UsageError, "PL0463", "is 12×12, and does not fit 'fc' of 12×10"),
        ({"weight": np.ones((12, 11))}, UsageError, "PL0463", "does not fit 'fc' of 12×11"),
        ({"weight": np.ones(12)}, UsageError, "PL0463", "does not fit 'fc' of 12"),
        ({"solver": "sgd"}, UsageError, "PL0465", "'sgd'"),
        ({"steps": -1}, UsageError, "PL0466", "-1"),
        ({"covariance": np.eye(9)}, UsageError, "PL0458", "'fc' is 9×9, and must be 10×10"),
        ({"covariance": np.triu(np.ones((10, 10)))}, UsageError, "PL0459", "not symmetric"),
        ({"covariance": np.diag([1.0] * 9 + [-0.1])}, UsageError, "PL0469", "-1.0e-01"),
        ({"covariance": -np.eye(10)}, UsageError, "PL0469", "semidefinite"),
        ({"covariance": np.full((10, 10), np.nan)}, InvalidModelError, "PL0182", "100 of 100"),
        ({"weight": np.full((12, 10), np.inf)}, InvalidModelError, "PL0180", "'fc': 120 of 120"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[PathliftError], code: str, words: str) -> None:
    arguments: dict[str, Any] = {"weight": normal(12, 10), "patterns": MONARCH, "name": "fc", **change}
    with pytest.raises(error, match=words) as caught:
        fit(**arguments)
    assert caught.value.code == code


def test_rounding_errors_of_float32_are_no_reason_to_refuse() -> None:
    x = normal(40, 10).astype(np.float32)
    x[:, 5:] = x[:, :5]
    moment = (x.T @ x).astype(np.float32)
    moment[0, 1] *= 1 + 1e-6
    found = fit(normal(12, 10), MONARCH, covariance=moment)
    assert found.weighted_error is not None
    assert found.weighted_error < 0.7


@pytest.mark.slow
def test_sizes_of_language_models_take_seconds() -> None:
    import time

    weight = normal(1024, 4096)
    patterns = [Pattern(1, 128, 128, 8), Pattern(8, 128, 512, 1)]
    began = time.process_time()
    assert fit(weight, patterns).bound is not None
    assert time.process_time() - began < 60
