"""Classifiers of digits that `benchmarks.pruning` prunes: how they are made, trained and masked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from benchmarks.compare_networks import BATCH, RATE, cnn, digits, mlp
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from pathlift.ir.types import Array

TRAINING, TEST, NOISE = 4000, 2000, 0.15


@dataclass(frozen=True)
class Data:
    """Images and labels, for training and for tests."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class Task:
    """A network, its data, and for how many epochs it is trained, and trained on."""

    make: Callable[[], nn.Module]
    data: Callable[[], Data]
    epochs: int
    more: int


@cache
def small(shape: tuple[int, ...]) -> Data:
    x, y, test_x, test_y = (torch.from_numpy(np.asarray(part)) for part in digits())
    return Data(x.reshape(-1, *shape), y, test_x.reshape(-1, *shape), test_y)


@cache
def distorted() -> Data:
    """Digits on 16 × 16 pixels: turned, scaled, moved, and under noise; those of the tests are of test digits."""
    generator, plain = torch.Generator().manual_seed(0), small((1, 8, 8))

    def drawn(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(x), (count,), generator=generator)
        angle, size, *shift = (torch.rand(4, count, generator=generator) * 2 - 1) * torch.tensor(
            [[0.4], [0.2], [0.25], [0.25]]
        )
        cos, sin = torch.cos(angle) * (1.2 + size), torch.sin(angle) * (1.2 + size)
        where = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
        grid = nn.functional.affine_grid(where, [count, 1, 16, 16], align_corners=False)
        images = nn.functional.grid_sample(x[chosen], grid, align_corners=False)
        return images + NOISE * torch.randn(images.shape, generator=generator), y[chosen]

    return Data(*drawn(plain.x, plain.y, TRAINING), *drawn(plain.test_x, plain.test_y, TEST))


def larger_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


TASKS = {
    "digits MLP": Task(partial(mlp, 3), partial(small, (64,)), 20, 3),
    "digits CNN": Task(cnn, partial(small, (1, 8, 8)), 10, 2),
    "distorted digits, CNN": Task(larger_cnn, distorted, 7, 1),
}


def train(module: nn.Module, data: Data, epochs: int, seed: int) -> nn.Module:
    """Train in place; masks stay."""
    torch.manual_seed(seed)
    adam = torch.optim.Adam(module.parameters(), RATE)
    module.train()
    for _ in range(epochs):
        for part in torch.randperm(len(data.x)).split(BATCH):
            adam.zero_grad()
            nn.functional.cross_entropy(module(data.x[part]), data.y[part]).backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            adam.step()
    return module.eval()


def made(task: Task, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return train(task.make(), task.data(), task.epochs, seed)


def accuracy(module: nn.Module, data: Data) -> float:
    with torch.no_grad():
        return float((module(data.test_x).argmax(1) == data.test_y).double().mean())


def masked(module: nn.Module, masks: Mapping[str, Array]) -> nn.Module:
    """Return a copy with masks on parameters, by name, as `pathlift.prune_module` leaves them."""
    result = copy.deepcopy(module)
    for name, mask in masks.items():
        path, _, parameter = name.rpartition(".")
        layer = result.get_submodule(path)
        torch_prune.custom_from_mask(layer, parameter, torch.from_numpy(mask))  # type: ignore[no-untyped-call]  # torch has no types for it
    return result
