"""KSLinear by kernels: results, gradients, torch.compile, autocast; against torch's own operations in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.library import opcheck

from pathlift.ir.errors import UsageError
from pathlift.nn import KSLinear
from pathlift.runtime import ks_op, nn

ONE, TWO = "(2,5,6,3)", "(1,12,6,2)(2,6,9,1)"


def layer(patterns: str, bias: bool = True) -> KSLinear:
    torch.manual_seed(0)
    return KSLinear(patterns, bias)


def reference(module: KSLinear, x: torch.Tensor) -> torch.Tensor:
    """The module in float64, which has no kernels."""
    result: torch.Tensor = copy.deepcopy(module).double()(x.double())
    return result


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-6) -> bool:
    return bool((found.double() - expected).norm() <= tolerance * expected.norm())


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many factors each call of the operator has."""
    seen, honest = list[int](), ks_op.ks_linear

    def counted(x: torch.Tensor, factors: list[torch.Tensor], bias: torch.Tensor | None) -> torch.Tensor:
        seen.append(len(factors))
        result: torch.Tensor = honest(x, factors, bias)
        return result

    monkeypatch.setattr(ks_op, "ks_linear", counted)
    return seen


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("patterns", [ONE, TWO])
def test_results(patterns: str, bias: bool, launches: list[int]) -> None:
    module = layer(patterns, bias)
    x = torch.randn(3, 7, module.in_features)
    with torch.no_grad():
        assert close(module(x), reference(module, x))
    assert launches == [len(module.patterns)]


@pytest.mark.parametrize("lead", [(2, 9), ()])
@pytest.mark.parametrize("patterns", [ONE, TWO])
def test_gradients(patterns: str, lead: tuple[int, ...], launches: list[int]) -> None:
    module = layer(patterns)
    wide = copy.deepcopy(module).double()
    x = torch.randn(*lead, module.in_features, requires_grad=True)
    wide_x = x.detach().double().requires_grad_()
    weights = torch.randn(*lead, module.out_features)
    (module(x).tanh() * weights).sum().backward()
    (wide(wide_x).tanh() * weights).sum().backward()
    assert launches == [1] * len(module.patterns)
    pairs = [(x, wide_x), *zip(module.parameters(), wide.parameters(), strict=True)]
    for found, expected in pairs:
        assert found.grad is not None
        assert expected.grad is not None
        assert close(found.grad, expected.grad, 5e-6)


def test_gradients_that_nobody_wants_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlift.runtime import gradients

    def wanted(*_: object) -> torch.Tensor:
        raise AssertionError("the gradient of a frozen factor")

    monkeypatch.setattr(gradients, "ks_gradient", wanted)
    module = layer(ONE)
    module.factors[0].requires_grad_(False)
    x = torch.randn(4, module.in_features, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert module.bias is not None
    assert module.bias.grad is not None
    assert module.factors[0].grad is None


def test_frozen_factors_pass_gradients_on() -> None:
    module = layer(TWO)
    module.requires_grad_(False)
    x = torch.randn(4, module.in_features, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert close(x.grad, module.weight.double().sum(0).expand(4, -1))


def test_an_expanded_gradient() -> None:
    """``sum`` hands a gradient without memory of its own back."""
    module = layer(ONE, bias=False)
    x = torch.randn(4, module.in_features, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert close(x.grad, module.weight.detach().double().sum(0).expand(4, -1))


def test_second_derivatives_are_refused() -> None:
    module = layer(ONE)
    x = torch.randn(4, module.in_features, requires_grad=True)
    (first,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    with pytest.raises(UsageError) as raised:
        first.sum().backward()
    assert raised.value.code == "PL1461"


def test_several_factors_have_no_gradient_as_one() -> None:
    module = layer(TWO)
    x = torch.randn(4, module.in_features, requires_grad=True)
    with pytest.raises(UsageError) as raised:
        ks_op.ks_linear(x, list(module.factors), None)
    assert raised.value.code == "PL1460"


@pytest.mark.parametrize("patterns", [ONE, TWO])
def test_it_compiles_without_breaks(patterns: str) -> None:
    module = layer(patterns)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, module.in_features, requires_grad=True)
    compiled(x).square().sum().backward()
    found, x.grad = x.grad, None
    module(x).square().sum().backward()
    assert found is not None
    assert x.grad is not None
    assert torch.allclose(found, x.grad, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(compiled(x), module(x), rtol=1e-6, atol=1e-6)


def test_it_is_an_operator_as_torch_wants_them() -> None:
    module = layer(ONE)
    x = torch.randn(5, module.in_features, requires_grad=True)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_static")
    opcheck(ks_op.ks_linear, (x, [module.factors[0]], module.bias), test_utils=checks)


def test_autocast(launches: list[int]) -> None:
    module = layer(TWO)
    x = torch.randn(5, module.in_features)
    with torch.autocast("cpu", torch.float16):
        y = module(x)
        y.float().sum().backward()
    assert launches == [1, 1]
    assert y.dtype == torch.float16
    assert close(y.detach(), reference(module, x).detach(), 2e-3)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_without_kernels_run_as_before(dtype: torch.dtype, launches: list[int]) -> None:
    module = layer(TWO).to(dtype)
    x = torch.randn(5, module.in_features, dtype=dtype)
    assert module(x).dtype == dtype
    assert launches == []


def test_training_follows_changing_factors() -> None:
    module = layer(ONE)
    x, optimizer = torch.randn(8, module.in_features), torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            assert close(module(x), reference(module, x))


@pytest.mark.parametrize("patterns", [ONE, TWO])
def test_a_bias_alone_may_be_trained(patterns: str) -> None:
    module = layer(patterns)
    module.factors.requires_grad_(False)
    module(torch.randn(5, module.in_features)).sum().backward()
    assert module.bias is not None
    assert torch.equal(module.bias.grad, torch.full_like(module.bias, 5))  # type: ignore[arg-type]  # there is one


@pytest.mark.parametrize("patterns", [ONE, TWO])
def test_a_vector_has_gradients(patterns: str) -> None:
    module = layer(patterns)
    x = torch.randn(module.in_features, requires_grad=True)
    module(x).sum().backward()
    found, module.bias.grad = module.bias.grad, None  # type: ignore[union-attr]  # there is a bias
    assert torch.equal(found, torch.ones(module.out_features))  # type: ignore[arg-type]  # as above
    first, x.grad = x.grad, None
    module(x[None]).sum().backward()
    assert torch.equal(first, x.grad)  # type: ignore[arg-type]  # there is one


def test_empty_batches() -> None:
    module = layer(ONE)
    x = torch.randn(0, module.in_features, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_without_an_interpreter_or_a_card_nothing_is_launched() -> None:
    assert nn._has_kernels(torch.device("cpu"), torch.float32)
    assert not nn._has_kernels(torch.device("meta"), torch.float32)
