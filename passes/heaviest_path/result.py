"""Results of the heaviest path: its start, its steps, and their factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Position = tuple[int, ...]


@dataclass(frozen=True)
class PathFactor:
    """What a path is multiplied by at one place.

    Parameters
    ----------
    node, op
        Label and op of the node.
    parameter, index
        Name of the tensor, and the element of it. Where the factor is computed from several tensors (a batch norm's
        scale and shift), those of the first: γ and β. ``None`` and ``()`` for coefficients that are no tensor.
    value
        The factor: the element itself, unless it is computed from it.
    """

    node: str
    op: str
    parameter: str | None
    index: Position
    value: float


@dataclass(frozen=True)
class PathStart(PathFactor):
    """Where a path starts: at an element of a graph input, or at a bias, whose value is the first factor.

    For an input, `node` is its name, `op` is ``Input``, `index` the position in it, and `value` 1.
    """


@dataclass(frozen=True)
class PathStep(PathFactor):
    """An edge of a path: a weight, the scale of a batch norm, a slope, a coefficient, the choice of a pool (1).

    Parameters
    ----------
    position
        The output element of the node that the edge arrives at.
    """

    position: Position


@dataclass(frozen=True)
class HeaviestPathResult:
    """A path with the largest absolute product of weights; of equally heavy ones, one of the lowest indices.

    Parameters
    ----------
    log10
        Decimal logarithm of |product of all factors, that of the start included|; ``None`` if every path has weight 0,
        and then there is no path.
    start
        Where it starts.
    steps
        The edges it passes, in order. What only moves, adds up or lets pass (views, sums, ReLU) is no step.
    output, position
        Name of the graph output, and the element of it, where the path ends.
    assumptions
        What was read as what.
    """

    log10: float | None
    start: PathStart | None
    steps: tuple[PathStep, ...]
    output: str
    position: Position
    assumptions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the path in plain JSON types, without what it rests on."""
        return {key: value for key, value in asdict(self).items() if key != "assumptions"}
