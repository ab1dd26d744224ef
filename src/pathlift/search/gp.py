"""Gaussian processes: their marginal likelihood, their mean and deviation, and lengths fitted by a coordinate search.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), chapters 2 and 5; projection and
Nyström extension: arXiv 2509.25051, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import log, pi
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pathlift.ir.errors import UsageError
from pathlift.search.kernels import Kernel
from pathlift.search.space import LARGEST, Array

Mean = Callable[[Array], Array]
"""A function of points, shape ``(n, variables)``, that returns one number each."""
Variance = Literal["full", "nystrom"]

_NOISES = np.geomspace(1e-8, 10.0, 28)
"""Variances of the noise that are tried, in units of the function's."""
_POINTS = 9
"""Values of a length on the first grid."""
_ROUNDS = 5
"""Rounds of the coordinate search after it, each with half the step of the one before."""
_SMALLEST = 1e-6
"""The least eigenvalue, over the largest, that is kept where a matrix is projected: the extension divides by it."""


class GaussianProcess:
    """A Gaussian process, given noisy values of a function at some points.

    The function is ``mean(x) + constant + scale^½ g(x)``, g of covariance `kernel`; values have noise of variance
    ``scale * noise``. Predictions are of the function, without noise.

    A kernel that is not positive semidefinite is projected: negative eigenvalues of its matrix K at the points are set
    to 0, and covariances between the points and anything else are projected onto what is left (the Nyström extension
    k(x, X) K⁺ k(X, x')). What that extension says of the variance at x itself is less than k(x, x), and near 0 away
    from the data, where nothing is known. `variance` says which is taken:

    - ``"full"``: k(x, x), so that the process is the extension and an independent term of variance
      max(0, k(x, x) - k(x, X) K⁺ k(X, x)) at each x (as in FITC; Snelson and Ghahramani, 2006). It is as unsure away
      from the data as with a positive semidefinite kernel.
    - ``"nystrom"``: the extension's own, as in arXiv 2509.25051. A search by upper confidence bounds then hardly
      explores. Kernels that are positive semidefinite may be treated so, too, for comparison.

    Parameters
    ----------
    kernel
        The covariance.
    points
        Shape ``(n, variables)``, encoded as in `Space`, n ≥ 1.
    values
        Shape ``(n,)``, up to 1e100, in any unit; `constant`, `mean` and predictions are in the same.
    scale
        Variance of the function, over that of the kernel.
    noise
        Variance of the noise over `scale`; positive.
    constant
        What is added to `mean`.
    mean
        A model that is known beforehand, so that the process is one of its residual; 0 by default.
    variance
        As above.

    Attributes
    ----------
    log_likelihood : float
        Logarithm of the density of the values.

    Raises
    ------
    UsageError
        PL1536 if points and values are not arrays of these shapes, finite and at most 1e100, or `mean` returns others.
    """

    def __init__(
        self,
        kernel: Kernel,
        points: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        scale: float = 1.0,
        noise: float = 1e-6,
        constant: float = 0.0,
        mean: Mean | None = None,
        variance: Variance = "full",
    ) -> None:
        self.kernel, self.mean, self.variance = kernel, mean, variance
        self.points = _checked(points, (-1, kernel.space.dimension), "points")
        self.values = _checked(values, (len(self.points),), "values")
        self.scale, self.noise, self.constant = scale, noise, constant
        self._spectrum = _Spectrum(kernel, self.points, variance)
        residual = self.values - constant - self._known(self.points)
        self._coefficients = self._spectrum.vectors.T @ residual
        self.log_likelihood = float(self._spectrum.log_likelihood(self._coefficients, np.array([noise]), scale)[0])

    def _known(self, points: Array) -> Array:
        return known(self.mean, points)

    def predict(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """Return mean and standard deviation of the function at points.

        Parameters
        ----------
        points
            Shape ``(m, variables)``.

        Returns
        -------
        tuple
            Two arrays of shape ``(m,)``.
        """
        x = _checked(points, (-1, self.kernel.space.dimension), "points")
        spectrum, noise = self._spectrum, self.noise
        u = self.kernel(x, self.points) @ spectrum.kept
        mean = u @ (self._coefficients[spectrum.keeps] / (spectrum.values[spectrum.keeps] + noise))
        positive = spectrum.values[spectrum.keeps]
        reduced = np.sum(u**2 / (positive + noise), axis=1)
        if spectrum.projects:
            extension = np.sum(u**2 / positive, axis=1)
            prior = extension if self.variance == "nystrom" else np.maximum(self.kernel.diagonal(x), extension)
        else:
            prior = self.kernel.diagonal(x)
        deviation = np.sqrt(self.scale * np.maximum(prior - reduced, 0.0))
        return self._known(x) + self.constant + mean, deviation

    @classmethod
    def fit(
        cls,
        kernel: Kernel,
        points: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        mean: Mean | None = None,
        variance: Variance = "full",
    ) -> GaussianProcess:
        """Return the process of the largest likelihood that a small search finds.

        The constant is the average of the residuals, the scale has a closed form, noise and the kernel's lengths are
        searched: on a grid, then one length at a time with steps that are halved. Nothing is random. Lengths of the
        `kernel` that is given do not matter.

        Parameters
        ----------
        kernel, points, values, mean, variance
            As in `GaussianProcess`.
        """
        x = _checked(points, (-1, kernel.space.dimension), "points")
        y = _checked(values, (len(x),), "values")
        residual = y - known(mean, x)
        constant = float(residual.mean())
        best = _search(kernel, x, residual - constant, variance)
        chosen = kernel.at(**best.lengths)
        fitted = {"scale": best.scale, "noise": best.noise, "constant": constant}
        return cls(chosen, x, y, **fitted, mean=mean, variance=variance)


class _Spectrum:
    """Eigenvalues and eigenvectors of a kernel's matrix, those that are not positive set to 0 where that is allowed."""

    def __init__(self, kernel: Kernel, points: Array, variance: Variance) -> None:
        values, self.vectors = np.linalg.eigh(kernel(points, points))
        self.projects = variance == "nystrom" or not kernel.positive
        kept = values > (_SMALLEST * values[-1] if self.projects else -np.inf)
        self.values: Array = np.where(kept, np.maximum(values, 0.0), 0.0)
        self.keeps = kept
        self.kept: Array = self.vectors[:, kept]

    def scales(self, coefficients: Array, noises: Array) -> Array:
        """Return for each noise the scale of the largest likelihood."""
        squares: Array = np.mean(coefficients**2 / (self.values + noises[:, None]), axis=1)
        result: Array = np.maximum(squares, np.finfo(float).tiny)
        return result

    def log_likelihood(self, coefficients: Array, noises: Array, scale: float | Array) -> Array:
        """Return the logarithm of the density of residuals, which are given in the basis of eigenvectors."""
        variances = np.asarray(scale)[..., None] * (self.values + noises[:, None])
        result: Array = -0.5 * np.sum(coefficients**2 / variances + np.log(variances) + log(2 * pi), axis=1)
        return result


class _Fitted:
    """The best noise and scale for some lengths."""

    def __init__(self, kernel: Kernel, points: Array, residual: Array, variance: Variance, lengths: dict[str, float]):
        spectrum = _Spectrum(kernel.at(**lengths), points, variance)
        coefficients = spectrum.vectors.T @ residual
        scales = spectrum.scales(coefficients, _NOISES)
        likelihoods = spectrum.log_likelihood(coefficients, _NOISES, scales)
        at = int(np.argmax(likelihoods))
        self.lengths, self.noise, self.scale = lengths, float(_NOISES[at]), float(scales[at])
        self.log_likelihood = float(likelihoods[at])


def _search(kernel: Kernel, points: Array, residual: Array, variance: Variance) -> _Fitted:
    """Return the lengths, noise and scale that the search ends with."""
    names = kernel.lengths
    grids = [np.geomspace(*kernel.LENGTHS[name], _POINTS) for name in names]

    def fitted(lengths: dict[str, float]) -> _Fitted:
        return _Fitted(kernel, points, residual, variance, lengths)

    def better(candidates: list[_Fitted]) -> _Fitted:
        return max(candidates, key=lambda candidate: candidate.log_likelihood)

    best = better([fitted(dict(zip(names, map(float, values), strict=True))) for values in product(*grids)])
    steps = {name: float(grid[1] / grid[0]) for name, grid in zip(names, grids, strict=True)}
    for _ in range(_ROUNDS):
        for name in names:
            steps[name] **= 0.5
            low, high = kernel.LENGTHS[name]
            tried = [min(max(best.lengths[name] * factor, low), high) for factor in (1 / steps[name], steps[name])]
            best = better([best, *(fitted(best.lengths | {name: value}) for value in tried)])
    return best


def known(mean: Mean | None, points: Array) -> Array:
    """Return a model's values at points, 0 where there is no model."""
    return np.zeros(len(points)) if mean is None else _checked(mean(points), (len(points),), "values of `mean`")


def _checked(array: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return an array of float64, of this shape: -1 is any number but 0."""
    try:
        found = np.asarray(array, dtype=float)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    fits = len(found.shape) == len(shape) and all(
        n == m or (m == -1 and n) for n, m in zip(found.shape, shape, strict=True)
    )
    if not fits or not (np.abs(found) <= LARGEST).all():
        wanted = ", ".join("n" if n == -1 else str(n) for n in shape)
        raise UsageError(
            "1536", f"{name}: expected finite numbers of shape ({wanted}), at most {LARGEST:g}, got shape {found.shape}"
        )
    return found


__all__ = ["GaussianProcess", "Mean", "Variance"]
