"""`pathlift.nn.KSLinear` against its dense expansion, and as a drop-in for ``nn.Linear``."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import pathlift
from pathlift.ir.errors import UsageError
from pathlift.ir.kronecker import Pattern, product
from pathlift.nn import KSLinear

PAIR = "(1,12,4,2)(2,4,6,1)"  # 24 × 12
NUMBERS = st.sampled_from([1, 2, 3, 5, 7])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), st.lists(st.integers(0, 3), max_size=2), st.booleans())
def test_the_dense_expansion(pattern: tuple[int, ...], lead: list[int], bias: bool) -> None:
    layer = KSLinear(pattern, bias, dtype=torch.float64)
    x = torch.randn(*lead, layer.in_features, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    expected = product([f.detach().numpy() for f in layer.factors])
    np.testing.assert_array_equal(layer.weight.detach().numpy(), expected)
    assert (layer.out_features, layer.in_features) == expected.shape


def test_chains_and_gradients() -> None:
    layer = KSLinear(PAIR, dtype=torch.float64)
    x = torch.randn(3, 2, 12, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    parameters = tuple(layer.parameters())

    def call(x: torch.Tensor, *values: torch.Tensor) -> Any:
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_element_types(dtype: torch.dtype) -> None:
    layer = KSLinear(PAIR, dtype=dtype)
    x = torch.randn(5, 12, dtype=dtype)
    assert layer(x).dtype == dtype
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=0.05, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert KSLinear(PAIR)(torch.randn(5, 12)).shape == (5, 24)


def test_the_weight_is_infinite_only_where_a_factor_is() -> None:
    layer = KSLinear((2, 3, 4, 2))
    with torch.no_grad():
        layer.factors[0][1, 0, 2, 3] = torch.inf
    assert layer.weight.isinf().sum() == 1
    assert not layer.weight.isnan().any()
    layer.weight.sum().backward()
    torch.testing.assert_close(layer.factors[0].grad, torch.ones(2, 2, 3, 4))


def test_it_is_a_module_like_any_other() -> None:
    layer = KSLinear(PAIR)
    x = torch.randn(3, 12)
    again = KSLinear(PAIR)
    again.load_state_dict(layer.state_dict())
    assert sorted(layer.state_dict()) == ["bias", "factors.0", "factors.1"]
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for other in (again, copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x), layer(x))
    assert "'(1,12,4,2)(2,4,6,1)', bias=True" in repr(layer)
    assert layer(x.t().contiguous().t()).shape == (3, 24)
    assert layer(x[:0]).shape == (0, 24)
    assert layer(x[0]).shape == (24,)


def test_variance_is_that_of_a_dense_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 384)
    dense = nn.Linear(384, 384, bias=False)(x).detach().std()
    for patterns in ("(1,384,384,1)", "(1,192,48,2)(2,48,192,1)", "(4,24,24,4)(4,24,24,4)(4,24,24,4)"):
        found = float(KSLinear(patterns, bias=False)(x).detach().std())
        assert found == pytest.approx(float(dense), rel=0.1)


def test_it_learns() -> None:
    torch.manual_seed(0)
    target, x = nn.Linear(12, 24), torch.randn(256, 12)
    network = nn.Sequential(KSLinear("(1,12,4,2)(2,4,6,1)"), nn.ReLU(), KSLinear((1, 24, 24, 1)))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        loss = F.mse_loss(network(x), target(x).detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_from_linear() -> None:
    torch.manual_seed(0)
    exact, linear = KSLinear(PAIR, dtype=torch.float64), nn.Linear(12, 24, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(exact.weight)
    x = torch.randn(5, 12, dtype=torch.float64)
    for patterns in (PAIR, "(2,4,6,1)(1,12,4,2)", [(1, 12, 4, 2), (2, 4, 6, 1)]):
        layer = KSLinear.from_linear(linear, patterns)  # type: ignore[arg-type]  # of the parameter
        torch.testing.assert_close(layer(x), linear(x), rtol=1e-6, atol=1e-8)
    wide = nn.Linear(12, 24, bias=False).half()
    layer = KSLinear.from_linear(wide, PAIR)
    assert layer.bias is None
    assert layer.factors[0].dtype == torch.float16


def test_from_linear_with_data() -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 64), torch.randn(500, 8) @ torch.randn(8, 64)
    patterns = "(1,8,8,8)(8,8,8,1)"
    layers = [KSLinear.from_linear(linear, patterns, covariance=c) for c in (None, x.T @ x / 500)]
    errors = [float((layer(x) - linear(x)).detach().norm()) for layer in layers]
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("patterns", "code"),
    [
        ("", "PL0460"), ((), "PL0460"), ((1, 2, 3), "PL0460"), ("(0,1,1,1)", "PL0461"), ((1, -2, 3, 1), "PL0461"),
        ("(1,2,3,1)(1,2,3,1)", "PL0462"), ("text", "PL0460"), ([(1, 2, 3, "x")], "PL0460"),
        (None, "PL0460"),
    ],
)  # fmt: skip
def test_patterns_that_are_none(patterns: Any, code: str) -> None:
    with pytest.raises(UsageError, match=code):
        KSLinear(patterns)


def test_an_input_of_another_size() -> None:
    with pytest.raises(UsageError, match=r"PL1448.*x has 5 features, not 8"):
        KSLinear((1, 4, 4, 2))(torch.zeros(3, 5))


def test_patterns_that_do_not_fit_a_layer() -> None:
    with pytest.raises(UsageError, match="PL0463"):
        KSLinear.from_linear(nn.Linear(5, 3), PAIR)


class Block(nn.Module):
    """A perceptron with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = KSLinear(PAIR), KSLinear("(2,3,6,2)", bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.down(F.relu(self.up(x)))
        return y


def test_export_and_back(tmp_path: Path) -> None:
    module, x = Block().eval(), torch.randn(3, 5, 12)
    pathlift.export(module, shape=(2, 5, 12), output=tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto, full_check=True)
    nodes = [node for node in proto.graph.node if node.op_type == "KSLinear" and node.domain == "pathlift"]
    assert len(nodes) == 3
    assert {"up.factors.0", "up.factors.1", "up.bias", "down.factors.0"} == {t.name for t in proto.graph.initializer}
    graph = pathlift.load(tmp_path / "m.onnx")
    assert [graph[key].attrs["pattern"] for key in graph.order if graph[key].op == "KSLinear"] == [
        *(Pattern(2, 4, 6, 1), Pattern(1, 12, 4, 2), Pattern(2, 3, 6, 2))
    ]
    pathlift.save(graph, tmp_path / "again.onnx")
    for path in ("m.onnx", "again.onnx"):
        torch.testing.assert_close(pathlift.Session(tmp_path / path)(x), module(x).detach(), rtol=1e-4, atol=1e-5)
    assert pathlift.norm(module, example=(1, 5, 12)).value == pytest.approx(
        pathlift.norm(graph, shape={}).value, rel=1e-6
    )


def test_other_exporters_get_plain_operators(tmp_path: Path) -> None:
    module, x = Block().eval(), torch.randn(3, 12)
    torch.onnx.export(module, (x,), tmp_path / "m.onnx", dynamo=True, verbose=False)
    assert {node.domain for node in onnx.load(tmp_path / "m.onnx").graph.node} == {""}
    torch.testing.assert_close(pathlift.Session(tmp_path / "m.onnx")(x), module(x).detach(), rtol=1e-4, atol=1e-5)


def test_in_torch_export() -> None:
    module, x = Block().eval(), torch.randn(3, 12)
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda(dtype: torch.dtype) -> None:
    layer = KSLinear("(1,192,48,2)(2,48,192,1)", device="cuda", dtype=dtype)
    x = torch.randn(64, 384, device="cuda", dtype=dtype)
    tolerance = 1e-3 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=tolerance, atol=tolerance)
    layer(x).float().square().mean().backward()
    assert all(math.isfinite(float(p.grad.float().norm())) for p in layer.parameters() if p.grad is not None)


def test_it_compiles_without_breaks() -> None:
    layer = KSLinear(PAIR)
    x = torch.randn(5, layer.in_features)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))
