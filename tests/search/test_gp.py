"""Gaussian processes against closed forms and scikit-learn, and the two variances of kernels that are projected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.ir.errors import UsageError
from pathlift.search import Choice, Exchangeable, GaussianProcess, Group, MaxKernel, Real, Space, base_kernel

SQUARE = Space((Real(-1, 1), Real(-1, 1)))
MIXED = Space((Real(0, 2), *(Choice("abc"),) * 3), (Exchangeable((1, 2, 3)),))
TURNED = Space((Real(-1, 1),) * 3, (Group(((1, 2, 0),)),))
RNG = np.random.default_rng(0)
X = SQUARE.sample(20, RNG)
Y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
NEW = SQUARE.sample(50, RNG)


def test_against_scikit_learn() -> None:
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = gaussian_process.kernels
    other = gaussian_process.GaussianProcessRegressor(
        kernels.ConstantKernel(2.5) * kernels.RBF(0.4), alpha=2.5 * 1e-3, optimizer=None
    ).fit(X, Y - 0.3)
    process = GaussianProcess(base_kernel(SQUARE).at(numbers=0.4), X, Y, scale=2.5, noise=1e-3, constant=0.3)
    mean, deviation = other.predict(NEW, return_std=True)
    ours = process.predict(NEW)
    np.testing.assert_allclose(ours[0], mean + 0.3, atol=1e-8)
    np.testing.assert_allclose(ours[1], deviation, atol=1e-8)
    assert process.log_likelihood == pytest.approx(other.log_marginal_likelihood_value_, abs=1e-8)


@given(st.integers(0, 10**6), st.floats(0.3, 2), st.floats(1e-3, 1), st.floats(0.1, 10), st.floats(-3, 3))
def test_against_the_closed_form(seed: int, length: float, noise: float, scale: float, slope: float) -> None:
    """On numbers and exchangeable choices, with a model that is known."""
    rng = np.random.default_rng(seed)
    x, new, y = MIXED.sample(12, rng), MIXED.sample(5, rng), rng.normal(size=12)

    def known(points: Any) -> Any:
        return slope * points[:, 0]

    kernel = MaxKernel(MIXED, numbers=length, choices=2 * length)
    process = GaussianProcess(kernel, x, y, scale=scale, noise=noise, constant=0.5, mean=known)
    inverse = np.linalg.inv(scale * (kernel(x, x) + noise * np.eye(12)))
    cross = scale * kernel(new, x)
    mean, deviation = process.predict(new)
    np.testing.assert_allclose(mean, known(new) + 0.5 + cross @ inverse @ (y - 0.5 - known(x)), atol=1e-8)
    variance = scale - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    np.testing.assert_allclose(deviation**2, variance, atol=1e-8 * scale)


def test_lengths_are_found() -> None:
    """At least the likelihood of any length and noise on a fine grid, but for what a step of the search is worth."""
    process = GaussianProcess.fit(base_kernel(SQUARE), X, Y)
    grid = [
        GaussianProcess(
            base_kernel(SQUARE).at(numbers=length), X, Y, scale=scale, noise=noise, constant=float(Y.mean())
        ).log_likelihood
        for length in np.geomspace(0.1, 5, 25)
        for scale in np.geomspace(0.01, 100, 15)
        for noise in np.geomspace(1e-8, 1, 17)
    ]
    assert process.log_likelihood > max(grid) - 0.3
    assert process.kernel.numbers == GaussianProcess.fit(base_kernel(SQUARE).at(numbers=9), X, Y).kernel.numbers


def test_predictions_are_in_the_unit_of_the_values() -> None:
    first = GaussianProcess.fit(base_kernel(SQUARE), X, Y).predict(NEW)
    second = GaussianProcess.fit(base_kernel(SQUARE), X, 1e6 * Y + 3e6).predict(NEW)
    np.testing.assert_allclose(1e6 * first[0] + 3e6, second[0], rtol=1e-6)
    np.testing.assert_allclose(1e6 * first[1], second[1], rtol=1e-4, atol=1)


def test_noise_is_found() -> None:
    rng = np.random.default_rng(1)
    x = SQUARE.sample(150, rng)
    process = GaussianProcess.fit(base_kernel(SQUARE), x, x[:, 0] + 0.1 * rng.normal(size=150))
    assert (process.noise * process.scale) ** 0.5 == pytest.approx(0.1, rel=0.4)


def test_a_residual_has_a_constant() -> None:
    process = GaussianProcess.fit(base_kernel(SQUARE), X, X[:, 0] + 7, mean=lambda x: x[:, 0] + 3)
    assert process.constant == pytest.approx(4)
    np.testing.assert_allclose(process.predict(NEW)[0], NEW[:, 0] + 7, atol=1e-9)


def test_equal_values() -> None:
    mean, deviation = GaussianProcess.fit(base_kernel(SQUARE), X, np.full(20, 3.0)).predict(NEW)
    assert mean == pytest.approx(3)
    assert deviation == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("space", [SQUARE, TURNED])
def test_the_extension_knows_everything_where_nothing_is_known(space: Space) -> None:
    """The variance of the Nyström extension falls to 0 away from the data, the full one to that of the kernel."""
    near = np.full((3, space.dimension), 0.9) - 0.05 * np.arange(3)[:, None]
    away = np.full((1, space.dimension), -1.0)
    kernel = MaxKernel(space, numbers=0.2)
    given_ = {"kernel": kernel, "points": near, "values": [1.0, 2.0, 3.0], "scale": 4.0, "noise": 1e-2}
    full, extension = (GaussianProcess(**given_, variance=v) for v in ("full", "nystrom"))  # type: ignore[arg-type]
    assert full.predict(away)[1] == pytest.approx(2.0, rel=1e-6)
    assert extension.predict(away)[1] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(full.predict(near)[0], extension.predict(near)[0], atol=1e-9)
    np.testing.assert_allclose(full.predict(near)[1], extension.predict(near)[1], atol=1e-9)


def test_projection_against_its_definition() -> None:
    """Clip the matrix, extend it with a pseudoinverse, and condition on values as for any other kernel."""
    space = Space((Real(-1, 1),) * 6, (Group(((2, 3, 0, 1, 4, 5), (2, 3, 4, 5, 0, 1))),))
    rng = np.random.default_rng(0)
    x, new, y = space.sample(40, rng), space.sample(9, rng), rng.normal(size=40)
    kernel = MaxKernel(space, numbers=1.5)
    values, vectors = np.linalg.eigh(kernel(x, x))
    assert values[0] < 0
    kept = values > 1e-6 * values[-1]
    clipped = vectors[:, kept] * values[kept] @ vectors[:, kept].T
    inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
    cross = kernel(new, x) @ inverse @ clipped
    solved = np.linalg.inv(clipped + 0.1 * np.eye(40))
    extension = np.einsum("ij,jk,ik->i", kernel(new, x), inverse, kernel(new, x))
    for variance, prior in (("nystrom", extension), ("full", np.maximum(1, extension))):
        process = GaussianProcess(kernel, x, y, noise=0.1, variance=variance)  # type: ignore[arg-type]
        mean, deviation = process.predict(new)
        np.testing.assert_allclose(mean, cross @ solved @ y, atol=1e-8)
        np.testing.assert_allclose(deviation**2, prior - np.einsum("ij,jk,ik->i", cross, solved, cross), atol=1e-8)
    density = np.linalg.slogdet(2 * np.pi * (clipped + 0.1 * np.eye(40)))[1] + y @ solved @ y
    assert process.log_likelihood == pytest.approx(-density / 2, abs=1e-8)


@pytest.mark.parametrize(
    ("points", "values"),
    [
        (X[:, :1], Y),
        (X, Y[:-1]),
        (X[:0], Y[:0]),
        (X, np.where(Y > 0, np.nan, Y)),
        (np.where(X > 0, np.inf, X), Y),
        (X, 1e101 * Y),
        (X, "abc"),
        (X, [[1], [2, 3]]),
    ],
)
def test_what_is_no_data(points: Any, values: Any) -> None:
    with pytest.raises(UsageError, match="PL1536"):
        GaussianProcess(base_kernel(SQUARE), points, values)


def test_models_that_return_something_else() -> None:
    with pytest.raises(UsageError, match=r"PL1536 values of `mean`"):
        GaussianProcess.fit(base_kernel(SQUARE), X, Y, mean=lambda x: x)
