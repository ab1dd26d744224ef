"""Whole networks: through load and save unchanged, and path-norms against plain torch on rewritten modules."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import pathlift
from pathlift.ir.compare import graphs_equal
from pathlift.ir.graph import Graph
from pathlift.testing import onnxruntime_session, zoo

pytestmark = pytest.mark.slow

LITTLE = {
    **{n: (64, 0.125) for n in zoo.NAMES if n.startswith(("resnet", "vgg", "densenet", "mobilenet", "vit"))},
    "inception_v3": (96, 0.125),
    "unet": (32, 0.125),
    "unet_bilinear": (32, 0.125),
    **dict.fromkeys(("mlp", "groupsort_mlp", "groupsort_topk_mlp", "maxmin_mlp", "gpt2_tiny"), (None, 1.0)),
}
QUICK = ["resnet18", "vgg11_bn", "densenet121", "inception_v3", "mobilenet_v2", "unet", "unet_bilinear", "vit_s16",
         "mlp", "groupsort_mlp", "groupsort_topk_mlp", "maxmin_mlp", "gpt2_tiny"]  # fmt: skip
LONG = ["densenet121", "inception_v3", "vit_s16", "mobilenet_v2"]  # to export


def outputs(model: onnx.ModelProto | Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime_session(source).run(None, feeds)  # type: ignore[no-any-return]  # ONNX Runtime says Any


def assert_survives(model: onnx.ModelProto, feeds: dict[str, np.ndarray], folder: Path) -> None:
    saved, graph = folder / "saved.onnx", pathlift.load(model)
    pathlift.save(graph, saved)
    info = graph.info
    if info.ir_version == 3:  # it makes an input of every weight, and is not written
        info = dataclasses.replace(info, ir_version=4, overridable=())
    assert graphs_equal(pathlift.load(saved), Graph(graph.nx, graph.outputs, info)) == ""
    for before, after in zip(outputs(model, feeds), outputs(saved, feeds), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in QUICK])
def test_load_and_save_keep_the_outputs(name: str, tmp_path: Path) -> None:
    image, width = LITTLE[name]
    model = zoo.export(name, image=image, width=width)
    x = zoo.example(name, seed=1, batch=3, image=image).numpy()
    assert_survives(model, {model.graph.input[0].name: x}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet50", "resnet152", "vgg16_bn", "densenet121", "inception_v3", "mobilenet_v2", "unet", "vit_s16", "gpt2"],
)
def test_load_and_save_keep_the_outputs_at_full_size(name: str, tmp_path: Path) -> None:
    model = zoo.export.__wrapped__(name)
    assert_survives(model, {model.graph.input[0].name: zoo.example(name, seed=1).numpy()}, tmp_path)


@pytest.mark.parametrize("name", ["squeezenet", pytest.param("shufflenet", marks=pytest.mark.slow)])
def test_bundled_models(name: str, tmp_path: Path) -> None:
    check_bundled(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in zoo.LIGHT_NAMES if n not in ("squeezenet", "shufflenet")])
def test_all_bundled_models(name: str, tmp_path: Path) -> None:
    check_bundled(name, tmp_path)


def check_bundled(name: str, folder: Path) -> None:
    model = zoo.light(name)
    stored = {t.name for t in model.graph.initializer}
    (x,) = (v for v in model.graph.input if v.name not in stored)
    shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
    feed = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert_survives(model, {x.name: feed}, folder)


# ---- path-norms, computed independently: the module itself, with its parameters replaced


def reference_log10(module: nn.Module, shape: tuple[int, ...], q: float) -> float:
    """log10 ‖Φ‖_q through torch: |θ|^q for every parameter, batch norms as one edge and one bias, pools as sums.

    Weights are divided by powers of two on the way, so that float64 holds the result.
    """
    net = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.MaxPool2d):
                    k = child.kernel_size
                    pool = nn.AvgPool2d(k, child.stride, child.padding, child.ceil_mode, divisor_override=1)
                    setattr(parent, name, pool)
                elif isinstance(child, nn.ReLU6):
                    setattr(parent, name, nn.ReLU())
                elif isinstance(child, nn.BatchNorm2d):
                    eps = float(np.float32(child.eps))  # as the file holds it
                    s = child.weight / (child.running_var + eps).sqrt()
                    shift = child.bias - s * child.running_mean
                    child.weight.copy_(s.abs() ** q)
                    child.bias.copy_(shift.abs() ** q)
                    child.running_mean.zero_()
                    child.running_var.fill_(1.0)
                    child.eps = 0.0
                elif isinstance(child, nn.AdaptiveAvgPool2d | nn.AvgPool2d):
                    assert q == 1
                elif isinstance(child, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    for p in child.parameters():
                        p.abs_().pow_(q)
        total = net(torch.ones(shape, dtype=torch.float64)).sum().item()
    return math.log10(total) / q


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vgg11_bn",
        pytest.param("densenet121", marks=pytest.mark.slow),
        "unet",
        "mlp",
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_path_norms_equal_plain_torch(name: str) -> None:
    image, width = LITTLE[name]
    module, shape = zoo.build(name, image=image, width=width)
    result = pathlift.norm(zoo.export(name, image=image, width=width))
    assert result.log10 == pytest.approx(reference_log10(module, shape, 1.0), abs=1e-11)


@pytest.mark.parametrize("name", ["vgg11_bn", "unet", "mlp"])
def test_path_norms_equal_plain_torch_for_q_2(name: str) -> None:
    image, width = LITTLE[name]
    module, shape = zoo.build(name, image=image, width=width)
    result = pathlift.norm(zoo.export(name, image=image, width=width), q=2)
    assert result.log10 == pytest.approx(reference_log10(module, shape, 2.0), abs=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152", "densenet121"])
def test_path_norms_equal_plain_torch_at_full_size(name: str) -> None:
    module, shape = zoo.build(name)
    result = pathlift.norm(zoo.export.__wrapped__(name))
    assert result.log10 == pytest.approx(reference_log10(module, shape, 1.0), abs=1e-10)
