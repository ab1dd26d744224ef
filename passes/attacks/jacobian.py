"""Jacobians of networks, and the directions in which they are largest."""

from __future__ import annotations

import torch

from pathlift.passes.attacks.domain import Domain, Point
from pathlift.passes.attacks.network import Network

Tensor = torch.Tensor
FEW_OUTPUTS = 6
"""Up to so many outputs all their signs are tried."""
ALTERNATIONS = 5


class Jacobian:
    """The derivatives of a network's outputs by the open elements of a box; 0 by those that have one value there."""

    def __init__(self, network: Network, domain: Domain) -> None:
        self.network, self.domain = network, domain
        self.open = (domain.flat_high > domain.flat_low).double()

    def __call__(self, inputs: Point) -> Tensor:
        """Return ``(batch, outputs, elements)``, differentiable where gradients are asked for."""
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            x = self.domain.flat(inputs)
            if not x.requires_grad:
                x = x.detach().requires_grad_()
            y = self.network(self.domain.unflat(x))
            if not y.requires_grad:
                return x.new_zeros(len(x), y.shape[1], x.shape[1])
            rows = [
                torch.autograd.grad(column.sum(), x, retain_graph=True, create_graph=wanted, allow_unused=True)[0]
                for column in y.unbind(1)
            ]
        return torch.stack([x.new_zeros(x.shape) if row is None else row for row in rows], 1) * self.open[:, None]

    def norms(self, inputs: Point) -> Tensor:
        """Return what `measured` says of the Jacobians at points: an objective."""
        return self.measured(self(inputs))

    def measured(self, matrix: Tensor) -> Tensor:
        """Return ``(batch, outputs + 2)``: the rows' sums of absolute values, and norms from ∞ to 1 and from 2 to 2.

        That from ∞ to 1 is hard to compute (Rohn 2000, *Computing the norm ‖A‖∞,1 is NP-hard*); for more than a few
        outputs it is what a local search finds, and so a lower bound.
        """
        along = directions(matrix.detach())[:, -2:]
        rises = torch.einsum("bmn,bkn->bkm", matrix, along)
        largest, euclidean = rises[:, 0].abs().sum(1, keepdim=True), rises[:, 1].norm(dim=1, keepdim=True)
        return torch.cat([matrix.abs().sum(2), largest, euclidean], 1)

    def room(self, x: Tensor, direction: Tensor) -> float:
        """How far both ways from a point, ``(1, elements)``, the box reaches at least; half of it."""
        reach = torch.minimum(x - self.domain.flat_low, self.domain.flat_high - x)[0]
        moving = direction != 0
        return float((reach[moving] / direction[moving].abs()).min()) / 2 if bool(moving.any()) else 0.0


def directions(matrix: Tensor) -> Tensor:
    """Return the steps of length 1 along which outputs, their sum of absolute values, and their norm change most.

    Parameters
    ----------
    matrix
        ``(batch, outputs, elements)``.

    Returns
    -------
    Tensor
        ``(batch, outputs + 2, elements)``; all but the last of length 1 in the maximum norm, it in the Euclidean one.
    """
    safe = matrix.nan_to_num(0.0, 0.0, 0.0)
    spectral = torch.linalg.svd(safe, full_matrices=False).Vh[:, :1]
    return torch.cat([safe.sign(), _signs(safe), spectral], 1)


def _signs(matrix: Tensor) -> Tensor:
    """The signs s with the largest ‖J·s‖₁ that are found, ``(batch, 1, elements)``.

    For signs u of the outputs the best of the inputs are those of uᵀJ; of few outputs, all are tried. Otherwise either
    side's follow from the other's in turn, which never makes it less.
    """
    count = matrix.shape[1]
    if count <= FEW_OUTPUTS:
        u = torch.cartesian_prod(*[matrix.new_tensor([1.0, -1.0])] * count).reshape(-1, count)
        s = _sign(u @ matrix)
    else:
        s = _sign(torch.cat([matrix, matrix.sum(1, keepdim=True)], 1))
        for _ in range(ALTERNATIONS):
            s = _sign(_sign(s @ matrix.mT) @ matrix)
    best = (s @ matrix.mT).abs().sum(2).argmax(1)
    return s[torch.arange(len(s)), best][:, None]


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)
