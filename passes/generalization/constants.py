"""The constants of Theorem 3.1 of arXiv 2310.01225, read off a graph, and the factor C that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log, nextafter, prod, sqrt

from pathlift.ir.algebras.interpret import run
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.passes.generalization.words import Paths, PathWords, joined
from pathlift.passes.sizes import Extents


@dataclass(frozen=True)
class Constants:
    """What the theorem needs to know of a network, by the paper's symbols.

    Parameters
    ----------
    depth
        D, the number of linear maps with weights on the longest path.
    types
        P, the number of different pools: the different k of k-max-pools.
    fan_in
        K, the most values of a pool; 1 without pools.
    pools
        M, the most pools on a path.
    d_in, d_out
        Numbers of inputs and outputs of one sample.
    log_words
        ln of the sum over kinds of paths that the proof needs (`Paths.log_count`).
    """

    depth: int
    types: int
    fan_in: int
    pools: int
    d_in: int
    d_out: int
    log_words: float

    @property
    def published(self) -> float:
        """C as printed in Theorem 3.1."""
        kinds = 3 + 2 * self.types
        ends = kinds / (1 + self.types) * (self.d_in + 1) * self.d_out
        return _root(self.depth * log(kinds * self.fan_in) + log(ends))

    @property
    def sharpened(self) -> float:
        """C with one factor K per pool instead of one per layer."""
        ends = (self.d_in + 1) * self.d_out
        return _root(self.depth * log(3) + self.pools * log(self.fan_in) + log(ends))

    @property
    def counted(self) -> float:
        """C with the number of terms that the proof adds up for this graph: the least that is proved."""
        return _root(self.log_words + log(2 * (self.d_in + 1) * self.d_out))

    @property
    def sharpened_is_proved(self) -> bool:
        """Whether the proof covers the sharpened form, for this graph."""
        return self.counted <= self.sharpened

    @property
    def proved(self) -> float:
        """The sharpened C where the proof covers it, else what is proved."""
        return max(self.sharpened, self.counted)


def constants(graph: Graph, inputs: Mapping[str, Extents], batch: int = 1) -> Constants:
    """Read the theorem's constants off a graph.

    Parameters
    ----------
    graph
        Without a final softmax.
    inputs
        Shapes, by name.
    batch
        How many samples they hold.

    Raises
    ------
    UnsupportedError
        If an activation is outside the theorem (LeakyReLU is within it, ReLU6, Tanh and PReLU are not), or there is no
        input or output; names the node.
    """
    outputs = outgoing(graph, inputs)
    total = joined(outputs, ())
    d_in = sum(map(prod, inputs.values())) // batch
    d_out = sum(prod(y.shape) for y in outputs) // batch
    if not d_in or not d_out:
        raise UnsupportedError("1375", "a network without inputs or outputs does not learn")
    return Constants(
        total.layers, len(total.kinds), total.fan_in, total.pools, d_in, d_out, total.log_count
    )  # fmt: skip


def outgoing(graph: Graph, inputs: Mapping[str, Extents]) -> list[Paths]:
    """Return the paths that end in each of the outputs, as often as the graph lists it."""
    algebra = PathWords()
    results = run(graph, algebra, {name: Paths(shape) for name, shape in inputs.items()})
    return [algebra.signal(results[graph.name_of(v)]) for v in graph.outputs]


def _root(x: float) -> float:
    """√x, rounded up by more than the roundings of the few logarithms in it."""
    return nextafter(sqrt(x) * (1 + 1e-13), inf)
