"""Errors of single options: what the network's outputs are off by with one layer replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pathlift.ir.foreign import running
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.output_errors import OutputErrors
from pathlift.models.tuning.candidates import Space

Feeds = Mapping[str, Array]


class Errors(Protocol):
    """What says how far the outputs are off with one layer replaced."""

    def single(self, layer: int, option: int) -> float:
        """Return the root mean square error of the outputs over their root mean square, of the output off most."""


class ForwardErrors:
    """Forward passes over held-out samples, in float32.

    Parameters
    ----------
    space
        Layers and their options.
    batches
        Held-out samples.
    """

    def __init__(self, space: Space, batches: Sequence[Feeds]) -> None:
        self._space, self._batches = space, batches
        self._expected = [self._outputs(space.graph, batch) for batch in batches]

    def single(self, layer: int, option: int) -> float:
        """Return the error; ∞ where an output is not finite."""
        graph, errors = self._space.apply(self._space.only(layer, option)), OutputErrors()
        for batch, expected in zip(self._batches, self._expected, strict=True):
            errors.add(expected, self._outputs(graph, batch))
        return errors.largest()

    def _outputs(self, graph: Graph, batch: Feeds) -> dict[str, Array]:
        import torch

        from pathlift.ir.algebras.interpret import run
        from pathlift.ir.algebras.numeric import Numeric

        algebra = Numeric(torch.float32)
        with running(), torch.inference_mode():
            found = run(graph, algebra, {name: algebra.tensor(np.asarray(x)) for name, x in batch.items()})
        return {name: y.double().numpy() for name, y in found.items() if _is_real(y)}


def _is_real(y: Any) -> bool:
    return hasattr(y, "is_floating_point") and bool(y.is_floating_point())
