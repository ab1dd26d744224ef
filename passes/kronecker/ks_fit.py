"""Approximate dense layers by products of Kronecker-sparse factors, where that is worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import parse_patterns, product
from pathlift.ir.types import Array
from pathlift.ir.work import Map, in_turn
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.kronecker.chains import replaced
from pathlift.passes.kronecker.fitting.fit import Solver
from pathlift.passes.kronecker.fitting.layer import Fitter, LayerFit
from pathlift.passes.layers.dense import DenseLayer, dense_layers, named_layers

ProgressCallback = Callable[[str, int, int], object]
"""Told the layer, its number, and how many there are."""


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
        self,
        graph: Graph,
        moments: Mapping[str, Array] | None = None,
        progress: ProgressCallback | None = None,
        *,
        each: Map = in_turn,
    ) -> Rewritten:
        """Replace layers where the budget and the predicted speed allow; given patterns are used whatever the speed.

        Parameters
        ----------
        graph
            Any graph.
        moments
            E[x·xᵀ] of what layers read, by key.
        progress
            Called before each layer, with how many are done as its number.
        each
            What fits the layers, each of which is a matrix that is sent with all that its fit reads.

        Raises
        ------
        UsageError
            If an option is wrong, nothing has that name, or patterns fit none of the layers.
        InvalidModelError
            If a weight is NaN or infinite.
        """
        fitter = self._fitter()
        found, skipped = named_layers(graph, self.layers)
        done: dict[int, LayerFit] = {}

        def matrices() -> Iterator[Matrix]:
            for layer in found:
                if progress is not None:
                    progress(layer.label, len(done), len(found))
                yield Matrix.of(layer, (moments or {}).get(layer.key))

        for number, fit in each(partial(fitted, fitter), matrices()):
            done[number] = fit
        fits = {layer.key: done[i] for i, layer in enumerate(found)}
        fitter.check(fits.values())
        chains = {key: f.factors for key, f in fits.items() if not f.reason}
        return Rewritten(replaced(graph, chains) if chains else graph, Approximation(fits, skipped))

    def _fitter(self) -> Fitter:
        solver: Solver = self.solver  # type: ignore[assignment]  # checked where it is given
        return Fitter.of(
            None if self.patterns == "auto" else parse_patterns(self.patterns), budget=self.budget, solver=solver,
            steps=self.steps or None, seed=self.seed, samples=self.samples, device=self.device,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Matrix:
    """All of a layer that its fit reads; see `Fitter.fitted`."""

    weight: Array
    dtype: np.dtype[Any]
    node: str
    tensor: str
    covariance: Array | None

    @classmethod
    def of(cls, layer: DenseLayer, covariance: Array | None) -> Matrix:
        """Read a layer, which reads vectors x with the moments E[x·xᵀ], ``(in, in)``, if these are known."""
        return cls(layer.weight(), layer.read().dtype, layer.label, layer.tensor, covariance)


def fitted(fitter: Fitter, matrix: Matrix) -> LayerFit:
    """Return the fit of a layer; see `Fitter.fitted`."""
    return fitter.fitted(
        matrix.weight, matrix.dtype, node=matrix.node, tensor=matrix.tensor, covariance=matrix.covariance
    )
