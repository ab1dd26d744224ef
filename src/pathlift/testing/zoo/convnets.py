"""Convolutional classifiers: VGG, ResNet, DenseNet, MobileNetV2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn


def channels(count: float) -> int:
    """Round a scaled channel count to a positive multiple of eight."""
    return max(8, int(count + 4) // 8 * 8)


def conv_bn(
    wide: int,
    out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    eps: float = 1e-5,
    act: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Bias-free convolution, batch normalization and, unless ``act`` is None, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(wide, out, kernel, stride=stride, padding=padding, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=eps),
    ]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


def head(features: int, classes: int = 1000) -> nn.Sequential:
    """Global average pooling and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))


VGG_STAGES = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(depth: int, *, bn: bool, image: int, width: float) -> nn.Module:
    """VGG of 11, 16 or 19 layers, with or without batch normalization; the image side is a multiple of 32."""
    layers: list[nn.Module] = []
    wide = 3
    for repeats, base in zip(VGG_STAGES[depth], (64, 128, 256, 512, 512), strict=True):
        out = channels(base * width)
        for _ in range(repeats):
            layers += [nn.Conv2d(wide, out, 3, padding=1), *([nn.BatchNorm2d(out)] if bn else []), nn.ReLU()]
            wide = out
        layers.append(nn.MaxPool2d(2))
    hidden = channels(4096 * width)
    classifier: list[nn.Module] = [nn.Flatten()]
    for features in (wide * (image // 32) ** 2, hidden):
        classifier += [nn.Linear(features, hidden), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, *classifier, nn.Linear(hidden, 1000))


class Residual(nn.Module):
    """``relu(body(x) + shortcut(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


RESNET_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int, *, width: float) -> nn.Module:
    """ResNet of 18 or 34 layers (basic blocks) or 50, 101 or 152 (bottlenecks; the stride is on the 3x3)."""

    def blocks() -> Iterator[nn.Module]:
        wide = channels(64 * width)
        for stage, repeats in enumerate(RESNET_STAGES[depth]):
            inner = channels(64 * 2**stage * width)
            out = inner if depth < 50 else 4 * inner
            for index in range(repeats):
                stride = 2 if stage and not index else 1
                body = _basic(wide, out, stride) if depth < 50 else _bottleneck(wide, inner, out, stride)
                same = wide == out and stride == 1
                yield Residual(body, nn.Identity() if same else conv_bn(wide, out, 1, stride=stride, act=None))
                wide = out
        yield head(wide)

    stem = channels(64 * width)
    return nn.Sequential(conv_bn(3, stem, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, padding=1), *blocks())


def _basic(wide: int, out: int, stride: int) -> nn.Module:
    return nn.Sequential(conv_bn(wide, out, 3, stride=stride, padding=1), conv_bn(out, out, 3, padding=1, act=None))


def _bottleneck(wide: int, inner: int, out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        conv_bn(wide, inner, 1),
        conv_bn(inner, inner, 3, stride=stride, padding=1),
        conv_bn(inner, out, 1, act=None),
    )


class Dense(nn.Module):
    """Append to the input what the body makes of it, along the channels."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.body(x)), dim=1)


def densenet(stages: Sequence[int] = (6, 12, 24, 16), *, width: float) -> nn.Module:
    """DenseNet-BC; the default stages are those of DenseNet-121."""
    growth, wide = channels(32 * width), channels(64 * width)
    layers: list[nn.Module] = [conv_bn(3, wide, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, padding=1)]
    for stage, repeats in enumerate(stages):
        if stage:
            layers += [*_norm_conv(wide, wide // 2, 1), nn.AvgPool2d(2)]
            wide //= 2
        for _ in range(repeats):
            layers.append(Dense(nn.Sequential(*_norm_conv(wide, 4 * growth, 1), *_norm_conv(4 * growth, growth, 3))))
            wide += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(wide), nn.ReLU(), head(wide))


def _norm_conv(wide: int, out: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, out, kernel, padding=kernel // 2, bias=False)


class Skip(nn.Module):
    """``x + body(x)``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.body(x))


# expansion, output channels, repeats, stride of the first
MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(*, width: float) -> nn.Module:
    """MobileNetV2: inverted residuals, depthwise convolutions, ReLU6."""
    wide = channels(32 * width)
    layers: list[nn.Module] = [conv_bn(3, wide, 3, stride=2, padding=1, act=nn.ReLU6)]
    for expansion, base, repeats, first in MOBILENET_STAGES:
        out = channels(base * width)
        for index in range(repeats):
            stride, inner = (1 if index else first), wide * expansion
            body = nn.Sequential(
                *([conv_bn(wide, inner, 1, act=nn.ReLU6)] if expansion > 1 else []),
                conv_bn(inner, inner, 3, stride=stride, padding=1, groups=inner, act=nn.ReLU6),
                conv_bn(inner, out, 1, act=None),
            )
            layers.append(Skip(body) if stride == 1 and wide == out else body)
            wide = out
    last = channels(1280 * max(1.0, width))
    return nn.Sequential(*layers, conv_bn(wide, last, 1, act=nn.ReLU6), head(last))
