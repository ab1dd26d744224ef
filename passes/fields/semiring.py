"""Semirings of path products: where paths meet, their q-th powers are added up, or the largest is kept.

The sum over paths of |product of weights|^q is one evaluation of the graph in the semiring (+, ×), with every weight
replaced by |w|^q; the largest path product is one in (max, ×), with |w|. Weights and biases are all that differs
between exponents; q = 0 counts non-zero paths, since |w|^0 is 1 for every weight that is an edge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil, inf, log2
from typing import Any, ClassVar

import numpy as np
import torch

Tensor = torch.Tensor


class Semiring(ABC):
    """Two operations on non-negative tensors; the product is always the ordinary one."""

    ufunc: ClassVar[np.ufunc]
    """The operation, on numpy arrays."""

    @property
    @abstractmethod
    def power(self) -> float:
        """What weights are raised to."""

    @abstractmethod
    def plus(self, a: Tensor, b: Tensor) -> Tensor:
        """Elementwise."""

    @abstractmethod
    def over(self, x: Tensor, axis: int) -> Tensor:
        """Reduce one axis."""

    @abstractmethod
    def matmul(self, w: Tensor, x: Tensor) -> Tensor:
        """``(…, O, I) × (…, I, P) → (…, O, P)``."""

    @abstractmethod
    def multiple(self, counts: Tensor) -> Tensor:
        """By what a value is multiplied when it is combined with its equals, so many of them, at least one."""

    @abstractmethod
    def growth(self, terms: float) -> int:
        """A bound on log2 of (result / largest term)."""

    @abstractmethod
    def additions(self, terms: int) -> int:
        """How many roundings the result of that many terms adds."""

    @property
    def root(self) -> float:
        """What the final result is raised to, to be a norm."""
        return 1 / self.power if self.power else 1.0


@dataclass(frozen=True)
class Sums(Semiring):
    """(+, ×) of q-th powers: ‖Φ‖_q^q; the number of paths for q = 0."""

    q: float
    ufunc: ClassVar[np.ufunc] = np.add

    @property
    def power(self) -> float:
        return self.q

    def plus(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def over(self, x: Tensor, axis: int) -> Tensor:
        return x.sum(axis)

    def matmul(self, w: Tensor, x: Tensor) -> Tensor:
        return w @ x

    def multiple(self, counts: Tensor) -> Tensor:
        return counts

    def growth(self, terms: float) -> int:
        return ceil(log2(max(1.0, terms)))

    def additions(self, terms: int) -> int:
        return terms


@dataclass(frozen=True)
class Maxima(Semiring):
    """(max, ×): the largest |product| of a path, q = ∞."""

    ufunc: ClassVar[np.ufunc] = np.maximum

    @property
    def power(self) -> float:
        return 1.0

    def plus(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.where(a >= b, a, b)  # `maximum` would split the gradient of a tie between two paths

    def over(self, x: Tensor, axis: int) -> Tensor:
        return x.max(axis).values if x.shape[axis] else x.sum(axis)

    def matmul(self, w: Tensor, x: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(w.shape[:-2], x.shape[:-2])  # type: ignore[no-untyped-call]  # torch has no types for it
        w, x = w.expand(*lead, *w.shape[-2:]), x.expand(*lead, *x.shape[-2:])
        result: Tensor = _MaxMatmul.apply(w, x)  # type: ignore[no-untyped-call]  # torch has no types for it
        return result

    def multiple(self, counts: Tensor) -> Tensor:
        return torch.ones_like(counts)

    def growth(self, terms: float) -> int:
        return 0

    def additions(self, terms: int) -> int:
        return 0


def semiring(q: float) -> Semiring:
    """The semiring whose root of the total is the q-norm."""
    return Maxima() if q == inf else Sums(q)


class _MaxMatmul(torch.autograd.Function):
    """``y[o, p] = max over i of w[o, i] · x[i, p]``; the gradient goes to one largest term."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, x: Tensor) -> Tensor:
        best = w.new_zeros(*w.shape[:-1], x.shape[-1])
        term = torch.empty_like(best)
        winner = torch.zeros(best.shape, dtype=torch.int64, device=w.device) if any(ctx.needs_input_grad) else None
        for i in range(w.shape[-1]):  # term by term: the products of all at once would leave the cache
            torch.mul(w[..., i : i + 1], x[..., i : i + 1, :], out=term)
            if winner is not None:
                winner.masked_fill_(term > best, i)
            torch.maximum(best, term, out=best)
        if winner is not None:
            ctx.save_for_backward(w, x, winner)
        return best

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (g,) = grads
        w, x, winner = ctx.saved_tensors
        columns = winner.transpose(-1, -2)  # (…, P, O): which input each output of a column took
        taken = x.transpose(-1, -2).gather(-1, columns).transpose(-1, -2)
        grad_w = torch.zeros_like(w, memory_format=torch.contiguous_format).scatter_add(-1, winner, g * taken)
        weights = w.gather(-1, winner)
        grad_x = torch.zeros_like(x, memory_format=torch.contiguous_format).scatter_add(-2, winner, g * weights)
        return grad_w, grad_x
