"""Random rescaling: another set of weights for the same function, for tests and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.ops.normalization import EPSILON
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.types import not_finite
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.channels.symmetry import symmetry
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.rescaled import rescaled


@dataclass(frozen=True)
class RandomRescale(Transform):
    """Multiply neurons by random factors and divide what reads them by the same: other weights, same function.

    Parameters
    ----------
    octaves
        Factors are log-uniform between 2^-octaves and 2^octaves.
    seed
        Of the factors.
    exact
        By powers of two, which round nothing: outputs stay the same to the last bit, save where a layer that changes
        has to be spelled anew (a Gemm with ``alpha``).
    """

    name: ClassVar[str] = "random-rescale"
    effect: ClassVar[Effect] = Effect.KEEPS

    octaves: float = 3.0
    seed: int = 0
    exact: bool = False

    def run(self, graph: Graph) -> Rewritten:
        """Rescale every free class of neurons by a factor that is log-uniform in 2^±octaves.

        Parameters
        ----------
        graph
            Any graph.

        Raises
        ------
        UsageError
            If an option is out of range.
        UnsupportedError
            When a weight is read that its format cannot hold.
        InvalidModelError
            If a batch norm's variance is no variance; also when a weight is read that is not finite.
        """
        if not 0 <= self.octaves <= 500 or self.seed < 0:
            raise UsageError("0451", f"octaves must be within 0 to 500 and the seed not negative, got {self}")
        _check_variances(graph)
        found = symmetry(graph)
        rng = np.random.default_rng(self.seed)
        logs = rng.uniform(-self.octaves, self.octaves, found.count + 1)
        whole = np.rint(logs) if self.exact else np.floor(logs)
        factors = Factors.of(np.exp2(logs - whole) if not self.exact else np.ones_like(logs), whole.astype(np.int64))
        return rescaled(graph, found, factors)


def _check_variances(graph: Graph) -> None:
    """Check that batch norms scale by real numbers: NaN is no multiple of NaN."""
    for key in graph.order:
        node = graph[key]
        source = graph.inputs_of(key)[-1] if node.op == "BatchNormalization" else None
        param = None if source is None else graph[source.node].value
        if param is None or source is None:
            continue
        if np.isnan(param.numpy()).any():
            raise not_finite(graph.name_of(source), param.numpy())
        NormScale(float(node.attrs.get("epsilon", EPSILON))).check(node, param.numpy())  # type: ignore[arg-type]  # an attribute has the type that its op gives it
