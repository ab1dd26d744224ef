"""Splitting modules: what is computed from weights alone comes apart, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from pathlift.frontend.split import named_tensors, split
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.testing.modules import Net, weight


def test_a_module_that_computes_nothing_from_its_weights_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    parts = split(module, (2, 4))
    assert parts.network is module
    assert parts.reads == parts.tensors.keys() == named_tensors(module).keys() - {"1.num_batches_tracked"}
    assert parts.compute(named_tensors(module)) == {}


def test_network_and_weights_make_the_module() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3)).train()
    parts = split(module, (2, 4))
    x, own = torch.randn(5, 4), named_tensors(module)
    torch.testing.assert_close(parts.network(x)[0], module(x))
    (computed,) = parts.compute(own).items()
    assert computed[0] == parts.computed[0]
    torch.testing.assert_close(computed[1], module[0].weight)
    assert parts.reads == own.keys()
    assert set(parts.tensors) == {*parts.computed, "0.bias", "2.weight", "2.bias"}
    assert module.training


def test_assertions_about_weights_do_not_keep_them() -> None:
    module = Net(lambda m, x: x @ m.w.float(), w=nn.Parameter(torch.randn(4, 3).half()))  # torch asserts the dtype
    assert set(split(module, (2, 4)).tensors) == {"/_to_copy"}


def test_several_outputs_and_buffers_that_count_calls() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        m.calls += 1
        return x * m.calls, (m.w.exp(), x)

    module = Net(forward, w=weight(4))
    module.register_buffer("calls", torch.zeros(()))
    parts = split(module, (2, 4))
    assert module.calls == 0
    x, outputs = torch.randn(2, 4), module(torch.randn(2, 4))
    assert len(parts.network(x)) == len(outputs) + 1
    torch.testing.assert_close(parts.network(x)[0], x)


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def switching(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        size = m.w.abs().max()
    return x * (m.w / size)


def data_dependent(m: Any, x: Tensor) -> Tensor:
    return x * m.w if x.sum() > 0 else -x


def eager_only(m: Any, x: Tensor) -> Tensor:
    if not torch.compiler.is_dynamo_compiling():
        raise ValueError("compile me")
    return x * m.w


def listed() -> nn.Module:
    w = weight(4)
    return Net(lambda m, x: x * m.list[0], w=w, list=[w])


def kept() -> nn.Module:
    w = weight(4, 3)
    return Net(lambda m, x: functional.linear(x, m.transposed), w=w, transposed=w.t())


def unregistered() -> nn.Module:
    return Net(lambda m, x: x * m.list[0], list=[torch.randn(4, requires_grad=True)])


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "random": (lambda: Net(lambda m, x: x * (m.w + torch.randn_like(m.w)), w=weight(4)), "PL0386", "randn_like"),
    "own gradient": (lambda: Net(lambda m, x: x @ Sign.apply(m.w).t(), w=weight(3, 4)), "PL0387", "sign"),
    "no gradient": (lambda: Net(switching, w=weight(4)), "PL0384", "detach()"),
    "list": (listed, "PL0385", "(4,)"),
    "computed once": (kept, "PL0385", "'transposed'"),
    "unregistered": (unregistered, "PL0385", "(4,)"),
    "not traceable": (lambda: Net(eager_only, w=weight(4)), "PL0383", "compile me"),
    "not exportable": (lambda: Net(data_dependent, w=weight(4)), "PL0380", "Net"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(name: str) -> None:
    make, code, words = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        split(make(), (2, 4))
    assert caught.value.code == code
    assert words in str(caught.value)


def test_rounding_that_no_gradient_passes_is_no_loss() -> None:
    module = Net(lambda m, x: x * (m.w + (m.w.round() - m.w).detach()) * m.scale.floor(), w=weight(4))
    module.register_buffer("scale", torch.rand(4))
    assert len(split(module, (2, 4)).computed) == 2


def test_a_module_that_does_not_accept_the_example_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="PL0486"):
        split(nn.Linear(5, 3), (2, 4))
