"""Multi-layer perceptrons: ReLU, GroupSort in its two common spellings, MaxMin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pathlift.testing.zoo.convnets import channels


class GroupSort(nn.Module):
    """Sort the features within groups of ``size`` consecutive ones, ascending, by ``sort`` or by ``topk``."""

    def __init__(self, size: int, *, topk: bool = False) -> None:
        super().__init__()
        self.size, self.topk = size, topk

    def forward(self, x: Tensor) -> Tensor:
        groups = x.reshape(x.shape[0], -1, self.size)
        if self.topk:
            return groups.topk(self.size, dim=2, largest=False).values.flatten(1)
        return groups.sort(dim=2).values.flatten(1)


class MaxMin(nn.Module):
    """Pair the first half of the features with the second: their maxima, then their minima."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return torch.cat((torch.maximum(first, second), torch.minimum(first, second)), dim=1)


def mlp(act: Callable[[], nn.Module], *, width: float, depth: int = 3, inputs: int = 784) -> nn.Module:
    """Perceptron with ``depth`` hidden layers of 256 features and ten outputs."""
    hidden = channels(256 * width)
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(hidden if index else inputs, hidden), act()]
    return nn.Sequential(*layers, nn.Linear(hidden, 10))
