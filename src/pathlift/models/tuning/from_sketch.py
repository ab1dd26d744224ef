"""Errors from a sketch, in closed form: no sample is read, and none is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import product
from pathlift.ir.types import Array
from pathlift.models.sketches.reading import GraphSketch
from pathlift.models.tuning.candidates import Space
from pathlift.models.tuning.latency import Contestant
from pathlift.models.tuning.trials import Quality

SAFETY = 1.3
"""What estimates are multiplied with: on held-out data they were too low by 1.26 in the 1 % quantile, 1.44 mostly."""


class SketchErrors:
    """The first order of what outputs are off by: e² = tr(G·ΔW·C·ΔWᵀ) / E‖y‖², times the rows per sample.

    C = E[x·xᵀ] is of what the layer reads, G = E[JᵀJ] of the outputs by what it writes. Rows of one sample, its
    positions, are taken to be uncorrelated.

    Parameters
    ----------
    space
        Layers and their options.
    found
        A sketch with gradients of the outputs.

    Raises
    ------
    UsageError
        If it has none.
    """

    def __init__(self, space: Space, found: GraphSketch) -> None:
        self._space, self._found = space, found
        if not found.sketch.outputs:
            hint = "calibrate --outputs; or --calib FILE.npz besides"
            raise UsageError("1548", "the sketch has no gradients of outputs, which errors are made of", hint=hint)

    def single(self, layer: int, option: int) -> float:
        """Return the error of one option of one layer."""
        own, chosen = self._space.layers[layer], self._space.options[layer][option]
        sketch = self._found.layers.get(own.key)
        outgoing = None if sketch is None else sketch.gradient_moments()
        if sketch is None or outgoing is None or not isfinite(chosen.error):
            return float("inf")
        rest = own.weight() - product([f.astype(np.float64) for f in chosen.factors])
        power = float(np.einsum("ij,ij->", outgoing @ rest, rest @ sketch.moments()[0]))
        samples, outputs = self._found.sketch.samples, self._found.sketch.outputs or 0.0
        return sqrt(max(power, 0.0) * sketch.rows / samples / (outputs / samples))


class SketchJudge:
    """Takes the root of the sum of single squared errors, times `SAFETY`, for the error of a choice.

    Parameters
    ----------
    errors
        Of single options.
    """

    accuracy: float | None = None

    def __init__(self, errors: SketchErrors) -> None:
        self._errors = errors

    def quality(self, contestant: Contestant) -> Quality:
        """Return the estimate; the file is not run."""
        singles = [self._errors.single(i, option) for i, option in enumerate(contestant.choice) if option]
        return Quality(SAFETY * sqrt(sum(e**2 for e in singles)))


def moments(keys: Sequence[str], found: GraphSketch) -> dict[str, Array]:
    """Return E[x·xᵀ] of what layers read, ``(in, in)``, by key, for those of one group that the sketch has."""
    return {
        key: found.layers[key].moments()[0]
        for key in keys
        if key in found.layers and found.layers[key].layer.groups == 1
    }
