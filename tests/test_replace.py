"""`pathlift.nn.replace_linears`: what it puts where, what it reports, and that errors change nothing."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pathlift
from pathlift.ir.cost import DEVICES
from pathlift.ir.errors import PathliftError
from pathlift.ir.kronecker import Pattern
from pathlift.nn import KSLinear, Replacement, replace_linears
from pathlift.passes.kronecker.fitting.layer import Fitter

SQUARE = "(1,4,4,4)(4,4,4,1)"  # 16 × 16


def network(*sizes: int) -> Any:
    torch.manual_seed(0)
    sizes = sizes or (16, 16, 16, 10)
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def kinds(module: nn.Module) -> dict[str, str]:
    return {n: type(part).__name__ for n, part in module.named_modules() if isinstance(part, nn.Linear | KSLinear)}


def test_layers_are_those_of_from_linear() -> None:
    module, x = network(), torch.randn(5, 16)
    before = copy.deepcopy(module)
    report = replace_linears(module, "0", patterns=SQUARE)
    assert kinds(module) == {"0": "KSLinear", "2": "Linear", "4": "Linear"}
    before[0] = KSLinear.from_linear(before[0], SQUARE)
    torch.testing.assert_close(module(x), before(x), rtol=0, atol=0)
    (layer,) = report
    weight = network()[0].weight.detach()
    error = float((weight - module[0].weight).detach().norm() / weight.norm())
    assert layer.error == pytest.approx(error, rel=1e-6)
    assert 0.1 < error < 1
    assert (layer.name, "".join(map(str, layer.patterns)), layer.reason) == ("0", SQUARE, "")
    assert (layer.before, layer.after, layer.output_error) == (272, 144, None)


def test_patterns_that_fit_some() -> None:
    module = network()
    report = replace_linears(module, patterns=[(4, 4, 4, 1), (1, 4, 4, 4)])
    assert kinds(module) == {"0": "KSLinear", "2": "KSLinear", "4": "Linear"}
    assert [(layer.after, layer.patterns) for layer in report[2:]] == [(170, ())]
    assert report[2].reason == "(4,4,4,1)(1,4,4,4) is 16×16, and does not fit a matrix of 10×16"


def test_a_mapping_of_patterns() -> None:
    module = network()
    first, second = "(1,16,2,1)(1,2,16,1)", SQUARE
    report = replace_linears(module, patterns={"2": second, "[02]": first})
    assert [("".join(map(str, layer.patterns)), layer.reason) for layer in report] == [
        *((first, ""), (second, ""), ("", "no patterns are given for it"))
    ]
    assert isinstance(module[4], nn.Linear)


@pytest.mark.slow  # it fits dozens of candidates
def test_auto_is_what_ks_fit_chooses(tmp_path: Path) -> None:
    module, x = network(192, 192, 16), torch.randn(64, 8) @ torch.randn(8, 192)
    pathlift.export(module, shape=(2, 192), output=tmp_path / "m.onnx")
    options: Any = {"budget": "flops=0.4,error=0.9", "solver": "hsvd", "samples": 4096}
    found = pathlift.ks_fit(tmp_path / "m.onnx", calib={"input": x.numpy()}, **options)
    report = replace_linears(module, calib=x, **options)
    expected = list(found.approximation.layers.values())
    assert [layer.patterns for layer in report] == [layer.patterns for layer in expected]
    assert [layer.reason for layer in report] == [layer.reason for layer in expected]
    assert kinds(module)["0"] == "KSLinear"
    assert report[0].output_error == pytest.approx(expected[0].weighted_error, rel=1e-3)
    assert report[0].after <= 0.4 * 192 * 192 + 192


def test_a_budget_leaves_layers_dense() -> None:
    module = network()
    report = replace_linears(module, "0,2", patterns=SQUARE, budget="error=0.1")
    assert all(layer.reason.endswith("is above 10 %") and layer.after == 272 for layer in report)
    assert set(kinds(module).values()) == {"Linear"}


@torch.no_grad()
def test_calibration_fits_outputs() -> None:
    torch.manual_seed(1)
    x = torch.randn(500, 8) @ torch.randn(8, 16)
    errors = []
    for calib in (None, x):
        module = network()
        report = replace_linears(module, "0", patterns=SQUARE, calib=calib)
        expected = network()[0](x) - network()[0].bias
        errors.append(float((module[0](x) - module[0].bias - expected).norm() / expected.norm()))
    assert errors[1] < 0.7 * errors[0]
    assert report[0].output_error == pytest.approx(errors[1], rel=1e-3)


def test_moments_are_those_of_the_module_as_it_was() -> None:
    # Not of one whose first layer was replaced already.
    module, x = network(), torch.randn(200, 16)
    second = KSLinear.from_linear(module[2], SQUARE, covariance=(h := module[1](module[0](x))).mT @ h / 200)
    replace_linears(module, patterns=SQUARE, calib=x.split(64))
    torch.testing.assert_close(module[2].weight, second.weight, rtol=1e-4, atol=1e-5)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.used(x)
        return y


def test_what_the_data_never_reaches() -> None:
    module = Branches()
    report = replace_linears(module, patterns=SQUARE, calib=torch.randn(64, 16))
    assert [layer.reason for layer in report] == ["", "the calibration data never reaches it"]
    assert kinds(module) == {"used": "KSLinear", "unused": "Linear"}


def test_a_shared_layer_stays_shared() -> None:
    layer, x = nn.Linear(16, 16), torch.randn(7, 16)
    module: Any = nn.ModuleDict({"a": layer, "b": nn.Sequential(layer, nn.ReLU())})
    (report,) = replace_linears(module, "b.0", patterns=SQUARE)
    assert report.name == "a"
    assert module["a"] is module["b"][0]
    assert isinstance(module["a"], KSLinear)
    assert module["a"](x).shape == (7, 16)


def test_attention_stays_as_it_is() -> None:
    torch.manual_seed(0)
    module, x = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True).eval(), torch.randn(8, 5, 16)
    report = replace_linears(module, patterns="(1,16,16,1)", calib=x)
    assert [layer.reason for layer in report] == ["attention reads its weights without calling it", "", ""]
    again = copy.deepcopy(module).train()
    again.dropout.p = again.dropout1.p = again.dropout2.p = again.self_attn.dropout = 0.0
    with torch.no_grad():
        torch.testing.assert_close(module(x), again(x), rtol=1e-4, atol=1e-5)  # a fused kernel, and layer by layer


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_kept(dtype: torch.dtype) -> None:
    module = network().to(dtype)
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    module[2].eval()
    replace_linears(module, "0,2", patterns="(1,16,16,1)")
    first, second = module[0], module[2]
    assert [(name, p.requires_grad) for name, p in first.named_parameters()] == [("bias", True), ("factors.0", False)]
    assert [(name, p.requires_grad) for name, p in second.named_parameters()] == [("bias", False), ("factors.0", True)]
    assert (first.training, second.training, second.factors.training) == (True, False, False)
    assert {p.dtype for p in module.parameters()} == {dtype}
    expected = network().to(dtype)
    assert torch.equal(first.weight, expected[0].weight)
    assert torch.equal(first.bias, expected[0].bias)


def test_solver_steps_and_seed() -> None:
    patterns = "(2,8,4,1)(1,8,16,1)"  # not chainable: als, from a random start
    found: dict[Any, list[Tensor]] = {}
    cases: list[tuple[int, int, Any]] = [(0, 3, "als"), (0, 3, "als"), (1, 3, "als"), (0, 1, "als"), (0, 3, "adam")]
    for seed, steps, solver in cases:
        module = network()
        replace_linears(module, "0", patterns=patterns, solver=solver, steps=steps, seed=seed)
        found.setdefault((seed, steps, solver), []).append(module[0].weight.detach())
        expected = KSLinear.from_linear(network()[0], patterns, solver=solver, steps=steps, seed=seed)
        assert torch.equal(module[0].weight, expected.weight)
    assert torch.equal(*found[0, 3, "als"])
    weights = [w[0] for w in found.values()]
    assert all(not torch.equal(weights[0], w) for w in weights[1:])


def test_it_saves_and_exports(tmp_path: Path) -> None:
    module, x = network().eval(), torch.randn(3, 16)
    replace_linears(module, "0,2", patterns=SQUARE)
    torch.save(module, buffer := io.BytesIO())
    assert b"pathlift.nn" in buffer.getvalue()
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), module(x))
    pathlift.export(module, shape=(2, 16), output=tmp_path / "m.onnx")
    torch.testing.assert_close(pathlift.Session(tmp_path / "m.onnx")(x), module(x).detach(), rtol=1e-4, atol=1e-5)


def spoilt() -> Any:
    module = network()
    with torch.no_grad():
        module[2].weight[0, 0] = torch.nan
    return module


ERRORS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "layers": (network, {"layers": "0,fc"}, "PL1450 .*'fc'"),
    "glob-of-patterns": (network, {"layers": "0,2", "patterns": {"*": SQUARE, "4": SQUARE}}, "PL1450 .*'4'.*are 0, 2"),
    "patterns-text": (network, {"patterns": "text"}, "PL0460"),
    "patterns-none": (network, {"patterns": None}, "PL0460"),
    "patterns-fit-none": (network, {"patterns": "(1,5,5,1)"}, r"PL0463 \(1,5,5,1\) fits none .* 10×16, 16×16"),
    "one-of-patterns": (network, {"patterns": {"0": SQUARE, "4": SQUARE}}, "PL0463 .* they are 10×16"),
    "solver": (network, {"patterns": SQUARE, "solver": "lsq"}, "PL0465"),
    "budget": (network, {"budget": "time=1"}, "PL0468"),
    "device": (network, {"device": "tpu"}, "PL0467"),
    "samples": (network, {"samples": 0}, "PL0439 0 samples and 0 steps"),
    "weights": (spoilt, {"patterns": SQUARE}, "PL0180 tensor '2.weight'"),
    "data": (network, {"patterns": SQUARE, "calib": torch.zeros(3, 5)}, "PL1454"),
    "activation": (network, {"patterns": SQUARE, "calib": torch.full((1, 16), torch.inf)}, "PL0181 layer '0'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_change_nothing(case: str) -> None:
    make, arguments, said = ERRORS[case]
    module = make()
    before, state = list(module.modules()), copy.deepcopy(module.state_dict())
    with pytest.raises(PathliftError, match=said):
        replace_linears(module, **arguments)
    assert all(a is b for a, b in zip(before, module.modules(), strict=True))
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0, equal_nan=True)
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_the_report_is_plain() -> None:
    layer = Replacement("fc", (), None, None, 6, 6, "it has hooks")
    assert layer == Replacement("fc", (), None, None, 6, 6, "it has hooks")


def test_a_fitter_without_layers_refuses_nothing() -> None:
    Fitter((Pattern(1, 5, 5, 1),), 1.0, 1.0, "auto", None, 0, 1, DEVICES["cpu"]).check([])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda() -> None:
    module, x = network().cuda(), torch.randn(64, 16, device="cuda")
    replace_linears(module, patterns=SQUARE, calib=x)
    assert {p.device.type for p in module.parameters()} == {"cuda"}
    assert module(x).isfinite().all()
