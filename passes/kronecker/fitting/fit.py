"""Approximate a dense matrix by a product of Kronecker-sparse factors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, chain, is_chainable, product
from pathlift.ir.types import Array, not_finite
from pathlift.passes.kronecker.fitting.als import als
from pathlift.passes.kronecker.fitting.errors import ratio, spectral
from pathlift.passes.kronecker.fitting.gradient import descend
from pathlift.passes.kronecker.fitting.hsvd import check_chainable, hsvd
from pathlift.passes.kronecker.fitting.objective import Objective
from pathlift.passes.sketches.square_root import square_root

Solver = Literal["auto", "hsvd", "als", "adam", "muon"]
OnStep = Callable[[int, float], object]

_STEPS = {"als": 20, "adam": 200, "muon": 200}


@dataclass(frozen=True)
class Fit:
    """A product of Kronecker-sparse factors that stands for a matrix W.

    Parameters
    ----------
    factors
        K₁ … K_L, as they multiply from left to right; each ``(a, d, b, c)``, float64.
    error
        ‖W − K₁⋯K_L‖_F / ‖W‖_F.
    weighted_error
        ‖(W − K₁⋯K_L)·C^½‖_F / ‖W·C^½‖_F; ``None`` without a covariance. Infinite if W·C^½ is 0 and the product is not.
    operator_error
        ‖W − K₁⋯K_L‖₂ / ‖W‖₂.
    bound
        Not less than ``error``: what the truncations of `hsvd` add up to, rounded outward. ``None`` if the factors are
        another solver's.
    steps
        Of the iterative solver; 0 for `hsvd`.
    solver
        That found the factors: ``auto`` says what it chose.
    """

    factors: tuple[Array, ...]
    error: float
    weighted_error: float | None
    operator_error: float
    bound: float | None
    steps: int
    solver: str


def fit(
    weight: Array,
    patterns: Sequence[Pattern],
    *,
    solver: Solver = "auto",
    covariance: Array | None = None,
    steps: int | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    name: str = "weight",
) -> Fit:
    """Approximate a matrix by a product of Kronecker-sparse factors.

    ``hsvd`` is in closed form, for chainable patterns, and ignores the covariance. ``als``, ``adam`` and ``muon``
    improve on it where patterns are chainable, and otherwise start from random factors. ``auto`` is ``hsvd`` where
    patterns are chainable and no covariance is given, and ``als`` otherwise.

    With a covariance, an iterative solver starts from the better one of two fits by ``hsvd``: of W, and of W with its
    columns whitened, as far as the blocks of the last factor can undo that; where patterns are not chainable, it starts
    from its own fit without the covariance. The weighted error is never larger than that of a fit that ignores it.

    Parameters
    ----------
    weight
        W, ``(out, in)``, any real floating type.
    patterns
        From left to right, W ≈ K₁⋯K_L.
    solver
        One of those above.
    covariance
        C, the second moment E[x·xᵀ] of the inputs, ``(in, in)``, symmetric and positive semidefinite, possibly
        singular. What is minimized then is the mean squared error of the outputs, E‖(W − K₁⋯K_L)·x‖². Directions that
        the inputs never take are given up, and ``error`` may exceed 1; where that is too much trust in the samples,
        add a multiple of the identity.
    steps
        The most steps of an iterative solver: by default 20 sweeps of ``als``, and 200 steps of ``adam`` and ``muon``.
    seed
        Of the random start, where patterns are not chainable.
    on_step
        Called after each step of an iterative solver with its number and the relative error so far, which is the
        weighted one if there is a covariance.
    name
        What errors call the matrix.

    Returns
    -------
    Fit
        The best factors met.

    Raises
    ------
    UsageError
        If patterns do not multiply, do not fit the matrix, or are not chainable and the solver is ``hsvd``; if the
        covariance has another size, or is not symmetric and positive semidefinite.
    InvalidModelError
        If the matrix or the covariance holds values that are not finite.

    Notes
    -----
    A power of two scales the matrix to elements of about 1 and, in equal parts, the factors back; nothing overflows
    that float64 can hold.
    """
    ps = _checked(weight, patterns, solver, steps, name)
    w, exponent = _scaled(weight, name)
    root = None if covariance is None else square_root(covariance, w.shape[1], name=name)
    chosen = _choose(solver, ps, weighted=root is not None)
    if not w.any():
        zeros = tuple(np.zeros(p.shape) for p in ps)
        return Fit(zeros, 0.0, None if root is None else 0.0, 0.0, 0.0 if chosen == "hsvd" else None, 0, chosen)
    factors, bound, taken = _solve(w, ps, chosen, root, steps, np.random.default_rng(seed), on_step)
    rest = w - product(factors)
    return Fit(
        _unscaled(factors, exponent),
        ratio(_frobenius(rest), _frobenius(w)),
        None if root is None else ratio(_frobenius(rest @ root), _frobenius(w @ root)),
        ratio(spectral(rest), spectral(w)),
        bound,
        taken,
        chosen,
    )


def _checked(
    weight: Array, patterns: Sequence[Pattern], solver: Solver, steps: int | None, name: str
) -> tuple[Pattern, ...]:
    ps = chain(patterns)
    if solver not in get_args(Solver):
        raise UsageError("0465", f"there is no solver {solver!r}", hint=f"one of {', '.join(get_args(Solver))}")
    if steps is not None and steps < 0:
        raise UsageError("0466", f"{steps} steps are too few", hint="0 keeps the start")
    if weight.shape != (ps[0].rows, ps[-1].cols):
        text, shape = "".join(map(str, ps)), "×".join(map(str, weight.shape))
        raise UsageError("0463", f"{text} is {ps[0].rows}×{ps[-1].cols}, and does not fit {name!r} of {shape}")
    return ps


def _choose(solver: Solver, patterns: Sequence[Pattern], *, weighted: bool) -> str:
    if solver == "hsvd":
        check_chainable(patterns)
    if solver == "auto":
        return "hsvd" if is_chainable(patterns) and not weighted else "als"
    return solver


def _scaled(weight: Array, name: str) -> tuple[Array, int]:
    """Return the matrix in float64 with a largest element in [½, 1), and the power of two taken out."""
    w = np.asarray(weight).astype(np.float64)
    if not np.isfinite(w).all():
        raise not_finite(name, w)
    exponent = int(np.frexp(np.abs(w).max(initial=0.0))[1])
    return np.ldexp(w, -exponent), exponent


def _unscaled(factors: Sequence[Array], exponent: int) -> tuple[Array, ...]:
    share, more = divmod(exponent, len(factors))
    return tuple(np.ldexp(k, share + (i < more)) for i, k in enumerate(factors))


def _solve(
    w: Array,
    patterns: Sequence[Pattern],
    solver: str,
    root: Array | None,
    steps: int | None,
    rng: np.random.Generator,
    on_step: OnStep | None,
) -> tuple[tuple[Array, ...], float | None, int]:
    """Return factors, their bound, and the number of steps."""
    if solver == "hsvd":
        found = hsvd(w, patterns)
        return found.factors, found.bound, 0
    most = _STEPS[solver] if steps is None else steps
    objective = Objective(w) if root is None else Objective(w @ root, root)
    scale = _frobenius(objective.target)

    def report(step: int, distance: float) -> None:
        if on_step is not None:
            on_step(step, ratio(distance, scale))

    def improve(objective: Objective, start: Sequence[Array], report: OnStep) -> tuple[tuple[Array, ...], int]:
        if solver == "als":
            return als(objective, start, steps=most, on_step=report)
        direction: Literal["adam", "muon"] = "adam" if solver == "adam" else "muon"
        return descend(objective, start, direction, steps=most, on_step=report)

    if is_chainable(patterns):
        starts = [hsvd(w, patterns).factors]
        if root is not None:
            starts.append(_whitened(w, patterns, root))
    else:
        starts = [tuple(rng.standard_normal(p.shape) / math.sqrt(p.c) for p in patterns)]
        if root is not None:
            starts = [improve(Objective(w), starts[0], lambda _step, _distance: None)[0]]
    factors, taken = improve(objective, min(starts, key=objective.loss), report)
    return factors, None, taken


def _whitened(w: Array, patterns: Sequence[Pattern], root: Array) -> tuple[Array, ...]:
    """Fit W with its columns whitened block by block: the blocks of the last factor take that back, and stay blocks."""
    a, _b, c, d = patterns[-1]
    blocks = root.reshape(a, c, d, -1).swapaxes(1, 2)
    values, vectors = np.linalg.eigh(blocks @ blocks.mT)
    scale = np.sqrt(np.maximum(values, 1e-12))
    columns = w.reshape(len(w), a, c, d).transpose(1, 3, 0, 2) @ (vectors * scale[..., None, :])
    *others, last = hsvd(columns.transpose(2, 0, 3, 1).reshape(w.shape), patterns).factors
    return (*others, (last / scale[..., None, :]) @ vectors.mT)


def _frobenius(matrix: Array) -> float:
    return float(np.linalg.norm(matrix))
