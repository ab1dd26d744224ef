"""Backward substitution: linear functionals of what two networks compute, bounded from below over all inputs.

Rows (P_v, Q_v) per value v and a constant κ make up the claim

    objective ≥ Σ_v P_v·z_v + Q_v·δ_v + κ     for every input of the domain, δ = z_b − z_a, z = z_a.

Steps are taken away from the last to the first, each by what it says about its operands: an affine step exactly, with
δ' = W_b·δ + (W_b − W_a)·z; a gate by a relaxation; what has no relaxation by its boxes. At the inputs, boxes bound the
rest. Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions (CROWN, 2018),
did so for one network; Paulsen et al., ReluDiff (2020), brought the difference in.

Rounding. The rows are numbers of our choice, so they need not be exact: it counts only how far the two sides of a step
may be apart. At an affine step y = L·z + c, rows P of y are replaced by P' = fl(Lᵀ·P) and κ by κ + fl(P·c). Elementwise
|P' − LᵀP| ≤ γₙ|L|ᵀ|P|, so the sides differ by at most

    γₙ·|P|·(|L|·|z| + |c|), and |P|·(E·|z|) where coefficients are off by at most E,

with the magnitudes |z| of the boxes: one application of |L| per step, one product per row. The same holds for Q with
|L_b|·|δ| + |L_b − L_a|·|z| + |c_b − c_a|. Where rows meet at a value, each sum is off by u·|sum|·|z| at most. κ is
rounded down at each addition. Gates take their own errors off (`gates`, `hexagon`, `lines`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pathlift.passes.intervals.box import SMALLEST, U, gamma
from pathlift.passes.intervals.elementwise import Curve
from pathlift.passes.relaxations.forms import Form, Known, Rows
from pathlift.passes.relaxations.gates import Chosen, GateRelaxation
from pathlift.passes.relaxations.products import ProductRelaxation
from pathlift.passes.relaxations.rounding import MORE, below, dot, flat, floor, size, total
from pathlift.passes.tape.affine import Affine
from pathlift.passes.tape.steps import Bilinear, Gate, Within
from pathlift.passes.tape.tape import Tape
from pathlift.passes.tape.transposes import transposed

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Off:
    """How far a step's transposes may be off, per unit of P and of Q, of the step's shape."""

    p: Tensor
    q: Tensor | None


class Backward:
    """Backward substitution through two tapes, or through one alone.

    Relaxations are made once. So what is known of a value must not change once rows have passed it.

    Parameters
    ----------
    first, second
        Tapes that agree step by step; ``None`` for the first one alone.
    triples
        What is known of every value; for one network alone, ``a`` of each is it.
    """

    def __init__(self, first: Tape, second: Tape | None, triples: Known) -> None:
        self.first, self.second, self.triples = first, second, triples
        self._gates: dict[int, GateRelaxation] = {}
        self._products: dict[int, ProductRelaxation | None] = {}
        self._off: dict[int, Off] = {}
        self._rests: dict[int, Affine | None] = {}

    def lower(
        self,
        rows: Mapping[int, Rows],
        slopes: Mapping[int, Chosen] | None = None,
        used: dict[int, Chosen] | None = None,
    ) -> Tensor:
        """Bound Σ_v P_v·z_v + Q_v·δ_v from below.

        Parameters
        ----------
        rows
            By value.
        slopes
            Of gates, by the value that the gate computes.
        used
            Where to note the slopes that are free, by gate.

        Returns
        -------
        Tensor
            ``(R,)``, float64, rounded down.
        """
        return self.form(rows, slopes, used).least(self.triples)

    def form(
        self,
        rows: Mapping[int, Rows],
        slopes: Mapping[int, Chosen] | None = None,
        used: dict[int, Chosen] | None = None,
        *,
        rounded: bool = True,
    ) -> Form:
        """Bound Σ_v P_v·z_v + Q_v·δ_v from below by affine functions of the inputs.

        Parameters
        ----------
        rows, slopes, used
            As in `lower`.
        rounded
            Whether roundings count: without them it is no bound, but cheaper, and what a search climbs.
        """
        fold = _Fold(self.triples, rows, rounded)
        inputs = len(self.first.inputs)
        for value in range(max(rows), inputs - 1, -1):
            if value not in fold.rows:
                continue
            p, q = fold.rows.pop(value)
            step = self.first.steps[value - inputs]
            chosen = slopes.get(value) if slopes else None
            match step:
                case Affine():
                    self._affine(fold, value, step, p, q)
                case Gate():
                    gate = self._gate(value, step)
                    p, q, offset, free = (gate.rows if rounded else gate.unrounded)(p, q, chosen)
                    fold.gain(offset)
                    fold.add(step.inputs[0], p, q)
                    if used is not None and free is not None:
                        used[value] = free
                case Within():
                    fold.add(step.inputs[0], p, q)
                case Bilinear() if (product := self._product(value, step)) is not None:
                    parts, offset = product.rows(p, q)
                    fold.gain(offset)
                    for position, p_, q_ in parts:
                        fold.add(step.inputs[position], p_, q_)
                case _:
                    fold.settle(value, p, q)
        return Form({value: (p, q) for value, (p, q) in fold.rows.items()}, fold.constant, rounded)

    def _affine(self, fold: _Fold, value: int, step: Affine, p: Tensor, q: Tensor | None) -> None:
        off = self._rounding(value, step) if fold.rounded else None
        if off is not None:
            fold.gain(-size(p, off.p))
        if step.constant is not None:
            fold.weigh(p, step.constant.values.expand(step.shape))
        ours = transposed(step, p)
        if q is None:
            for i, row in zip(step.inputs, ours, strict=True):
                fold.add(i, row, None)
            return
        assert self.second is not None
        if off is not None:
            assert off.q is not None
            fold.gain(-size(q, off.q))
        theirs = self.second.steps[value - len(self.first.inputs)]
        assert isinstance(theirs, Affine)
        rest = self._rest(value, step)
        through = transposed(theirs, q)
        if rest is not None:
            if rest.constant is not None:
                fold.weigh(q, rest.constant.values.expand(step.shape))
            if rest.inputs:
                ours = [x + y for x, y in zip(ours, transposed(rest, q), strict=True)]
        for i, x, y in zip(step.inputs, ours, through, strict=True):
            fold.add(i, x, y)

    def _rest(self, value: int, step: Affine) -> Affine | None:
        if value not in self._rests:
            assert self.second is not None
            theirs = self.second.steps[value - len(self.first.inputs)]
            assert isinstance(theirs, Affine)
            self._rests[value] = theirs.minus(step)
        return self._rests[value]

    def _rounding(self, value: int, step: Affine) -> Off:
        if value not in self._off:
            # An element of a transpose adds up at most as many products as the result has elements, and each was
            # moved and scaled a few times; then come the rest of the other network and P·c.
            n = gamma(2 * torch.Size(step.shape).numel() + step.terms + 8)
            za = [self.triples[i].a.magnitude for i in step.inputs]
            p = _moved(step, za, n)
            q = None
            if self.second is not None:
                theirs = self.second.steps[value - len(self.first.inputs)]
                assert isinstance(theirs, Affine)
                rest = self._rest(value, step)
                q = _moved(theirs, [self.triples[i].d.magnitude for i in step.inputs], n, constant=False)
                if rest is not None:
                    q = q + _moved(rest, za if rest.inputs else [], n)
            self._off[value] = Off(p * MORE, None if q is None else q * MORE)
        return self._off[value]

    def _gate(self, value: int, step: Gate) -> GateRelaxation:
        if value not in self._gates:
            theirs = None
            if self.second is not None:
                other = self.second.steps[value - len(self.first.inputs)]
                assert isinstance(other, Gate)
                theirs = Curve.of(other)
            operand = self.triples[step.inputs[0]]
            self._gates[value] = GateRelaxation(Curve.of(step), theirs, operand, self.triples[value])
        return self._gates[value]

    def _product(self, value: int, step: Bilinear) -> ProductRelaxation | None:
        if value not in self._products:
            x, y = (self.triples[i] for i in step.inputs)
            self._products[value] = ProductRelaxation.of(step, x, y, alone=self.second is None)
        return self._products[value]


class _Fold:
    """Rows that wait at values, and the constant."""

    def __init__(self, triples: Known, rows: Mapping[int, Rows], rounded: bool) -> None:
        self.triples, self.rounded = triples, rounded
        self.rows = dict(rows)
        p, _ = next(iter(rows.values()))
        self.constant = torch.zeros(p.shape[0], dtype=torch.float64, device=p.device)

    def gain(self, x: Tensor) -> None:
        """Add lower bounds to the constant."""
        total = self.constant + x
        self.constant = below(total) if self.rounded else total

    def weigh(self, rows: Tensor, values: Tensor) -> None:
        """Add Σ row·value."""
        self.gain(dot(rows, values) if self.rounded else flat(rows) @ values.flatten().to(rows.dtype))

    def add(self, value: int, p: Tensor, q: Tensor | None) -> None:
        """Put rows to a value, on top of what waits there."""
        if value not in self.rows:
            self.rows[value] = p, q
            return
        known, difference = self.rows[value]
        p = known + p
        t = self.triples[value]
        if self.rounded:
            self.gain(-size(p, U * t.a.magnitude))
        if q is not None:
            assert difference is not None
            q = difference + q
            if self.rounded:
                self.gain(-size(q, U * t.d.magnitude))
        self.rows[value] = p, q

    def settle(self, value: int, p: Tensor, q: Tensor | None) -> None:
        """Bound rows by what is known of the value."""
        self.gain(total(floor(p, q, self.triples[value])))


def _moved(step: Affine, magnitudes: Sequence[Tensor], n: float, *, constant: bool = True) -> Tensor:
    """How far one product with the transpose, and with the constant, may be off; of the step's shape."""
    off = torch.zeros(step.shape, dtype=torch.float64)
    if step.inputs:
        off = off + n * step.absolute(*magnitudes)
        uncertain = step.uncertainty(*magnitudes)
        if uncertain is not None:
            off = off + uncertain
        off = off + SMALLEST * (1 + sum(float(m.nan_to_num(0.0, 0.0).sum()) for m in magnitudes))
    if constant and step.constant is not None:
        off = off + n * step.constant.size
        if step.constant.error is not None:
            off = off + step.constant.error
    return off.nan_to_num(torch.inf, torch.inf)
