"""Options of each dense layer: to stay, or one of few products of Kronecker-sparse factors, fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

from pathlift.ir.cost import DEVICES
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, oriented, parse_patterns
from pathlift.ir.types import Array
from pathlift.ir.work import Map, in_turn
from pathlift.models.tuning.knapsack import Choice
from pathlift.models.tuning.signatures import Signature
from pathlift.passes.kronecker.chains import replaced
from pathlift.passes.kronecker.fitting.layer import Fitter, LayerFit
from pathlift.passes.kronecker.fitting.patterns import candidates
from pathlift.passes.kronecker.ks_fit import Matrix, fitted
from pathlift.passes.layers.dense import DenseLayer

Patterns = tuple[Pattern, ...]
ProgressCallback = Callable[[str, int, int], object]
_MOST = 6
"""Products per signature: each is a race and, for each layer, a fit and a forward pass."""
_BUDGET = 0.75
"""Of the dense layer's operations; more are hardly ever faster."""


@dataclass(frozen=True, eq=False)
class Option:
    """What a layer may become.

    Parameters
    ----------
    patterns
        Of the factors, as they multiply; empty for the dense layer.
    predicted
        Its time over that of the dense layer, by the cost model.
    error
        Of the layer's outputs on the data, relative, or of its weights without data.
    factors
        As stored, each ``(a, d, b, c)``.
    """

    patterns: Patterns = ()
    predicted: float = 1.0
    error: float = 0.0
    factors: tuple[Array, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return "".join(map(str, self.patterns)) or "dense"


DENSE = Option()


@dataclass(frozen=True, eq=False)
class Space:
    """All choices.

    Parameters
    ----------
    graph
        With dense layers.
    layers
        Those that have options.
    signatures
        Of each layer.
    options
        Of each layer, the first of which is `DENSE`; the same number, and patterns, for layers of one signature.
    skipped
        Why other layers stay, by label.
    """

    graph: Graph
    layers: Sequence[DenseLayer]
    signatures: Sequence[Signature]
    options: Sequence[Sequence[Option]]
    skipped: Mapping[str, str]

    @property
    def dense(self) -> Choice:
        """The choice that replaces nothing."""
        return (0,) * len(self.layers)

    @property
    def groups(self) -> dict[Signature, list[int]]:
        """Numbers of the layers of each signature."""
        found: dict[Signature, list[int]] = {}
        for i, signature in enumerate(self.signatures):
            found.setdefault(signature, []).append(i)
        return found

    def uniform(self, signature: Signature, option: int) -> Choice:
        """Return the choice of one option for all layers of a signature, and of none for others."""
        return tuple(option if s == signature else 0 for s in self.signatures)

    def only(self, layer: int, option: int) -> Choice:
        """Return the choice of one option for one layer."""
        return tuple(option if i == layer else 0 for i in range(len(self.layers)))

    def apply(self, choice: Choice) -> Graph:
        """Return the graph in which layers are what is chosen for them."""
        picked = zip(self.layers, self.options, choice, strict=True)
        chains = {layer.key: options[number].factors for layer, options, number in picked if number}
        return replaced(self.graph, chains) if chains else self.graph


def build(
    graph: Graph,
    found: Sequence[DenseLayer],
    skipped: Mapping[str, str],
    signatures: Sequence[Signature],
    moments: Mapping[str, Array],
    *,
    patterns: str,
    by_size: bool,
    device: str,
    seed: int,
    progress: ProgressCallback | None = None,
    each: Map = in_turn,
) -> Space:
    """Choose and fit options.

    Parameters
    ----------
    graph, found, skipped, signatures
        Its dense layers, why others are none, and the signatures of the former.
    moments
        E[x·xᵀ] of what they read, by key.
    patterns
        ``auto``, or products separated by semicolons.
    by_size
        Whether options are to be small; else they are to be fast.
    device
        What times are predicted for.
    seed
        Of all that is random.
    progress
        Told of each layer.
    each
        What fits the layers, each of which is a matrix that is sent with all that its fit reads.

    Raises
    ------
    UsageError
        If a pattern cannot be read.
    InvalidModelError
        If a weight is NaN or infinite.
    """
    given, matrices = read_patterns(patterns), _Matrices(found, signatures, moments, device, seed, progress)
    offered: dict[Signature, list[Patterns]]
    if given:
        offered = {signature: _fitting(given, signature) for signature in signatures}
    else:
        first = {signature: i for i, signature in reversed(list(enumerate(signatures)))}
        screened = dict(each(partial(_Fits.screened, by_size=by_size), matrices.of(list(first.values()))))
        offered = {signature: screened[number] for number, signature in enumerate(first)}
    kept = [i for i, signature in enumerate(signatures) if offered[signature]]
    products = (offered[signatures[i]] for i in kept)
    made = dict(each(_options, zip(matrices.of(kept), products, strict=True)))
    what = "none of the patterns fits its matrix" if given else "no pattern is predicted to be faster"
    reason = what.replace("faster", "smaller") if by_size else what
    refused = {layer.label: reason for i, layer in enumerate(found) if i not in set(kept)}
    return Space(
        graph, [found[i] for i in kept], [signatures[i] for i in kept],
        [[DENSE, *made[number]] for number in range(len(kept))], {**skipped, **refused},
    )  # fmt: skip


def read_patterns(text: str) -> list[Patterns]:
    """Read products, separated by semicolons; none for ``auto``.

    Raises
    ------
    UsageError
        If one is none.
    """
    return [] if text == "auto" else [parse_patterns(part) for part in text.split(";") if part.strip()]


def _fitting(given: Sequence[Patterns], signature: Signature) -> list[Patterns]:
    """The products that fit a matrix, as they multiply; each once."""
    found: dict[Patterns, None] = {}
    for patterns in given:
        try:
            found[oriented(patterns, signature.rows, signature.cols)] = None
        except UsageError:
            continue
    return list(found)


@dataclass(frozen=True, eq=False)
class _Matrices:
    """Layers as what their fits read."""

    found: Sequence[DenseLayer]
    signatures: Sequence[Signature]
    moments: Mapping[str, Array]
    device: str
    seed: int
    progress: ProgressCallback | None

    def of(self, numbers: Sequence[int]) -> Iterator[_Fits]:
        """Yield some of them."""
        for done, i in enumerate(numbers):
            layer = self.found[i]
            if self.progress is not None:
                self.progress(layer.label, done, len(numbers))
            matrix = Matrix.of(layer, self.moments.get(layer.key))
            yield _Fits(matrix, self.signatures[i], self.device, self.seed)


def _options(item: tuple[_Fits, Sequence[Patterns]]) -> list[Option]:
    """Fit a layer's options."""
    fits, offered = item
    return [fits.option(patterns) for patterns in offered]


@dataclass(frozen=True, eq=False)
class _Fits:
    """Fits of one layer."""

    matrix: Matrix
    signature: Signature
    device: str
    seed: int

    def screened(self, by_size: bool) -> list[Patterns]:
        """Those worth measuring: none of the others is predicted to cost less and, in closed form, to be closer."""
        tried = list[tuple[float, float, Patterns]]()
        for candidate in candidates(self.signature.rows, self.signature.cols, _BUDGET):
            predicted = candidate.cost if by_size else self.predicted(candidate.patterns)
            if predicted < 1:
                tried.append((predicted, self._fit(candidate.patterns, "hsvd").error, candidate.patterns))
        front, least = list[Patterns](), inf
        for _, error, patterns in sorted(tried):
            if error < least:
                front.append(patterns)
                least = error
        if len(front) <= _MOST:
            return front
        return [front[round(i * (len(front) - 1) / (_MOST - 1))] for i in range(_MOST)]

    def option(self, patterns: Patterns) -> Option:
        """Fit to what the layer reads."""
        return self._fit(patterns, "auto")

    def predicted(self, patterns: Patterns) -> float:
        device, places = DEVICES[self.device], self.signature.places
        dense = device.dense(places, self.signature.rows, self.signature.cols).seconds
        return sum(device.kronecker(places, p).seconds for p in patterns) / dense

    def _fit(self, patterns: Patterns, solver: str) -> Option:
        fitter = Fitter.of(
            patterns, budget="", solver=solver, steps=None, seed=self.seed, samples=self.signature.places,  # type: ignore[arg-type]  # a solver's name
            device=self.device,
        )  # fmt: skip
        found = fitted(fitter, self.matrix)
        return Option(found.patterns, self.predicted(found.patterns), _error(found), found.factors)


def _error(found: LayerFit) -> float:
    """Of a fit; infinite where factors cannot be stored."""
    error = found.error if found.weighted_error is None else found.weighted_error
    return inf if found.reason or error is None else error


def named(space: Space) -> list[str]:
    """Return a name for each layer, as the log has it; of layers that are called the same, each has another one."""
    labels = [layer.label for layer in space.layers]
    pairs = zip(space.layers, labels, strict=True)
    return [label if labels.count(label) == 1 else f"{label} -> {layer.key}" for layer, label in pairs]


def spelled(space: Space) -> Iterator[list[str]]:
    """Yield, per layer, its options as the log has them."""
    for options in space.options:
        yield [str(option) for option in options]
