"""The convex core of two canonical forms: coefficients on pairs of classes, balanced by one factor per class.

Minimized is J(z) = log Σ_k m_k·exp(2(z_t(k) − z_o(k))) − (2/P)·Σ_k n_k·(z_t(k) − z_o(k)) over z with z₀ = 0, where k
runs over pairs (t, o) of classes. Newton steps, and only downhill. Their linear systems are graph Laplacians: conjugate
gradients solve them, preconditioned on two levels, since what is slow to travel from layer to layer is one factor for
all classes of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pathlift.ir.rows import blocks, rows_of
from pathlift.ir.types import Array, Param
from pathlift.passes.channels.constraints import Scale

_CHUNK = 2**22
_STEPS = 200
_INNER = 200
_NEAR = 0.1
_SETTLED = 1e-15
"""A class is in balance when its two sides differ by this fraction of their sum."""
_ROUNDED = 1e-9
"""Below this, what does not become less is rounding."""
_NOISE = 1e-12
"""J is not known better: whether a smaller change is one, only the sides can tell."""


@dataclass(eq=False)
class Pairs:
    """Coefficients of one parameter: a matrix over its classes, or a list where that would be mostly empty.

    Parameters
    ----------
    times, over
        Classes: of the rows and columns of the matrix, or of the elements of the list.
    m
        ``(times, over)``, or ``(elements,)``; float64, not negative, or whether there is any.
    """

    times: Array
    over: Array
    m: Array

    @classmethod
    def of(cls, s: Scale, values: Array) -> Pairs:
        """Add up what elements of a parameter, ``values`` of its shape, contribute to each pair of classes."""
        shape = values.shape or (1,)
        (times, rows), (over, columns) = (_numbered(x, len(shape)) for x in (s.times, s.over))
        if len(times) * len(over) <= 4 * values.size + 64:
            matrix = np.zeros(len(times) * len(over))
            step = max(1, _CHUNK * shape[0] // max(1, values.size))
            for start in range(0, shape[0], step):
                part = values.reshape(shape)[start : start + step]
                r, c = (x[start : start + step] if len(x) > 1 else x for x in (rows, columns))
                at = np.broadcast_to(r * len(over) + c, part.shape).reshape(-1)
                matrix += np.bincount(at, part.reshape(-1), len(matrix))
            return cls(times, over, matrix.reshape(len(times), len(over)))
        where = [np.broadcast_to(x, shape).reshape(-1) for x in (times[rows], over[columns])]
        return cls(where[0], where[1], values.reshape(-1).copy())

    @classmethod
    def joined(cls, s: Scale, param: Param) -> Pairs:
        """Tell which pairs of classes any element of a parameter joins: zeros join none, unless they divide."""
        s, divides, shape = (s.inverse if s.divides else s), s.divides, param.shape
        (times, rows), (over, columns) = (_numbered(x, len(shape)) for x in (s.times, s.over))
        dense = len(times) * len(over) <= 4 * param.size + 64
        m = np.zeros((len(times), len(over)) if dense else shape, bool)
        for block in blocks(shape):
            part = np.asarray(param.rows(block) != 0) | divides
            if dense:
                r, c = (np.broadcast_to(rows_of(x, block, len(shape)), part.shape) for x in (rows, columns))
                m[r[part], c[part]] = True
            else:
                m[block] = part
        if dense:
            return cls(times, over, m)
        where = [np.broadcast_to(x, shape).reshape(-1) for x in (times[rows], over[columns])]
        return cls(where[0], where[1], m.reshape(-1))

    def without(self, classes: Array) -> None:
        """Drop all pairs of some classes, a boolean per class, and those of a class with itself."""
        if self.m.ndim == 1:
            self.m[classes[self.times] | classes[self.over] | (self.times == self.over)] = 0
        else:
            self.m[classes[self.times]], self.m[:, classes[self.over]] = 0, 0
            self.m[self.times[:, None] == self.over] = 0

    def sides(self, count: int) -> tuple[Array, Array]:
        """Sums per class: over its rows, and over its columns."""
        if self.m.ndim == 1:
            return np.bincount(self.times, self.m, count), np.bincount(self.over, self.m, count)
        return _placed(self.times, self.m.sum(1), count), _placed(self.over, self.m.sum(0), count)

    def applied(self, v: Array) -> Array:
        """The matrix on the classes, plus its transpose, times a vector."""
        if self.m.ndim == 1:
            forward, back = (np.bincount(a, self.m * v[b], len(v)) for a, b in self._both())
        else:
            forward = _placed(self.times, self.m @ v[self.over], len(v))
            back = _placed(self.over, v[self.times] @ self.m, len(v))
        return np.asarray(forward + back)

    def grouped(self, groups: Array, count: int) -> Array:
        """The matrix on groups of classes."""
        if self.m.ndim == 1:
            pairs = groups[self.times] * count + groups[self.over]
            return np.bincount(pairs, self.m, count * count).reshape(count, count)
        result = np.zeros((count, count))
        rows, r = np.unique(groups[self.times], return_inverse=True)
        columns, c = np.unique(groups[self.over], return_inverse=True)
        result[np.ix_(rows, columns)] = np.eye(len(rows))[:, r] @ (self.m @ np.eye(len(columns))[c])
        return result

    def total(self, dz: Array) -> float:
        """Σ m·exp(2(dz_t − dz_o))."""
        up, down = np.exp(2 * dz[self.times]), np.exp(-2 * dz[self.over])
        return float((self.m * up * down).sum() if self.m.ndim == 1 else up @ (self.m @ down))

    def move(self, dz: Array, factor: float) -> None:
        """Multiply by ``factor·exp(2(dz_t − dz_o))``."""
        up, down = np.exp(2 * dz[self.times]) * factor, np.exp(-2 * dz[self.over])
        self.m *= up if self.m.ndim == 1 else up[:, None]
        self.m *= down

    def _both(self) -> tuple[tuple[Array, Array], ...]:
        return (self.times, self.over), (self.over, self.times)


def as_weight(s: Scale, squares: Array) -> tuple[Scale, Array]:
    """Read squares of a parameter as those of weights, 1/c where it divides by c."""
    return (s.inverse, 1 / squares) if s.divides else (s, squares)


def _numbered(cells: Array, rank: int) -> tuple[Array, Array]:
    """The different classes, and the number of each element's, of this rank."""
    classes, numbers = np.unique(cells, return_inverse=True)
    return classes, numbers.reshape((1,) * (rank - cells.ndim) + cells.shape)


def _placed(classes: Array, values: Array, count: int) -> Array:
    result = np.zeros(count)
    result[classes] = values
    return result


@dataclass(eq=False)
class Balance:
    """The minimization; `z` is the result.

    Parameters
    ----------
    pairs
        Coefficients, which are consumed.
    linear
        Σ n over the pairs in which a class is t, minus Σ n over those in which it is o, divided by P; zeros for none.
    objective
        J after each step, relative to the start: it never rises.
    """

    pairs: list[Pairs]
    linear: Array
    objective: list[float] = field(default_factory=lambda: [0.0])

    def __post_init__(self) -> None:
        self.z: Array = np.zeros(len(self.linear))
        self._groups = _alike(self.pairs, len(self.linear))
        self._rescale(np.zeros(len(self.linear)), sum(float(p.m.sum()) for p in self.pairs))

    def run(self) -> Array:
        """Return z, one per class."""
        least = np.inf
        for i in range(_STEPS):
            into, out = _sides(self.pairs, len(self.z))
            free = into + out > 0
            free[0] = False
            gradient = np.where(free, into - out - self.linear, 0.0)
            imbalance = float(np.max(np.abs(gradient[free]) / (into + out + np.abs(self.linear))[free], initial=0.0))
            if imbalance <= _SETTLED or (imbalance < _ROUNDED and imbalance > least / 2):
                break
            least = min(least, imbalance)
            near = imbalance < _NEAR
            if not near and i % 2 == 0:
                step = self._each_by_itself(into, out, free)
            else:
                # The Hessian is a Laplacian minus a matrix of rank one: where one pair dominates nothing is left of it.
                slope = into - out if near else np.zeros_like(into)
                step = self._newton(gradient, slope, into + out, free, min(0.1, imbalance))
            if not self._downhill(gradient, step):
                break
        return self.z

    def _each_by_itself(self, into: Array, out: Array, free: Array) -> Array:
        """Halfway to where each class is in balance if no other moves: far in one step, where Newton's steps crawl."""
        up, down = out + np.maximum(self.linear, 0), into + np.maximum(-self.linear, 0)
        solvable = free & (up > 0) & (down > 0)
        return np.where(solvable, np.log(np.where(solvable, up, 1.0) / np.where(solvable, down, 1.0)) / 8, 0.0)

    def _downhill(self, gradient: Array, step: Array) -> bool:
        """Go along a step as far as J falls; returns whether it did."""
        scale = min(1.0, 20.0 / float(np.abs(step).max(initial=1e-300)))  # exp stays in range
        descent = float(gradient @ step) * 2
        for _ in range(40):
            dz = scale * step
            total = sum(p.total(dz) for p in self.pairs)
            change = float(np.log(total)) - 2 * float(self.linear @ dz)
            if change <= 0.25 * scale * descent or abs(descent) < _NOISE:
                self._rescale(dz, total)
                self.z += dz
                self.objective.append(self.objective[-1] + min(change, 0.0))
                return True
            scale /= 2
        return False

    def _newton(self, gradient: Array, slope: Array, weight: Array, free: Array, tolerance: float) -> Array:
        """Solve for the step, up to a relative residual, by conjugate gradients."""

        def hessian(v: Array) -> Array:
            product = weight * v - sum(p.applied(v) for p in self.pairs) - slope * float(slope @ v)
            return np.asarray(np.where(free, 2 * product, 0.0))

        inverse, coarse = np.where(free, 0.5 / np.where(free, weight, 1.0), 0.0), self._coarse(slope, weight, free)

        def preconditioned(r: Array) -> Array:
            among = np.bincount(self._groups, r, len(coarse))
            return np.asarray(np.where(free, inverse * r + (coarse @ among)[self._groups], 0.0))

        x, r = np.zeros_like(gradient), np.where(free, -gradient, 0.0)
        s = preconditioned(r)
        p, rho = s, float(r @ s)
        goal = tolerance**2 * rho
        for _ in range(_INNER):
            if rho <= goal:
                break
            q = hessian(p)
            curvature = float(p @ q)
            if curvature <= 0:
                break
            alpha = rho / curvature
            x, r = x + alpha * p, r - alpha * q
            s = preconditioned(r)
            before, rho = rho, float(r @ s)
            p = s + (rho / before) * p
        return x if x.any() else s

    def _coarse(self, slope: Array, weight: Array, free: Array) -> Array:
        """The inverse of the Hessian on groups, class 0 and what has no pairs apart."""
        count = int(self._groups.max()) + 1
        between = np.asarray(sum(p.grouped(np.where(free, self._groups, 0), count) for p in self.pairs))
        slopes = np.bincount(self._groups, np.where(free, slope, 0.0), count)
        diagonal = np.bincount(self._groups, np.where(free, weight, 0.0), count)
        hessian = 2 * (np.diag(diagonal) - between - between.T - np.outer(slopes, slopes))
        inverse = np.zeros((count, count))
        used = np.flatnonzero(diagonal[1:]) + 1
        inverse[np.ix_(used, used)] = np.linalg.pinv(hessian[np.ix_(used, used)], hermitian=True)
        return inverse

    def _rescale(self, dz: Array, total: float) -> None:
        for p in self.pairs:
            p.move(dz, 1 / total)


def _alike(pairs: Iterable[Pairs], count: int) -> Array:
    """Number the groups of classes that occur in the same parameters; class 0 is group 0 alone."""
    signature = np.zeros(count, np.uint64)
    rng = np.random.default_rng(0)
    for p in pairs:
        for classes in (p.times, p.over):
            signature[np.unique(classes)] += rng.integers(0, 2**63, dtype=np.uint64)
    _, groups = np.unique(signature[1:], return_inverse=True)
    return np.concatenate([[0], groups + 1])


def _sides(pairs: Iterable[Pairs], count: int) -> tuple[Array, Array]:
    """Sums per class over all pairs: where they lead to it, and where they come from it."""
    into, out = np.zeros(count), np.zeros(count)
    for p in pairs:  # one after the other: a network may have many parameters and many classes
        a, b = p.sides(count)
        into += a
        out += b
    return into, out


def zero_sided(pairs: Iterable[Pairs], count: int) -> Array:
    """Find the classes that have nothing on one side, or nothing but such classes; drops their pairs.

    Returns
    -------
    Array
        A boolean per class; never for class 0.
    """
    found, dead = list(pairs), np.zeros(count, bool)
    while True:
        for p in found:
            p.without(dead)
        into, out = _sides(found, count)
        new = ((into == 0) | (out == 0)) & ~dead
        new[0] = False
        if not new.any():
            return dead
        dead |= new
