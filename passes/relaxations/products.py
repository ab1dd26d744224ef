"""Products of two values, about the centres of their boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pathlift.passes.intervals.box import SMALLEST, gamma
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.rounding import MORE, below, dot, size
from pathlift.passes.tape.steps import Bilinear

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class _About:
    """B(x, y) = B(x, cy) + B(cx, y) − B(cx, cy) + B(x − cx, y − cy), the last within ±B(rx, ry)."""

    step: Bilinear
    cx: Tensor
    cy: Tensor
    constant: Tensor
    rest: Tensor
    off: Tensor

    @classmethod
    def of(cls, step: Bilinear, x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> _About:
        """From centres and radii."""
        (cx, rx), (cy, ry) = x, y
        n = gamma(step.terms + cx.numel() + cy.numel() + 8)
        f = step.product
        mx, my = cx.abs() + rx, cy.abs() + ry
        # The constant, and both transposes on magnitudes (`backward`).
        rounding = f(cx.abs(), cy.abs()) + f(mx, cy.abs()) + f(cx.abs(), my)
        rest = f(rx, ry)
        off = 2 * n * (rounding + rest) * MORE + cx.numel() * SMALLEST
        return cls(step, cx, cy, f(cx, cy), rest, off)

    def rows(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of x and of y, and the offset, rounded down."""
        x = _transposed(lambda v: self.step.product(v, self.cy), self.cx, p)
        y = _transposed(lambda v: self.step.product(self.cx, v), self.cy, p)
        known = below(dot(p, -self.constant) + dot(p.abs(), -self.rest))
        return x, y, below(known - size(p, self.off))


@dataclass(frozen=True, eq=False)
class ProductRelaxation:
    """Lower bounds of P·B(x, y) + Q·(B(x', y') − B(x, y)); the difference is B(δx, y') + B(x, δy)."""

    plain: _About
    left: _About | None
    right: _About | None

    @classmethod
    def of(cls, step: Bilinear, x: Triple, y: Triple, *, alone: bool) -> ProductRelaxation | None:
        """From what is known of the operands; ``None`` where that is not bounded."""
        boxes = [x.a, y.a] if alone else [x.a, y.a, x.d, y.b, y.d]
        if not all(b.bounded for b in boxes):
            return None
        xa, ya = x.a.centre_radius(), y.a.centre_radius()
        plain = _About.of(step, xa, ya)
        if alone:
            return cls(plain, None, None)
        return cls(
            plain,
            _About.of(step, x.d.centre_radius(), y.b.centre_radius()),
            _About.of(step, xa, y.d.centre_radius()),
        )

    def rows(self, p: Tensor, q: Tensor | None) -> tuple[list[tuple[int, Tensor, Tensor | None]], Tensor]:
        """Rows of the operands, each with the operand's position, and the offset, rounded down."""
        x, y, offset = self.plain.rows(p)
        if q is None:
            return [(0, x, None), (1, y, None)], offset
        assert self.left is not None
        assert self.right is not None
        dx, yb, more = self.left.rows(q)  # y' = y + δy
        xa, dy, rest = self.right.rows(q)
        parts = [(0, x, dx), (0, xa, torch.zeros_like(xa)), (1, y, dy), (1, yb, yb)]
        return list(parts), below(below(offset + more) + rest)


def _transposed(f: Callable[..., Tensor], like: Tensor, rows: Tensor) -> Tensor:
    pull = torch.func.vjp(f, torch.zeros_like(like))[1]
    result: Tensor
    (result,) = torch.func.vmap(pull)(rows)
    return result
