"""Constraints of uses on parameters: by which ratio of factors each must be multiplied."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pathlift.ir.rows import Rows, rows_of
from pathlift.ir.types import Array, Param
from pathlift.passes.channels.cells import PINNED, DisjointSets
from pathlift.passes.channels.parameters import ParamExpr

_NONE: Array = np.full((), PINNED)


@dataclass(frozen=True, eq=False)
class Scale:
    """A factor per element: that of `times` divided by that of `over`, arrays of cells that broadcast to the tensor.

    A parameter that divides (`divides`) is that way round a weight from the neurons `times` to the neurons `over`.
    """

    times: Array = field(default_factory=lambda: _NONE)
    over: Array = field(default_factory=lambda: _NONE)
    divides: bool = False

    @property
    def inverse(self) -> Scale:
        """1 over this."""
        return Scale(self.over, self.times, not self.divides)

    def rows(self, rows: Rows, rank: int) -> Scale:
        """That of some rows of a tensor of this rank."""
        return Scale(rows_of(self.times, rows, rank), rows_of(self.over, rows, rank), self.divides)


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a parameter by a node.

    Parameters
    ----------
    param, name
        The parameter.
    node
        Label of the node that uses it.
    scale
        What the use requires; empty arrays of cells for none.
    """

    param: Param
    name: str
    node: str
    scale: Scale


class ScaleConstraints:
    """Collects what uses require of parameters."""

    def __init__(self, cells: DisjointSets) -> None:
        self.cells = cells
        self.uses: list[Use] = []
        self._known: dict[int, tuple[ParamExpr, Scale]] = {}

    def require(self, c: ParamExpr, s: Scale, node: str) -> None:
        """Require that a parameter be multiplied by a scale."""
        if 0 in c.shape:
            return
        s = Scale(self._fitted(s.times, c.shape), self._fitted(s.over, c.shape), s.divides)
        first, *rest = c.parts or (c,)
        if c.rule == "leaf":
            assert c.param is not None
            self.uses.append(Use(c.param, c.name, node, s))
        elif c.rule == "broadcast":
            self.require(first, Scale(s.times.reshape(-1), s.over.reshape(-1), s.divides), node)
        elif c.rule == "sum":
            for part in c.parts:
                self.require(part, s, node)
        elif c.rule == "first" or (c.rule == "product" and all(p.shape == c.shape for p in c.parts)):
            for part in rest:
                if (known := self._known.get(id(part))) is not None and c.rule == "product":
                    s = self._quotient(s, known[1])
                else:
                    self.require(part, Scale(), node)
            self.require(first, s, node)
        else:
            self.cells.tie(s.times, s.over)
            for part in c.parts:
                self.require(part, Scale(), node)
        self._known[id(c)] = (c, s)

    def _fitted(self, cells: Array, shape: tuple[int, ...]) -> Array:
        """Bring cells to the rank of a tensor and tie those that one element of it stands for."""
        while cells.ndim > len(shape):
            cells = self.cells.tied(cells, 0)[0]
        cells = cells.reshape((1,) * (len(shape) - cells.ndim) + cells.shape)
        for axis, n in enumerate(shape):
            if n == 1:
                cells = self.cells.tied(cells, axis)
        return cells

    def _quotient(self, s: Scale, known: Scale) -> Scale:
        """Divide scales; what does not cancel is tied until it does."""
        if s.times.shape != known.times.shape or not (s.times == known.times).all():
            self.cells.tie(s.times, known.times)
        return Scale(known.over, s.over, s.divides)
