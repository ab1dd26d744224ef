"""Factors as dense matrices of torch's, and the refusal of operands that do not fit them."""

from __future__ import annotations

import torch
from torch import Tensor

from pathlift.ir.errors import UsageError


def misfit(reason: str) -> UsageError:
    """Return what is raised where operands of a layer do not fit each other."""
    return UsageError("1448", f"operands of a Kronecker-sparse layer do not fit: {reason}")


def expand(factor: Tensor) -> Tensor:
    """Return a factor (a, d, b, c) as a dense matrix, (a·b·d, a·c·d)."""
    a, d, b, c = factor.shape
    matrix = factor.new_zeros(a, b, d, a, c, d)
    i, m = torch.arange(a, device=factor.device)[:, None], torch.arange(d, device=factor.device)
    matrix[i, :, m, i, :, m] = factor
    return matrix.reshape(a * b * d, a * c * d)
