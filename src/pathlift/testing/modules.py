"""PyTorch modules in a line each, for tests of what reads them.

>>> from pathlift.testing.modules import Net, weight
>>> low_rank = Net(lambda m, x: x @ (m.u @ m.v), u=weight(4, 2), v=weight(2, 3))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Net", "weight"]


class Net(nn.Module):
    """Computes ``f(self, x)`` from the tensors and modules it is given."""

    def __init__(self, f: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        self.f = f
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.f(self, x)


def weight(*shape: int) -> nn.Parameter:
    """Return a trainable tensor of random values."""
    return nn.Parameter(torch.randn(shape))
