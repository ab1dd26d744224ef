"""Networks whose branches meet in a concatenation: Inception-v3 and U-Net."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from pathlift.testing.zoo.convnets import channels, conv_bn, head

_unit = partial(conv_bn, eps=1e-3)


class Branches(nn.Module):
    """Concatenate, along the channels, what each branch makes of the same input."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def inception_v3(*, width: float) -> nn.Module:
    """Inception-v3 without its auxiliary head: factorized convolutions, padded average pools."""

    def c(base: int) -> int:
        return channels(base * width)

    def line(wide: int, out: int, size: int) -> nn.Module:  # 1 x size
        return _unit(wide, c(out), (1, size), padding=(0, size // 2))

    def column(wide: int, out: int, size: int) -> nn.Module:  # size x 1
        return _unit(wide, c(out), (size, 1), padding=(size // 2, 0))

    def pooled(wide: int, out: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(3, 1, padding=1), _unit(wide, c(out), 1))

    def a(wide: int, pool: int) -> nn.Module:
        return Branches(
            _unit(wide, c(64), 1),
            nn.Sequential(_unit(wide, c(48), 1), _unit(c(48), c(64), 5, padding=2)),
            nn.Sequential(_unit(wide, c(64), 1), _unit(c(64), c(96), 3, padding=1), _unit(c(96), c(96), 3, padding=1)),
            pooled(wide, pool),
        )

    def shrink_a(wide: int) -> nn.Module:
        return Branches(
            _unit(wide, c(384), 3, stride=2),
            nn.Sequential(_unit(wide, c(64), 1), _unit(c(64), c(96), 3, padding=1), _unit(c(96), c(96), 3, stride=2)),
            nn.MaxPool2d(3, 2),
        )

    def b(wide: int, mid: int) -> nn.Module:
        m = c(mid)
        return Branches(
            _unit(wide, c(192), 1),
            nn.Sequential(_unit(wide, m, 1), line(m, mid, 7), column(m, 192, 7)),
            nn.Sequential(_unit(wide, m, 1), column(m, mid, 7), line(m, mid, 7), column(m, mid, 7), line(m, 192, 7)),
            pooled(wide, 192),
        )

    def shrink_b(wide: int) -> nn.Module:
        return Branches(
            nn.Sequential(_unit(wide, c(192), 1), _unit(c(192), c(320), 3, stride=2)),
            nn.Sequential(
                _unit(wide, c(192), 1), line(c(192), 192, 7), column(c(192), 192, 7), _unit(c(192), c(192), 3, stride=2)
            ),
            nn.MaxPool2d(3, 2),
        )

    def fork() -> nn.Module:
        return Branches(line(c(384), 384, 3), column(c(384), 384, 3))

    def e(wide: int) -> nn.Module:
        return Branches(
            _unit(wide, c(320), 1),
            nn.Sequential(_unit(wide, c(384), 1), fork()),
            nn.Sequential(_unit(wide, c(448), 1), _unit(c(448), c(384), 3, padding=1), fork()),
            pooled(wide, 192),
        )

    mixed = 2 * c(64) + c(96)  # what the fixed branches of a block A add up to
    wide_b = c(384) + c(96) + mixed + c(64)
    wide_d = c(320) + c(192) + 4 * c(192)
    wide_e = c(320) + 4 * c(384) + c(192)
    return nn.Sequential(
        _unit(3, c(32), 3, stride=2),
        _unit(c(32), c(32), 3),
        _unit(c(32), c(64), 3, padding=1),
        nn.MaxPool2d(3, 2),
        _unit(c(64), c(80), 1),
        _unit(c(80), c(192), 3),
        nn.MaxPool2d(3, 2),
        a(c(192), 32),
        a(mixed + c(32), 64),
        a(mixed + c(64), 64),
        shrink_a(mixed + c(64)),
        *(b(wide_b if mid == 128 else 4 * c(192), mid) for mid in (128, 160, 160, 192)),
        shrink_b(4 * c(192)),
        e(wide_d),
        e(wide_e),
        nn.Dropout(),
        head(wide_e),
    )


class UNetLevel(nn.Module):
    """One level of a U-Net: go down, recurse, come up, concatenate with what was kept, convolve."""

    def __init__(self, enter: nn.Module, below: nn.Module, leave: nn.Module) -> None:
        super().__init__()
        self.enter, self.below, self.leave = enter, below, leave

    def forward(self, x: Tensor) -> Tensor:
        kept: Tensor = self.enter(x)
        result: Tensor = self.leave(torch.cat((kept, self.below(kept)), dim=1))
        return result


def unet(*, bilinear: bool, width: float, classes: int = 21) -> nn.Module:
    """U-Net of four levels, padded, with batch normalization; the image side is a multiple of 16.

    The decoder goes up by transposed convolutions or, with ``bilinear``, by interpolation and a 1x1 convolution.
    """

    def up(wide: int, out: int) -> nn.Module:
        if bilinear:
            return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(wide, out, 1))
        return nn.ConvTranspose2d(wide, out, 2, stride=2)

    def double(wide: int, out: int) -> nn.Module:
        return nn.Sequential(conv_bn(wide, out, 3, padding=1), conv_bn(out, out, 3, padding=1))

    wides = [channels(64 * 2**level * width) for level in range(5)]
    body = double(wides[3], wides[4])
    for level in (3, 2, 1, 0):
        wide = wides[level]
        below = nn.Sequential(nn.MaxPool2d(2), body, up(wides[level + 1], wide))
        body = UNetLevel(double(wides[level - 1] if level else 3, wide), below, double(2 * wide, wide))
    return nn.Sequential(body, nn.Conv2d(wides[0], classes, 1))
