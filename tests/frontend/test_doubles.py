"""Modules of float64 arrive with the numbers that they compute with, and files say what they cannot hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

import pathlift
from pathlift.frontend.doubles import is_single, restore_constants
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.models.source import open_model
from pathlift.testing import execute


class Lambda(nn.Module):
    def __init__(self, f: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Any:
        return self.f(x)


def batch_norm(eps: float, var: float) -> nn.Module:
    layer = nn.BatchNorm1d(4, eps=eps)
    assert layer.running_var is not None
    layer.running_var.fill_(var)
    return layer


MODULES: dict[str, nn.Module] = {
    "batch norm": batch_norm(1e-3, 1e-6),
    "leaky relu": nn.LeakyReLU(0.1),
    "leaky relu of its default slope": nn.LeakyReLU(),
    "elu": nn.ELU(0.1),
    "selu": nn.SELU(),
    "hard sigmoid": nn.Hardsigmoid(),
    "hard tanh": nn.Hardtanh(-0.1, 0.3),
    "clamp": Lambda(lambda x: x.clamp(min=0.1)),
    "scaling": Lambda(lambda x: 0.1 * x / 0.3),
    "shifts": Lambda(lambda x: 0.7 - (x + 0.1)),
    "a weighted sum": Lambda(lambda x: torch.add(x, x.relu(), alpha=0.1)),
    "padding": Lambda(lambda x: F.pad(x, (1, 1), value=0.1)),
    "threshold": nn.Threshold(0.1, 0.2),
    "matrix product": Lambda(lambda x: torch.addmm(x.new_ones(4), x, x.new_ones(4, 4), alpha=0.1, beta=0.3)),
}


def opened(module: nn.Module, dtype: torch.dtype = torch.float64) -> Graph:
    return open_model(module.to(dtype).eval(), example=[torch.zeros(3, 4, dtype=dtype)]).graph


def test_a_module_is_read_to_the_last_digits() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    module = Lambda(lambda x: tuple(layer(x) for layer in MODULES.values()))
    for layer in MODULES.values():
        layer.double().eval()
    graph = opened(module)
    found = execute(graph, {graph[graph.inputs[0]].names[0]: x.numpy()}).values()
    for name, y, wanted in zip(MODULES, found, module(x), strict=True):
        assert np.abs(y - wanted.detach().numpy()).max() <= 1e-15 * wanted.abs().max().item(), name


def test_the_bound_holds_of_the_module() -> None:
    module = batch_norm(0.1, 1e-9).double().eval()
    true = math.log10(4 / math.sqrt(1e-9 + 0.1))
    norm = pathlift.norm(module, example=(1, 4), inputs_only=True).norms[0]
    assert norm.upper_log10 is not None
    assert true - 1e-15 <= norm.upper_log10 <= true + 1e-12
    assert pathlift.path_norm_loss(module, (1, 4), inputs_only=True).item() == pytest.approx(10**true, rel=1e-14)


def test_float32_modules_mean_what_their_kernels_compute_with() -> None:
    graph = opened(nn.LeakyReLU(0.1), torch.float32)
    (slope,) = [node.attrs["alpha"] for _, node in graph.nx.nodes(data="node") if node.op == "LeakyRelu"]
    assert slope == float(np.float32(0.1))


def test_two_doubles_that_are_one_number_in_float32_are_told_apart_or_refused() -> None:
    near = float(np.nextafter(0.1, 1))
    module = Lambda(lambda x: x * 0.1 + x * near)
    with pytest.raises(UsageError, match=r"0\.1 and 0\.1\d+, which torch's exporter takes") as error:
        opened(module)
    assert error.value.code == "PL1424"


@pytest.mark.parametrize("value", [0.5, 0.0, math.inf, -math.inf, math.nan, float(np.float32(0.1))])
def test_what_float32_holds(value: float) -> None:
    assert is_single(value)


@pytest.mark.parametrize("value", [0.1, 1e-5, 1e300, 5e-324, 2.0**25 + 1])
def test_what_it_does_not(value: float) -> None:
    assert not is_single(value)


def test_numbers_that_nobody_gave_stay() -> None:
    """A constant of the exporter's own, or of a float32 tensor, is what it is."""
    stored = torch.tensor(0.1)  # float32

    def f(x: Tensor) -> Tensor:
        return x * stored.double()

    graph = opened(Lambda(f))
    (found,) = execute(graph, {graph[graph.inputs[0]].names[0]: np.ones((3, 4))}).values()
    assert (found == float(np.float32(0.1))).all()


@pytest.mark.parametrize("to", ["FLOAT16", "FLOAT", "DOUBLE"])
def test_constants_become_doubles_where_doubles_are_meant(to: str) -> None:
    constant = onnx_ir.node("Constant", [], {"value_float": 0.1})
    cast = onnx_ir.node("Cast", constant.outputs, {"to": onnx_ir.DataType[to].value})
    graph = onnx_ir.Graph([], cast.outputs, nodes=[constant, cast], opset_imports={"": 18})
    restore_constants(onnx_ir.Model(graph, ir_version=10), frozenset([0.1]))
    assert (cast.inputs[0] is constant.outputs[0]) == (to != "DOUBLE")


def saved(module: Any, folder: Path, verb: str) -> tuple[str, ...]:
    path = folder / "m.onnx"
    if verb == "export":
        return pathlift.export(module, shape=(1, 4), output=path).warnings
    graph = open_model(module, example=(1, 4)).graph
    return pathlift.opt(graph, output=path).warnings


@pytest.mark.parametrize("verb", ["export", "opt"])
def test_what_a_file_cannot_hold_is_said(verb: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1)).double().eval()
    (warning,) = saved(module, tmp_path, verb)
    assert "ONNX has alpha in float32, 0.1 as 0.10000000149011612" in warning
    assert str(float(np.float32(0.1))) in str(pathlift.load(tmp_path / "m.onnx"))


def test_nothing_is_said_where_nothing_is_lost(tmp_path: Path) -> None:
    assert saved(nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1)).eval(), tmp_path, "export") == ()


def test_defaults_of_a_file_are_float32_too() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    proto = helper.make_graph([helper.make_node("LeakyRelu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    value = pathlift.run(model, {"x": np.full(2, -1, np.float32)}).outputs["y"]
    assert execute(pathlift.load(model.SerializeToString()), {"x": np.full(2, -1.0)})["y"].tolist() == value.tolist()
