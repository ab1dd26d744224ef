"""Idioms of PyTorch code as its exporter writes them: a path-norm, equal to the module's own with |θ| for θ.

None of these modules multiplies two values computed from the data, so none may be refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pathlift
from pathlift.frontend.export import export
from pathlift.testing import onnxruntime_session


class Idiom(nn.Module):
    """A convolution, an idiom, and a convolution."""

    def __init__(self, idiom: Callable[[Tensor], Tensor], channels: int = 8) -> None:
        super().__init__()
        self.stem, self.idiom = nn.Conv2d(3, 8, 3), idiom
        self.head = nn.Conv2d(channels, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.idiom(torch.relu(self.stem(x))))


def coordinates(x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    rows = torch.linspace(0, 1, h).view(1, 1, h, 1).expand(n, 1, h, w)
    return torch.cat([x, rows], 1)


def zero_channels(x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    return torch.cat([x, torch.zeros(n, 3, h, w)], 1)


def assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, ::2] = torch.relu(x[:, :, 1::2])
    return y


def pyramid(x: Tensor) -> Tensor:
    pooled = [F.interpolate(F.adaptive_avg_pool2d(x, bins), size=x.shape[2:], mode="bilinear") for bins in (1, 3, 4)]
    return torch.cat([x, *pooled], 1)


def channels_last(x: Tensor) -> Tensor:
    pooled = F.adaptive_avg_pool2d(x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), 1)
    return x + pooled


IDIOMS = {
    "pyramid pooling": (pyramid, 32),
    "adaptive pooling to more": (nn.AdaptiveAvgPool2d(13), 8),
    "area interpolation": (lambda x: F.interpolate(x, size=(7, 8), mode="area"), 8),
    "exact nearest interpolation": (lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"), 8),
    "advanced indexing": (lambda x: x[:, [7, 0, 3]], 3),
    "coordinate channels": (coordinates, 9),
    "zero channels": (zero_channels, 11),
    "assignment to a slice": (assigned, 8),
    "global pooling of channels last": (channels_last, 8),
    "masked fill": (lambda x: x.masked_fill(torch.eye(10, dtype=torch.bool)[:, :10], 0.0), 8),
}


def log10_with_absolute_weights(module: nn.Module, x: Tensor) -> float:
    net = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_()
        return float(net(torch.ones_like(x[:1])).sum().log10())


@pytest.mark.parametrize("name", IDIOMS)
def test_idiom(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Idiom(*IDIOMS[name]).eval(), torch.randn(3, 3, 12, 12)
    graph = pathlift.load(onnx_ir.to_proto(export(module, (1, 3, 12, 12))))

    result = pathlift.norm(graph)
    assert result.norms[0].is_path_norm
    assert result.log10 == pytest.approx(log10_with_absolute_weights(module, x), abs=1e-5)

    pathlift.save(graph, tmp_path / "saved.onnx")
    (found,) = onnxruntime_session(str(tmp_path / "saved.onnx")).run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-4, atol=1e-5)
