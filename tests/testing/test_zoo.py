"""The zoo's networks export, and ONNX Runtime computes on the files what torch computes on the modules."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from pathlift.ir.errors import UsageError
from pathlift.testing import zoo

pytestmark = pytest.mark.slow

SMALL = {  # image side and width: every architecture in little
    **{name: (64, 0.125) for name in zoo.NAMES if name.startswith(("resnet", "vgg", "densenet", "mobilenet", "vit"))},
    "inception_v3": (96, 0.125),
    "unet": (32, 0.125),
    "unet_bilinear": (32, 0.125),
    "gpt2": (None, 1 / 12),
}
TRUE_SIZES = {  # millions of parameters, as published
    "resnet18": 11.69,
    "resnet34": 21.80,
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnet152": 60.19,
    "vgg11": 132.86,
    "vgg16": 138.36,
    "vgg19": 143.67,
    "vgg16_bn": 138.37,
    "densenet121": 7.98,
    "inception_v3": 23.83,
    "mobilenet_v2": 3.50,
    "vit_s16": 22.05,
    "gpt2": 124.44,
}


def infer(model: onnx.ModelProto, feed: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    stored = {tensor.name for tensor in model.graph.initializer}
    (name,) = (value.name for value in model.graph.input if value.name not in stored)
    return session.run(None, {name: feed})[0]


def check_export(name: str, image: int | None, width: float) -> None:
    module, shape = zoo.build(name, image=image, width=width)
    x = zoo.example(name, seed=1, batch=3, image=image)
    assert (x.shape[0], *x.shape[1:]) == (3, *shape[1:])
    got = infer(zoo.export.__wrapped__(name, image=image, width=width), x.numpy())
    with torch.no_grad():
        single = module(x).numpy()
        exact = module.double()(x.double() if x.is_floating_point() else x).numpy()
    assert np.isfinite(exact).all()
    assert exact.std() > 1e-3
    # deep random networks amplify rounding: ONNX Runtime may be as far from the float64 result as torch's float32 is
    scale = np.abs(exact).max()
    rounding = np.abs(single - exact).max() / scale
    assert rounding < 1e-3
    assert np.abs(got - exact).max() / scale < 1e-5 + 4 * rounding


# One of each kind, and the deepest; what is no image network is not smaller in little, but for gpt2.
AT_FULL_SIZE = [
    "resnet50", "resnet152", "vgg16", "vgg16_bn", "densenet121", "inception_v3", "mobilenet_v2", "unet",
    "unet_bilinear", "vit_s16", "gpt2",
]  # fmt: skip
DEEP = {
    "resnet50", "resnet101", "resnet152", "densenet121", "inception_v3", "gpt2", "vit_s16", "mobilenet_v2",
    "vgg11_bn", "vgg16", "vgg19", "vgg19_bn",
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in DEEP else n for n in zoo.NAMES])
def test_each_architecture_in_little(name: str) -> None:
    check_export(name, *SMALL.get(name, (None, 1.0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_FULL_SIZE)
def test_each_architecture_at_its_size(name: str) -> None:
    check_export(name, None, 1.0)


@pytest.mark.parametrize("name", TRUE_SIZES)
def test_sizes_are_the_published_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "randomize", lambda module, seed: None)
    monkeypatch.setattr(zoo, "calibrate", lambda module, example: None)
    module, _ = zoo.build(name)
    assert sum(param.numel() for param in module.parameters()) / 1e6 == pytest.approx(TRUE_SIZES[name], abs=0.005)


def test_the_seed_fixes_the_weights_and_statistics_are_not_trivial() -> None:
    first, second, other = (zoo.build("resnet18", seed=seed, image=32, width=0.125)[0] for seed in (1, 1, 2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        if name.endswith(("running_mean", "running_var", "weight")):
            assert value.std() > 0
            assert not torch.equal(value, other.state_dict()[name])
    assert not first.training


def test_exports_are_cached() -> None:
    assert zoo.export("mlp") is zoo.export("mlp")


def test_only_images_have_a_side() -> None:
    with pytest.raises(UsageError, match=r"PL0411 .* does not take an image"):
        zoo.build("mlp", image=8)


def check_light(name: str) -> None:
    model = zoo.light(name)
    if name not in zoo.HEAVY_LIGHT:
        onnx.checker.check_model(model, full_check=True)
    assert "ConstantOfShape" not in {node.op_type for node in model.graph.node}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert numpy_helper.to_array(stored[node.input[4]]).min() > 0.1
        if node.op_type == "Conv":
            assert numpy_helper.to_array(stored[node.input[1]]).std() > 0
    feed = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    got = infer(model, feed)
    assert got.shape[:2] == (1, 1000)
    assert np.isfinite(got).all()
    assert got.std() > 0


@pytest.mark.parametrize("name", ["shufflenet", "squeezenet", "densenet121"])
def test_light_models(name: str) -> None:
    check_light(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(zoo.LIGHT_NAMES) - {"shufflenet", "squeezenet", "densenet121"}))
def test_larger_light_models(name: str) -> None:
    check_light(name)
