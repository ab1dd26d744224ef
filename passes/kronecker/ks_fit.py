"""Approximate dense layers by products of Kronecker-sparse factors, where that is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from pathlift.ir.cost import DEVICES, Device
from pathlift.ir.errors import UsageError, WitnessError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, oriented, parse_patterns, product
from pathlift.ir.types import Array, float_limits, not_finite
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.kronecker.chains import replaced
from pathlift.passes.kronecker.fitting.errors import relative_errors
from pathlift.passes.kronecker.fitting.fit import Solver, fit
from pathlift.passes.kronecker.fitting.patterns import candidates
from pathlift.passes.layers.dense import DenseLayer, dense_layers

ProgressCallback = Callable[[str, int, int], object]
"""Told the layer, its number, and how many there are."""
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


@dataclass(frozen=True, eq=False)
class Approximation(Witness):
    """Which layers were replaced, and by how much each differs.

    Parameters
    ----------
    layers
        Every layer that was asked for, by key.
    skipped
        Why others of that name cannot be replaced, by label.
    """

    layers: Mapping[str, LayerFit]
    skipped: Mapping[str, str]

    def check(self, before: Graph, after: Graph) -> None:
        found = {layer.key: layer for layer in dense_layers(before, "*")[0]}
        stored = {id(p): p for key in after.params if (p := after[key].value) is not None}
        chains = [tuple(np.asarray(p.numpy()) for p in stored.values() if len(p.shape) == 4)]
        for key, layer in self.layers.items():
            if layer.reason:
                continue
            if not all(any(k.shape == f.shape and np.array_equal(k, f) for k in chains[0]) for f in layer.factors):
                raise WitnessError("0805", f"the factors of {layer.node!r} are not in the graph")
            weight = found[key].weight()
            error = np.linalg.norm(weight - product([f.astype(np.float64) for f in layer.factors]))
            if layer.error is None or error > (layer.error * (1 + 1e-9) + 1e-15) * np.linalg.norm(weight):
                raise WitnessError("0805", f"{layer.node!r} differs by more than {layer.error}")

    def describe(self) -> str:
        done = [layer for layer in self.layers.values() if not layer.reason]
        worst = max((layer.error or 0.0 for layer in done), default=0.0)
        kept = len(self.layers) - len(done)
        what = f"{len(done)} layers replaced, off by up to {100 * worst:.2g} % each" if done else "no layer replaced"
        return f"{what}; {kept} stay dense" if kept else what


@dataclass(frozen=True)
class ApproximateLayers(Transform):
    """Approximate dense layers by products of Kronecker-sparse factors.

    Parameters
    ----------
    layers
        Nodes, or their weights. Globs, separated by ``;`` or commas.
    patterns
        auto, or (a,b,c,d)(a,b,c,d)... of the factors. As they multiply, or as they are applied.
    budget
        flops=R of the dense layer's operations, error=R of its outputs or weights, or both. The error is relative, of
        the outputs where there is data, else of the weights in the Frobenius norm.
    solver
        hsvd, als, adam, muon, or auto. ``hsvd`` is a closed form, the others are iterative.
    steps
        Of an iterative solver. Its default if 0.
    seed
        Of all that is random.
    samples
        Rows, batch times positions, that times are predicted for.
    device
        What they are predicted for: cpu, h100, h200 or a100.
    """

    name: ClassVar[str] = "ks-fit"
    effect: ClassVar[Effect] = Effect.ANY

    layers: str = "*"
    patterns: str = "auto"
    budget: str = ""
    solver: str = "auto"
    steps: int = 0
    seed: int = 0
    samples: int = 1568
    device: str = "cpu"

    def run(self, graph: Graph) -> Rewritten:
        """Approximate without data; see `fit`."""
        return self.fit(graph)

    def fit(
        self, graph: Graph, moments: Mapping[str, Array] | None = None, progress: ProgressCallback | None = None
    ) -> Rewritten:
        """Replace layers where the budget and the predicted speed allow; given patterns are used whatever the speed.

        Parameters
        ----------
        graph
            Any graph.
        moments
            E[x·xᵀ] of what layers read, by key.
        progress
            Called before each layer.

        Raises
        ------
        UsageError
            If an option is wrong, nothing has that name, or patterns fit none of the layers.
        InvalidModelError
            If a weight is NaN or infinite.
        """
        options = self._options()
        found, skipped = dense_layers(graph, self.layers.replace(";", ","))
        if not found and not skipped:
            raise UsageError(
                "0464", f"no layer is called {self.layers!r}", hint="`pathlift norm --per-layer` lists layers"
            )
        fits: dict[str, LayerFit] = {}
        for i, layer in enumerate(found):
            if progress is not None:
                progress(layer.label, i, len(found))
            fits[layer.key] = options.fitted(layer, None if moments is None else moments.get(layer.key))
        fitting = [f for f in fits.values() if f.patterns]
        if found and not fitting and options.given is not None:
            sizes = ", ".join(sorted({f"{f.rows}×{f.cols}" for f in fits.values()}))
            raise UsageError("0463", f"{self.patterns} fits none of the layers: they are {sizes}")
        chains = {key: f.factors for key, f in fits.items() if not f.reason}
        return Rewritten(replaced(graph, chains) if chains else graph, Approximation(fits, skipped))

    def _options(self) -> _Options:
        if self.device not in DEVICES:
            raise UsageError("0467", f"there is no device {self.device!r}", hint=", ".join(DEVICES))
        if self.samples < 1 or self.steps < 0:
            raise UsageError("0439", f"{self.samples} samples and {self.steps} steps: they must be positive")
        given = None if self.patterns == "auto" else parse_patterns(self.patterns)
        flops, error = _budget(self.budget, automatic=given is None)
        solver: Solver = self.solver  # type: ignore[assignment]
        return _Options(given, flops, error, solver, self.steps or None, self.seed, self.samples, DEVICES[self.device])


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


@dataclass(frozen=True)
class _Options:
    given: tuple[Pattern, ...] | None
    flops: float
    error: float
    solver: Solver
    steps: int | None
    seed: int
    samples: int
    device: Device

    def fitted(self, layer: DenseLayer, covariance: Array | None) -> LayerFit:
        """Fit one layer, or say why it stays."""
        weight, dtype = layer.weight(), layer.read().dtype
        if not np.isfinite(weight).all():
            raise not_finite(layer.tensor, weight)
        blank = LayerFit(layer.label, *weight.shape)

        def tried(patterns: Sequence[Pattern], solver: Solver) -> LayerFit:
            found = fit(
                weight,
                patterns,
                solver=solver,
                covariance=covariance,
                steps=self.steps,
                seed=self.seed,
                name=layer.label,
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
