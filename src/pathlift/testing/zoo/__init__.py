"""Architectures in plain torch with random weights, and the models bundled with ``onnx``: for tests and benchmarks.

>>> from pathlift.testing import zoo
>>> module, shape = zoo.build("resnet18", image=64, width=0.25)
>>> shape
(1, 3, 64, 64)
>>> model = zoo.export("mlp")  # an onnx.ModelProto
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import onnx
import onnx_ir
import torch
from torch import Tensor, nn

from pathlift.frontend.export import export as export_module
from pathlift.ir.errors import UsageError
from pathlift.testing.zoo import branched, convnets, mlps, transformers
from pathlift.testing.zoo.light import HEAVY_LIGHT, LIGHT_NAMES, light
from pathlift.testing.zoo.weights import calibrate, randomize

__all__ = ["HEAVY", "HEAVY_LIGHT", "LIGHT_NAMES", "NAMES", "build", "example", "export", "light"]


@dataclass(frozen=True)
class _Architecture:
    """How to make a network, the shape of its input, and whether its size or depth makes tests slow."""

    make: Callable[..., nn.Module]
    shape: tuple[int, ...] = (1, 3, 224, 224)
    heavy: bool = False
    vocabulary: int = 0  # positive: the input is token ids
    sized: bool = False  # the weights depend on the image side


_FLAT = (1, 784)
_ARCHITECTURES = {
    **{
        f"resnet{depth}": _Architecture(partial(convnets.resnet, depth), heavy=depth > 50)
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f"vgg{depth}{'_bn' * bn}": _Architecture(partial(convnets.vgg, depth, bn=bn), heavy=True, sized=True)
        for depth in (11, 16, 19)
        for bn in (False, True)
    },
    "densenet121": _Architecture(convnets.densenet),
    "inception_v3": _Architecture(branched.inception_v3, (1, 3, 299, 299)),
    "mobilenet_v2": _Architecture(convnets.mobilenet_v2),
    "unet": _Architecture(partial(branched.unet, bilinear=False), (1, 3, 256, 256), heavy=True),
    "unet_bilinear": _Architecture(partial(branched.unet, bilinear=True), (1, 3, 256, 256), heavy=True),
    "mlp": _Architecture(partial(mlps.mlp, nn.ReLU), _FLAT),
    "groupsort_mlp": _Architecture(partial(mlps.mlp, partial(mlps.GroupSort, 4)), _FLAT),
    "groupsort_topk_mlp": _Architecture(partial(mlps.mlp, partial(mlps.GroupSort, 4, topk=True)), _FLAT),
    "maxmin_mlp": _Architecture(partial(mlps.mlp, mlps.MaxMin), _FLAT),
    "vit_s16": _Architecture(transformers.vit_s16, sized=True),
    "gpt2": _Architecture(transformers.gpt2, (1, 16), heavy=True, vocabulary=50257),
    "gpt2_tiny": _Architecture(
        partial(transformers.gpt2, depth=2, vocabulary=256, context=64, heads=2), (1, 16), vocabulary=256
    ),
}

NAMES = tuple(_ARCHITECTURES)
HEAVY = frozenset(name for name, architecture in _ARCHITECTURES.items() if architecture.heavy)


def build(
    name: str, *, seed: int = 0, image: int | None = None, width: float = 1.0
) -> tuple[nn.Module, tuple[int, ...]]:
    """Make a network with random weights, in eval mode.

    Parameters
    ----------
    name
        One of `NAMES`.
    seed
        Fixes the weights.
    image
        Side of the square input image, where the network takes one.
    width
        Multiplies the number of channels, features or heads.

    Returns
    -------
    tuple
        The module and the shape of an input with a batch of one; `example` makes such inputs.

    Raises
    ------
    UsageError
        If an image is given to a network that takes none.
    """
    architecture, shape = _ARCHITECTURES[name], _shape(name, image)
    with torch.device("meta"):  # skips torch's own initialization, which would be overwritten
        module = architecture.make(width=width, **({"image": shape[-1]} if architecture.sized else {}))
    module.to_empty(device="cpu")
    randomize(module, seed)
    calibrate(module, example(name, seed=seed, batch=2, image=image))
    return module, shape


def example(name: str, *, seed: int = 0, batch: int = 1, image: int | None = None) -> Tensor:
    """Random input of the network: normal, or token ids."""
    architecture, shape = _ARCHITECTURES[name], (batch, *_shape(name, image)[1:])
    generator = torch.Generator().manual_seed(seed)
    if architecture.vocabulary:
        return torch.randint(architecture.vocabulary, shape, generator=generator)
    return torch.randn(shape, generator=generator)


@cache
def export(name: str, *, seed: int = 0, image: int | None = None, width: float = 1.0) -> onnx.ModelProto:
    """Build a network and export it with a dynamic batch; the same object per process: copy it before changing it."""
    module, _ = build(name, seed=seed, image=image, width=width)
    return onnx_ir.to_proto(export_module(module, (example(name, batch=2, image=image),)))


def _shape(name: str, image: int | None) -> tuple[int, ...]:
    shape = _ARCHITECTURES[name].shape
    if image is None:
        return shape
    if len(shape) != 4:
        raise UsageError("0411", f"{name} does not take an image")
    return (*shape[:2], image, image)
