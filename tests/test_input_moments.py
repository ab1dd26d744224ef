"""Second moments of what layers of a module read: in one pass, after which the module is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pathlift.input_moments import input_moments
from pathlift.ir.errors import InvalidModelError, UsageError


class Pair(nn.Module):
    """Two layers, the second of which reads what dropout would spoil, and is called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.dropout = nn.Linear(3, 4), nn.Linear(4, 2), nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled()))
        y: Tensor = self.second(input=self.norm(self.dropout(torch.relu(self.first(x * scale)))))
        return y


def layers(module: Pair) -> dict[str, nn.Linear]:
    return {"first": module.first, "second": module.second}


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def expected(module: Pair, x: Tensor) -> dict[str, np.ndarray[Any, Any]]:
    with torch.no_grad():
        hidden = module.norm.eval()(torch.relu(module.first(x))).double().reshape(-1, 4)
    rows = x.double().reshape(-1, 3)
    return {"first": (rows.T @ rows / len(rows)).numpy(), "second": (hidden.T @ hidden / len(rows)).numpy()}


@pytest.mark.parametrize(
    "data",
    [
        X, [X], X.split(7), (batch for batch in X.split(16)), [(part,) for part in X.split(10)],
        [[2 * X, 0.5]], [{"x": X}], {"x": 0.5 * X, "scale": 2.0}, [X[:0], X],
    ],
    ids=["tensor", "list", "batches", "generator", "tuples", "arguments", "dicts", "mapping", "empty"],
)  # fmt: skip
def test_batches_of_any_kind(data: Any) -> None:
    module = Pair()
    found = input_moments(module, layers(module), data)
    for name, moment in expected(module, X).items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], moment, rtol=1e-5, atol=1e-7)


def test_rows_of_all_positions_count_alike() -> None:
    module = nn.Linear(3, 2)
    found = input_moments(module, {"fc": module}, [X[:30].reshape(5, 6, 3), X[30]])
    rows = X[:31].double()
    np.testing.assert_allclose(found["fc"], (rows.T @ rows / 31).numpy(), rtol=1e-12)


def test_sums_are_in_float64() -> None:
    module = nn.Linear(1, 1)
    x = torch.tensor([[4096.0], [1.0]])  # in float32, 4096² + 1 is 4096²
    np.testing.assert_array_equal(input_moments(module, {"fc": module}, x)["fc"], [[(4096.0**2 + 1) / 2]])
    assert input_moments(module.half(), {"fc": module}, x.half())["fc"] == (4096.0**2 + 1) / 2


def test_the_module_is_as_it_was() -> None:
    module = Pair().train()
    module.norm.eval()
    mean, fused = module.norm.running_mean.clone(), torch.backends.mha.get_fastpath_enabled()
    input_moments(module, layers(module), X)
    with pytest.raises(UsageError, match="PL1454"):
        input_moments(module, layers(module), [X, X[:, :2]])
    assert module.modes[0] == (False, False)
    assert (module.training, module.norm.training, module.dropout.training) == (True, False, True)
    assert torch.equal(module.norm.running_mean, mean)
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert torch.is_grad_enabled()
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())


def test_layers_that_fused_kernels_would_not_call() -> None:
    module = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 4, batch_first=True), 1).eval()
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 3:] = True
    linear = {"fc": module.layers[0].linear1}
    found = input_moments(module, linear, [{"src": torch.randn(2, 5, 4), "src_key_padding_mask": mask}])
    assert found["fc"].shape == (4, 4)


def test_layers_that_nothing_reaches_are_left_out() -> None:
    module = Pair()
    assert input_moments(module, layers(module) | {"other": nn.Linear(3, 3)}, X).keys() == {"first", "second"}
    assert input_moments(module, layers(module), X[:0]) == {}


def nothing() -> Iterator[Tensor]:
    yield from ()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "PL1453"), (nothing(), "PL1453"),
        ([X, X[:, :2]], "PL1454 .* fails on batch 2 .*mat1 and mat2 shapes"),
        ([(X, 1.0, 2)], "PL1454 .* batch 1 .*TypeError"),
        ([{"y": X}], "PL1454 .*'y'"),
        ([X.numpy()], "PL1455 .* a ndarray hint"), (3, "PL1455 .* a int"), ("x", "PL1455 .* a str"),
    ],
)  # fmt: skip
def test_data_that_is_none(data: Any, said: str) -> None:
    module = Pair()
    with pytest.raises(UsageError, match=said):
        input_moments(module, layers(module), data)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_activations_that_are_not_finite(bad: float) -> None:
    module = Pair()
    with torch.no_grad():
        module.first.bias[0] = bad if bad != -torch.inf else torch.nan
    with pytest.raises(InvalidModelError, match="PL0181 layer 'second': what it reads is not finite"):
        input_moments(module, layers(module), X)
    with pytest.raises(InvalidModelError, match="PL0181 layer 'first'"):
        input_moments(module, layers(module), torch.full((2, 3), bad))
