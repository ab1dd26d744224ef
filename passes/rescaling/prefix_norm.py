"""Prefix path-norms: for every cell, the q-norm of the paths that lead to it from inputs and biases.

A rescaling multiplies the prefix norm of a cell by the cell's own factor, and by nothing else. Dividing by it therefore
leads to the same weights from every rescaled copy of a network. Kernels count whole, without borders, and pools as
sums: what is found does not depend on the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from pathlift.ir.primitives.maps import Contract
from pathlift.ir.types import Array, not_finite
from pathlift.passes.channels.observer import MagnitudeObserver
from pathlift.passes.channels.parameters import ParamExpr
from pathlift.passes.channels.products import ChannelProduct
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.linear import apply_linear
from pathlift.passes.fields.power import Scratch, power
from pathlift.passes.fields.scaled import Scaled
from pathlift.passes.fields.semiring import Sums

Tensor = torch.Tensor
_AT_ONCE = 2**18
"""Weights whose powers are held at once."""


class PrefixNorm(MagnitudeObserver):
    """Sums over paths of the q-th power of the product of their weights, by cell.

    Parameters
    ----------
    q
        In (0, ∞).
    """

    def __init__(self, q: float) -> None:
        self.semiring = Sums(q)
        self._m, self._e = torch.zeros(1024, dtype=torch.float64), torch.zeros(1024, dtype=torch.int64)
        self._scratch = Scratch()

    def sums(self, cells: Array) -> tuple[Array, Array]:
        """Return mantissas in [1/2, 1) or 0, and exponents, of the sums at some cells."""
        s = self._at(cells).spread()
        return s.m.numpy(), s.exponents().numpy()

    # ---- what Ties tells

    def fixed(self, y: Array) -> None:
        self._put(y, Scaled(torch.ones(y.shape, dtype=torch.float64), 0, 0, 0, 0))

    def constant(self, y: Array, c: ParamExpr) -> None:
        edges = self._powers(c)
        self._put(y, edges.moved(lambda t: t.expand(y.shape)))

    def linear(self, y: Array, p: ChannelProduct, w: ParamExpr) -> None:
        weights, x = self._values(w).reshape(*p.matrix, *w.shape[len(w.shape) - p.summed :]), self._at(p.read)
        for rows, part in _pieces(weights, p.rows):
            edges = power(part, self.semiring.q, torch.float64, self._scratch)
            for _ in range(p.summed):
                edges = edges.over(edges.rank - 1, self.semiring)
            result = apply_linear(Contract(p.equation), Field.plain(x), edges, self.semiring).value
            self._put(y if p.rows is None else y.take(rows, p.rows[1]), result)

    def sum(self, y: Array, a: Array, b: Array | ParamExpr) -> None:
        other = self._powers(b) if isinstance(b, ParamExpr) else self._at(b)
        if isinstance(b, ParamExpr):  # positions share a cell: the largest of their biases counts
            shape = (1,) * (y.ndim - other.rank) + tuple(other.m.shape)
            for axis, n in enumerate(shape):
                if n > 1 and y.shape[axis] == 1:
                    other = _largest(other.lifted(y.ndim), axis)
        self._put(y, self._at(a).plus(other, self.semiring))

    def scaled(self, y: Array, x: Array, c: ParamExpr | float, *, reciprocal: bool = False) -> None:
        if isinstance(c, ParamExpr):
            edges = self._powers(c, (lambda t: 1 / t) if reciprocal else None)
        else:
            edges = power(torch.tensor(c, dtype=torch.float64), self.semiring.q, torch.float64)
        for axis in range(y.ndim):
            if y.shape[axis] == 1 and edges.lifted(y.ndim).m.shape[axis] > 1:
                edges = _largest(edges.lifted(y.ndim), axis)
        self._put(y, self._at(x).times(edges))

    def sloped(self, y: Array, x: Array, slope: ParamExpr) -> None:
        self._put(y, self._at(x).times(self._powers(slope, lambda t: t.abs().clamp(min=1))))

    def largest(self, y: Array, x: Array, axis: int) -> None:
        self._put(y, _largest(self._at(x), axis))

    def combined(self, y: Array, x: Array, axis: int, count: int, coefficient: float) -> None:
        total = self._at(x)
        if x.shape[axis] > 1:
            total = total.over(axis, self.semiring).moved(lambda t: t.unsqueeze(axis))
        else:
            total = total.times(Scaled.of(torch.tensor(float(count), dtype=torch.float64)))
        if coefficient != 1:
            total = total.times(power(torch.tensor(coefficient, dtype=torch.float64), self.semiring.q, torch.float64))
        self._put(y, total)

    # ---- the table

    def _at(self, cells: Array) -> Scaled:
        index = torch.from_numpy(np.array(cells))
        return Scaled(self._m[index], self._e[index]).compact()

    def _put(self, cells: Array, values: Scaled) -> None:
        needed = int(cells.max(initial=0)) + 1
        if needed > len(self._m):
            for table in (self._m, self._e):  # one after the other: not both are twice in memory
                known = len(table)
                table.resize_(needed + needed // 4)
                table[known:] = 0
        index, s = torch.from_numpy(np.array(cells)), values.spread()
        self._m[index], self._e[index] = s.m.expand(cells.shape), s.exponents().expand(cells.shape)

    def _values(self, c: ParamExpr) -> Tensor:
        _check_finite(c)
        values: Tensor = c.value()
        return values

    def _powers(self, c: ParamExpr, f: Callable[[Tensor], Tensor] | None = None) -> Scaled:
        values = self._values(c)
        return power(values if f is None else f(values.double()), self.semiring.q, torch.float64)


def _pieces(weights: Tensor, rows: tuple[int, int] | None) -> Iterator[tuple[range, Tensor]]:
    """Cut weights into pieces of rows of the result, so that not all powers are held at once."""
    if rows is None:
        yield range(0), weights
        return
    count = weights.shape[rows[0]]
    step = max(1, _AT_ONCE * count // max(1, weights.numel()))
    for start in range(0, count, step):
        yield range(start, min(start + step, count)), weights.narrow(rows[0], start, min(step, count - start))


def _largest(s: Scaled, axis: int) -> Scaled:
    """The largest element along an axis, which stays with extent 1."""
    logs = s.log2().argmax(axis, keepdim=True)
    v = s.spread()
    return Scaled(v.m.gather(axis, logs), v.exponents().gather(axis, logs)).compact()


def _check_finite(c: ParamExpr) -> None:
    if c.param is not None and c.param.non_finite:
        raise not_finite(c.name, c.param.numpy())
    for part in c.parts:
        _check_finite(part)
