"""Path-norms along a pipeline: of the network it starts from, and after each pass."""

from __future__ import annotations

from collections.abc import Mapping

from pathlift.ir.errors import InvalidModelError, UnsafeModelError, UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.path_norm.result import Norm

Norms = tuple[Norm, ...] | None
"""One per exponent; None for a network that has no path-norm."""


class NormLog:
    """Computes the path-norms of one graph after another.

    Parameters
    ----------
    q
        The exponents.
    sizes
        Extents of symbolic dimensions, by name.
    memory_limit
        Bytes that no value may take.

    Raises
    ------
    UsageError
        If an exponent is out of range.
    """

    def __init__(self, q: tuple[float, ...], sizes: Mapping[str, int], memory_limit: int) -> None:
        self._options = PathNorm(q=q, shape=tuple(sizes.items()), memory_limit=memory_limit)
        self._options.check()
        self._last: Graph | None = None
        self.norms: list[Norms] = []
        self.assumptions: list[str] = []
        self.refusal = ""

    def add(self, which: str, graph: Graph) -> None:
        """Compute the norms of a graph; of refusals, the first is kept as a sentence."""
        if graph is self._last:
            self.norms.append(self.norms[-1])
            return
        self._last = graph
        try:
            result = self._options.run(graph)
        except (InvalidModelError, UnsafeModelError, UnsupportedError) as error:
            self.norms.append(None)
            self.refusal = self.refusal or f"no path-norm of the network {which}: {error.message}"
        else:
            self.norms.append(result.norms)
            self.assumptions.extend(result.assumptions)
