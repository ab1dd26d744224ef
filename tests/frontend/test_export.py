"""Exporting torch modules: faithful, quiet, named after the modules; one coded line when it cannot be done."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from pathlift.frontend.export import export, load_factory
from pathlift.ir.errors import PathliftError, UnsupportedError, UsageError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(image))).mean((2, 3)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left + right, left * right


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(2, 1)


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Untranslatable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svd(x)[1]


class PassThrough(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def run(model: onnx_ir.Model, *inputs: Tensor) -> list[np.ndarray]:
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("example", [(1, 3, 8, 8), (torch.zeros(3, 3, 8, 8),), [[1, 3, 8, 8]]], ids=type)
def test_the_file_computes_what_the_module_does_for_any_batch(example: tuple, batch: int) -> None:
    torch.manual_seed(0)
    module = Block().eval()
    x = torch.randn(batch, 3, 8, 8)
    np.testing.assert_allclose(run(export(module, example), x)[0], module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_batch_axis_is_named_and_can_be_fixed() -> None:
    model = export(Block(), (1, 3, 8, 8))
    assert [str(size) for size in model.graph.inputs[0].shape] == ["N", "3", "8", "8"]
    assert [str(size) for size in model.graph.outputs[0].shape] == ["N", "5"]
    fixed = export(Block(), (1, 3, 8, 8), dynamic_batch=False)
    assert fixed.graph.inputs[0].shape == [1, 3, 8, 8]


def test_batch_norm_is_kept_and_nodes_and_weights_carry_module_names() -> None:
    model = export(Block(), (1, 3, 8, 8))
    named = {node.op_type: node.name for node in model.graph}
    assert (named["Conv"], named["BatchNormalization"], named["Gemm"]) == ("conv", "norm", "fc")
    assert set(dict(Block().named_parameters())) <= set(model.graph.initializers)


def test_parameters_are_one_only_where_the_module_ties_them() -> None:
    gemms = [node for node in export(Tied(), (1, 4)).graph if node.op_type == "Gemm"]
    assert gemms[0].inputs[1] is gemms[1].inputs[1]
    assert gemms[0].inputs[2] is not gemms[1].inputs[2]


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_have_a_bias_only_if_the_module_has_one(bias: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.ConvTranspose2d(4, 4, 3, bias=bias))
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    model = export(module, (1, 3, 8, 8))
    assert [len(node.inputs) for node in model.graph] == [2 + bias] * 2
    assert set(model.graph.initializers) == set(dict(module.named_parameters()))


def test_transposed_weights_keep_their_names() -> None:
    model = export(nn.Sequential(nn.Linear(4, 3)), (1, 2, 4))  # a 3-D input makes the exporter transpose the weight
    assert "0.weight" in model.graph.initializers


def test_names_of_inputs_and_outputs() -> None:
    default = export(Two(), ((1, 2), (1, 2))).graph
    assert [value.name for value in default.inputs] == ["left", "right"]
    assert [value.name for value in default.outputs] == ["output_0", "output_1"]
    chosen = export(Two(), ((1, 2), (1, 2)), input_names=["a", "b"], output_names=["sum", "product"]).graph
    assert [value.name for value in (*chosen.inputs, *chosen.outputs)] == ["a", "b", "sum", "product"]


def test_a_module_that_returns_its_input() -> None:
    x = torch.randn(3, 2)
    np.testing.assert_array_equal(run(export(PassThrough(), (1, 2)), x)[0], x.numpy())


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_opset(opset: int) -> None:
    assert export(nn.Sequential(nn.Linear(4, 4), nn.GELU()), (1, 4), opset=opset).opset_imports[""] == opset


def test_the_module_gets_its_modes_and_the_generator_its_state_back() -> None:
    module = Block().train()
    module.norm.eval()
    statistics, state = module.norm.running_mean.clone(), torch.get_rng_state()
    export(module, (1, 3, 8, 8))
    assert (module.training, module.conv.training, module.norm.training) == (True, True, False)
    torch.testing.assert_close(module.norm.running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_printed_and_no_path_of_this_machine_gets_into_the_file(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    written = onnx_ir.to_proto(export(Block(), (1, 3, 8, 8))).SerializeToString()
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    for path in (Path(torch.__file__).parent, Path(__file__).parent, Path.cwd()):
        assert str(path).encode() not in written


@pytest.mark.parametrize(
    ("module", "example", "kind", "code", "words"),
    [
        (Untranslatable(), (2, 4), UnsupportedError, "PL0381", "linalg_svd"),
        (DataDependent(), (2, 4), UnsupportedError, "PL0380", "DataDependent"),
        (FixedBatch(), (2, 4), UnsupportedError, "PL0382", "one batch size"),
        (nn.Linear(5, 5), (2, 4), UsageError, "PL0486", "(2, 4)"),
        (nn.Linear(5, 5), (2, 0), UsageError, "PL0484", "(2, 0)"),
        (nn.Linear(5, 5), (), UsageError, "PL0484", "()"),
        (Two(), ((1, 2), (3, 2)), UsageError, "PL0485", "first axis"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("PL") else "",
)
def test_failures_are_one_coded_line(
    module: nn.Module,
    example: tuple,
    kind: type[PathliftError],
    code: str,
    words: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(kind) as caught:
        export(module, example)
    line = str(caught.value)
    assert line.startswith(code)
    assert words in line
    assert "\n" not in line
    assert len(line) < 350
    assert capfd.readouterr() == ("", "")
    assert module.training


def test_without_onnxscript_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pathlift\[export\]"):
        export(Block(), (1, 3, 8, 8))


FACTORY = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 3))
def make():
    return Net()
made = Net()
class inner:
    make = staticmethod(make)
def broken():
    raise RuntimeError("no weights\\nat all")
number = 3
def needs(argument):
    return Net()
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_factories.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "some_factories", raising=False)
    return "some_factories"


@pytest.mark.parametrize("name", ["Net", "make", "made", "inner.make"])
def test_factories_are_found_from_the_current_folder(factories: str, name: str) -> None:
    before = list(sys.path)
    assert isinstance(load_factory(f"{factories}:{name}"), nn.Sequential)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("no_colon", "PL0481", "package.module:factory"),
        (":make", "PL0481", "package.module:factory"),
        ("some_factories:", "PL0481", "package.module:factory"),
        ("not_a_module_at_all:make", "PL0482", "ModuleNotFoundError"),
        ("some_factories:missing", "PL0482", "missing"),
        ("some_factories:broken", "PL0482", "no weights"),
        ("some_factories:needs", "PL0482", "argument"),
        ("some_factories:number", "PL0483", "int"),
    ],
)
def test_wrong_specs_are_usage_errors(factories: str, spec: str, code: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_factory(spec)
    assert str(caught.value).startswith(code)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
