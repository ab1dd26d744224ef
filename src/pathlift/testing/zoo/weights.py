"""Random weights that keep the signal at a sensible scale, and realistic running statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def randomize(module: nn.Module, seed: int) -> None:
    """Fill every parameter in place: He-normal weights, norm scales in [0.5, 1.5], the rest normal of 0.02."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for owner in module.modules():
            for name, param in owner.named_parameters(recurse=False):
                if name == "weight" and isinstance(owner, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    # kernel and stride of the transposed convolutions agree: each output sees each input channel once
                    fan = param.shape[0] if isinstance(owner, nn.ConvTranspose2d) else param[0].numel()
                    param.normal_(0.0, (2.0 / fan) ** 0.5, generator=generator)
                elif name == "weight" and param.ndim == 1:
                    param.uniform_(0.5, 1.5, generator=generator)
                else:
                    param.normal_(0.0, 0.02, generator=generator)


def calibrate(module: nn.Module, example: Tensor) -> None:
    """Set the running statistics of every batch normalization to those of one random batch.

    With made-up statistics the signal of a deep residual network grows by a constant factor per block.
    """
    norms = [norm for norm in module.eval().modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches seen, here one
        norm.train()
    if norms:
        with torch.no_grad():
            module(example)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
