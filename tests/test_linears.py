"""Linear layers of a module that globs name, and those of them that nothing else can stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from pathlift.ir.errors import UsageError
from pathlift.linears import linears


def names(module: nn.Module, layers: Any = "*") -> list[tuple[str, ...]]:
    return [linear.names for linear in linears(module, layers)]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


def test_globs() -> None:
    module = network()
    assert names(module) == [("0",), ("2.0",), ("2.1",)]
    assert names(module, "2.*") == [("2.0",), ("2.1",)]
    assert names(module, "2.1, 0") == names(module, ["2.1", "0"]) == [("0",), ("2.1",)]
    assert names(module, ("*.1",)) == [("2.1",)]


def test_a_shared_layer_has_several_names() -> None:
    layer = nn.Linear(4, 4)
    (linear,) = linears(nn.ModuleDict({"a": layer, "b": nn.Sequential(layer)}), "b.*")
    assert linear.names == ("a", "b.0")
    assert linear.layer is layer
    assert not linear.reason


@pytest.mark.parametrize(
    ("module", "layers", "code", "says"),
    [
        (network(), "fc", "PL1450", "'fc' hint: there are 0, 2.0, 2.1"),
        (network(), ["0", "1"], "PL1450", "'1'"),  # a ReLU
        (nn.Sequential(*(nn.Linear(2, 2) for _ in range(7))), "fc", "PL1450", "0, 1, 2, 3, 4, and 2 more"),
        (nn.ReLU(), "*", "PL1450", "there are none"),
        (nn.Linear(4, 4), "*", "PL1451", "itself hint: KSLinear.from_linear"),
        ("model.pt", "*", "PL1456", "a str"),
        (network(), 3, "PL1457", "3"),
        (network(), [3], "PL1457", "[3]"),
        (network(), [], "PL1457", "[]"),
    ],
)
def test_what_names_nothing(module: Any, layers: Any, code: str, says: str) -> None:
    if code == "PL1451":
        says = says.replace("itself", "itself, and has none to replace")
    with pytest.raises(UsageError, match=code) as refusal:
        linears(module, layers)
    assert says in str(refusal.value)


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that torch has)
        return 2 * super().forward(input)


class Called(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return -self.forward(x)


class Named(nn.Linear):
    """Computes what its base does."""


class Scaled(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.register_buffer("scale", torch.ones(1))


class Tagged(Tensor):
    """A kind of tensor."""


class Tied(nn.Module):
    def __init__(self, share: Callable[[Any], Any]) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(6, 4), nn.Linear(4, 6)
        self.layer.weight = share(self.embedding.weight)


def patched() -> nn.Linear:
    layer = nn.Linear(4, 4)
    vars(layer)["forward"] = torch.relu
    return layer


def of_a_kind() -> nn.Linear:
    layer: Any = nn.Linear(4, 4)
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Tagged))
    return layer


def hooked(method: str) -> nn.Linear:
    layer = nn.Linear(4, 4)
    getattr(layer, method)(lambda *_: None)
    return layer


def biased_twice() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.bias = first.bias
    return nn.Sequential(first, second)


REASONS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "plain": (lambda: nn.Linear(4, 4), ""),
    "no-bias": (lambda: nn.Linear(4, 4, bias=False), ""),
    "subclass": (lambda: Named(4, 4), ""),
    "forward": (lambda: Doubled(4, 4), "its class, Doubled, has a forward of its own"),
    "call": (lambda: Called(4, 4), "its class, Called, has a forward of its own"),
    "patched": (patched, "its class, Linear, has a forward of its own"),
    "lazy": (lambda: nn.LazyLinear(4), "it is not initialized: run the module first"),
    "weight-norm": (lambda: parametrizations.weight_norm(nn.Linear(4, 4)), "its parameters are parametrized"),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", amount=2), "it has hooks"),
    "pre-hook": (lambda: hooked("register_forward_pre_hook"), "it has hooks"),
    "hook": (lambda: hooked("register_forward_hook"), "it has hooks"),
    "backward-hook": (lambda: hooked("register_full_backward_hook"), "it has hooks"),
    "backward-pre-hook": (lambda: hooked("register_full_backward_pre_hook"), "it has hooks"),
    "more": (Scaled, "it holds something else than a weight and a bias"),
    "kind": (of_a_kind, "its tensors are of a kind of their own"),
    "meta": (lambda: nn.Linear(4, 4, device="meta"), "its tensors are on the meta device, without values"),
    "complex": (lambda: nn.Linear(4, 4, dtype=torch.complex64), "its weights are [4, 4] of complex64"),
    "empty": (lambda: nn.Linear(0, 4), "its weights are [4, 0] of float32"),
    "attention": (lambda: nn.MultiheadAttention(4, 2), "attention reads its weights without calling it"),
    "tied": (lambda: Tied(lambda w: w), "its weight is tied: it shares memory with fc.embedding.weight"),
    "view": (
        lambda: Tied(lambda w: nn.Parameter(w.data)),
        "its weight is tied: it shares memory with fc.embedding.weight",
    ),
    "bias": (biased_twice, "its bias is tied: it shares memory with fc.1.bias"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Initializing zero-element")  # torch says so of them
@pytest.mark.parametrize("case", REASONS)
def test_reasons(case: str) -> None:
    make, reason = REASONS[case]
    assert linears(nn.ModuleDict({"fc": make()}), "*")[0].reason == reason


def test_a_plain_layer_within_attention() -> None:
    attention: Any = nn.MultiheadAttention(4, 2)
    attention.out_proj = nn.Linear(4, 4)
    (linear,) = linears(attention, "*")
    assert linear.reason == "attention reads its weights without calling it"


def test_a_linear_layer_around_others() -> None:
    module = Scaled()
    module.add_module("low_rank", nn.Linear(4, 1))
    assert names(module) == [("low_rank",)]
