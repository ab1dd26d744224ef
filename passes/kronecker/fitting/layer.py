"""One dense layer, approximated by factors of given patterns or of those that are chosen for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from pathlift.ir.cost import DEVICES, Device
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, oriented
from pathlift.ir.types import Array, float_limits, not_finite
from pathlift.passes.kronecker.fitting.errors import relative_errors
from pathlift.passes.kronecker.fitting.fit import Solver, fit
from pathlift.passes.kronecker.fitting.patterns import candidates

_FLOPS, _ERROR = 0.5, 0.2
FASTER = 1.2
"""Predicted speed-up below which a pattern is not chosen: predictions are no better than that."""
_SLACK = 2.0
"""A candidate whose closed-form fit is off by more than this many times the budget is not refined."""


@dataclass(frozen=True, eq=False)
class LayerFit:
    """What became of one dense layer.

    Parameters
    ----------
    node
        What the user calls it.
    rows, cols
        Of its matrix.
    reason
        Why it stays dense; empty if it was replaced. The figures are those of the best product tried, if any.
    patterns
        Of the factors, as they multiply from left to right.
    error, operator_error, weighted_error
        Of the stored factors, relative: in the Frobenius norm, in the operator norm, and of the outputs on the
        calibration data (root mean square); ``None`` without data.
    bound
        On ``error``, where the solver has one.
    speedup
        Predicted time of the dense layer over that of the factors.
    factors
        As stored, each ``(a, d, b, c)``.
    """

    node: str
    rows: int
    cols: int
    reason: str = ""
    patterns: tuple[Pattern, ...] = ()
    error: float | None = None
    operator_error: float | None = None
    weighted_error: float | None = None
    bound: float | None = None
    solver: str = ""
    speedup: float | None = None
    factors: tuple[Array, ...] = field(default=(), repr=False)

    @property
    def cost(self) -> float:
        """Multiplications, over those of the dense layer."""
        return sum(p.size for p in self.patterns) / (self.rows * self.cols)


@dataclass(frozen=True)
class Fitter:
    """Fits layers, or says why they stay dense.

    Parameters
    ----------
    given
        Patterns to use, as they multiply or as they are applied; ``None`` chooses some for each layer.
    flops, error
        The most of each that a fit may have, as in a budget.
    solver, steps, seed
        As for `fit`.
    samples
        Rows that times are predicted for.
    device
        What they are predicted for.
    """

    given: tuple[Pattern, ...] | None
    flops: float
    error: float
    solver: Solver
    steps: int | None
    seed: int
    samples: int
    device: Device

    @classmethod
    def of(
        cls,
        given: tuple[Pattern, ...] | None,
        *,
        budget: str,
        solver: Solver,
        steps: int | None,
        seed: int,
        samples: int,
        device: str,
    ) -> Self:
        """Read options: a budget ``flops=R,error=R``, which may leave out either, and a device by its name.

        Raises
        ------
        UsageError
            If one of them is wrong.
        """
        if device not in DEVICES:
            raise UsageError("0467", f"there is no device {device!r}", hint=", ".join(DEVICES))
        if samples < 1 or (steps or 0) < 0:
            steps = steps or 0
            raise UsageError("0439", f"{samples} samples and {steps} steps: they must be positive")
        flops, error = _budget(budget, automatic=given is None)
        return cls(given, flops, error, solver, steps, seed, samples, DEVICES[device])

    def fitted(
        self, weight: Array, dtype: np.dtype[Any], *, node: str, tensor: str, covariance: Array | None = None
    ) -> LayerFit:
        """Fit one layer, or say why it stays.

        Parameters
        ----------
        weight
            Of the layer, ``(out, in)``, float64.
        dtype
            To store factors in; errors are those of stored ones.
        node, tensor
            What to call the layer and its weights.
        covariance
            E[x·xᵀ] of what it reads, ``(in, in)``.

        Raises
        ------
        UsageError
            If the solver is none, or is not one for given patterns.
        InvalidModelError
            If a weight is NaN or infinite.
        """
        if not np.isfinite(weight).all():
            raise not_finite(tensor, weight)
        blank = LayerFit(node, *weight.shape)

        def tried(patterns: Sequence[Pattern], solver: Solver) -> LayerFit:
            found = fit(
                weight,
                patterns,
                solver=solver,
                covariance=covariance,
                steps=self.steps,
                seed=self.seed,
                name=node,
            )
            factors = tuple(k.astype(dtype) for k in found.factors)
            errors = relative_errors(weight, factors, covariance)
            reason = "" if all(map(_is_finite, factors)) else f"the factors do not fit {dtype}"
            return replace(
                blank, reason=reason, patterns=tuple(patterns), error=errors.frobenius, operator_error=errors.operator,
                weighted_error=errors.outputs, bound=found.bound, solver=found.solver, factors=factors,
                speedup=self.speedup(blank, patterns),
            )  # fmt: skip

        if self.given is not None:
            try:
                patterns = oriented(self.given, *weight.shape)
            except UsageError as error:
                return replace(blank, reason=error.message)
            return self._within(tried(patterns, self.solver))
        best = blank
        for patterns, screened in self._screened(blank, tried):
            better = tried(patterns, self.solver) if self.solver != "hsvd" else screened
            better = min((better, screened), key=_score)
            best = better if not best.patterns or _score(better) < _score(best) else best
            if not self._within(best).reason:
                return best
        return (
            self._within(best)
            if best.patterns
            else replace(best, reason="no pattern is predicted to be clearly faster")
        )

    def check(self, fits: Collection[LayerFit]) -> None:
        """Check that given patterns fit some of the layers that they were given for.

        Raises
        ------
        UsageError
            If they fit none.
        """
        if self.given is not None and fits and not any(f.patterns for f in fits):
            patterns, sizes = "".join(map(str, self.given)), ", ".join(sorted({f"{f.rows}×{f.cols}" for f in fits}))
            raise UsageError("0463", f"{patterns} fits none of the layers: they are {sizes}")

    def _screened(
        self, blank: LayerFit, tried: Callable[[Sequence[Pattern], Solver], LayerFit]
    ) -> Iterator[tuple[tuple[Pattern, ...], LayerFit]]:
        """Yield patterns that are predicted to be faster, with their closed-form fits, in the order to try them."""
        faster = {
            c.patterns: self.speedup(blank, c.patterns)
            for c in candidates(blank.rows, blank.cols, min(self.flops, 1.0))
            if self.speedup(blank, c.patterns) > FASTER
        }
        screened = {patterns: tried(patterns, "hsvd") for patterns in faster}
        if self.flops < 1 and screened:  # the best within the operations
            order = sorted(screened, key=lambda p: _score(screened[p]))[:1]
        else:  # the fastest within the error
            order = [
                p for p in sorted(screened, key=lambda p: -faster[p]) if _score(screened[p]) <= _SLACK * self.error
            ]
            order = order or sorted(screened, key=lambda p: _score(screened[p]))[:1]
        for patterns in order:
            yield patterns, screened[patterns]

    def _within(self, found: LayerFit) -> LayerFit:
        """Say why a fit is not used, if it is not within the budget."""
        if not found.reason and _score(found) > self.error:
            return replace(found, reason=f"an error of {100 * _score(found):.3g} % is above {100 * self.error:.3g} %")
        if not found.reason and found.cost > self.flops:
            return replace(
                found, reason=f"{100 * found.cost:.3g} % of the operations is above {100 * self.flops:.3g} %"
            )
        return found

    def speedup(self, blank: LayerFit, patterns: Sequence[Pattern]) -> float:
        """Predicted time of the dense layer over that of the factors."""
        dense = self.device.dense(self.samples, blank.rows, blank.cols).seconds
        return dense / sum(self.device.kronecker(self.samples, p).seconds for p in patterns)


def _score(found: LayerFit) -> float:
    error = found.error if found.weighted_error is None else found.weighted_error
    return np.inf if error is None else error


def _is_finite(factor: Array) -> bool:
    return bool(np.abs(factor.astype(np.float64)).max(initial=0.0) <= float(float_limits(factor.dtype).max))


def _budget(text: str, *, automatic: bool) -> tuple[float, float]:
    """Read a budget; what it does not name has a default where patterns are chosen, and no limit elsewhere."""
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.strip().partition("=")
        try:
            limits[name] = float(number)
        except ValueError:
            limits[name] = 0.0
        if name not in ("flops", "error") or not 0 < limits[name] <= 1:
            hint = "flops=0.3, error=0.02, or both; between 0 and 1"
            raise UsageError("0468", f"{part!r} is no budget", hint=hint)
    defaults = (_FLOPS if "error" not in limits else 1.0, _ERROR) if automatic else (np.inf, np.inf)
    return limits.get("flops", defaults[0]), limits.get("error", defaults[1])
