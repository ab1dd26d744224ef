"""Binding modules: the graph follows their tensors, values and gradients, or the module is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from pathlift.frontend import bind as binding
from pathlift.frontend.bind import Bound, bind
from pathlift.frontend.export import export
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import UnsupportedError, UsageError
from pathlift.ir.types import Param
from pathlift.testing.modules import Net, weight


class Live(Numeric):
    """Execution with the present values of parameters."""

    def __init__(self, live: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.live = live

    def param(self, p: Param) -> Tensor:
        assert self.node is not None
        tensor = self.live.get(self.node.names[0])
        return super().param(p) if tensor is None else tensor.double()


def execute(bound: Bound, x: Tensor) -> Tensor:
    (name,) = (bound.graph[key].names[0] for key in bound.graph.inputs)
    (y,) = run(bound.graph, Live(bound.live()), {name: x.double()}).values()
    return y


def disturb(module: nn.Module) -> None:
    """Change all parameters in place, as an optimizer does, and buffers of floats, as training does."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.5).add_(torch.rand_like(tensor), alpha=0.1)


def gradients(module: nn.Module, y: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    (y.double() * torch.arange(1.0, y.numel() + 1).reshape(y.shape)).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    return net


def shared() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), nn.Sequential(layer))


def pruned() -> nn.Module:
    return prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5)


def masked() -> nn.Module:
    net = Net(lambda m, x: functional.linear(x, torch.where(m.mask, m.w, 0.0)), w=weight(3, 4))
    net.register_buffer("mask", torch.rand(3, 4) > 0.5)
    return net


def normalized() -> nn.Module:
    net = Net(lambda m, x: m.fc((x - m.mean) / m.std), fc=nn.Linear(4, 3))
    net.register_buffer("mean", torch.randn(4))
    net.register_buffer("std", torch.rand(4) + 0.5, persistent=False)
    return net


def edited() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        w = m.w.clone()
        w[0] = 0
        return functional.linear(x, w)

    return Net(forward, w=weight(3, 4))


IMAGE = (2, 3, 6, 6)
FOLLOWED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear on 3-D": (lambda: nn.Linear(4, 3), (2, 5, 4)),
    "transposed conv": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), IMAGE),
    "batch norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), IMAGE),
    "norm without weights": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), IMAGE),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 3)), (2, 4)),
    "scaled product": (
        lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w, alpha=2), w=weight(4, 4), b=weight(4)),
        (2, 4),
    ),
    "tied": (tied, (2, 4)),
    "shared": (shared, (2, 4)),
    "autoencoder": (
        lambda: Net(lambda m, x: functional.linear(functional.linear(x, m.w).relu(), m.w.t()), w=weight(3, 4)),
        (2, 5, 4),
    ),
    "prelu": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4), nn.PReLU()), IMAGE),
    "layer scale": (lambda: Net(lambda m, x: x * m.gamma[:, None, None], gamma=weight(3)), IMAGE),
    "view": (lambda: Net(lambda m, x: functional.linear(x, m.w.view(3, 4)), w=weight(12)), (2, 4)),
    "difference": (lambda: Net(lambda m, x: (x - m.a) + (m.b - x), a=weight(4), b=weight(4)), (2, 4)),
    "slices": (lambda: Net(lambda m, x: x @ m.w.chunk(2)[0] + x @ m.w.chunk(2)[1], w=weight(8, 3)), (2, 4)),
    "low rank": (lambda: Net(lambda m, x: x @ (m.u @ m.v), u=weight(4, 2), v=weight(2, 3)), (2, 4)),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), IMAGE),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(4, 3)), (2, 4)),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), (2, 4)),
    "pruned": (pruned, (2, 4)),
    "masked": (masked, (2, 4)),
    "plain attribute": (lambda: Net(lambda m, x: x @ (m.w * m.mask), w=weight(4, 3), mask=torch.rand(4, 3)), (2, 4)),
    "cast": (lambda: Net(lambda m, x: x @ m.w.float(), w=nn.Parameter(torch.randn(4, 3).bfloat16())), (2, 4)),
    "input normalization": (normalized, (2, 4)),
    "changed in place": (edited, (2, 4)),
    "straight-through": (lambda: Net(lambda m, x: x @ (m.w + (m.w.sign() - m.w).detach()), w=weight(4, 3)), (2, 4)),
    "stopped": (lambda: Net(lambda m, x: x @ m.w / m.w.detach().abs().max(), w=weight(4, 3)), (2, 4)),
    "thresholded": (lambda: Net(lambda m, x: x @ (m.w * (m.w.abs() > 0.5)), w=weight(4, 3)), (2, 4)),
    "clashing names": (
        lambda: Net(lambda m, x: x * m.x + m.output * m.mul, x=weight(4), output=weight(4), mul=weight(4)),
        (2, 4),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLLOWED)
def test_values_and_gradients_are_those_of_the_module_after_it_has_changed(name: str) -> None:
    make, shape = FOLLOWED[name]
    torch.manual_seed(0)
    module = make()
    bound = bind(module, shape)
    disturb(module)
    x = torch.randn(shape)
    module.eval()
    wanted, found = module(x), execute(bound, x)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-4, atol=1e-5)
    wanted_gradients = gradients(module, wanted)
    torch.testing.assert_close(gradients(module, found), wanted_gradients, rtol=1e-3, atol=1e-4)
    assert all(gradient.any() for gradient in wanted_gradients.values())


def test_whatever_is_read_directly_is_the_modules_own_tensor() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    bound = bind(module, (2, 4))
    assert bound.live().keys() == {name for name in module.state_dict() if "batches" not in name}
    assert all(tensor is own for tensor, own in _pairs(bound, module))
    module.load_state_dict({name: tensor + 1 for name, tensor in module.state_dict().items()})
    module[0].weight = weight(4, 4)
    assert all(tensor is own for tensor, own in _pairs(bound, module.double()))
    assert bound.live()["0.weight"].dtype == torch.float64


def _pairs(bound: Bound, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    return [(tensor, own[name]) for name, tensor in bound.live().items()]


def test_computed_weights_move_with_the_module() -> None:
    module = parametrizations.weight_norm(nn.Linear(4, 3))
    bound = bind(module, (2, 4))
    module.to("meta")
    assert {tensor.device.type for tensor in bound.live().values()} == {"meta"}


def test_tied_parameters_are_one() -> None:
    bound = bind(tied(), (2, 4))
    assert len(bound.live()) == len(bound.graph.params) == 3


def test_frozen_parameters_stay_frozen() -> None:
    module = pruned().requires_grad_(False)
    module.bias.requires_grad_(True)
    live = bind(module, (2, 4)).live()
    assert sorted(tensor.requires_grad for tensor in live.values()) == [False, True]


def test_constants_of_the_code_stay_constants() -> None:
    module = Net(lambda m, x: x * m.w + torch.tensor([1.0, 2.0, 3.0]).exp(), w=weight(3))
    bound = bind(module, (2, 3))
    assert bound.live().keys() == {"w"}
    assert len(bound.graph.params) == 2


def test_training_goes_on_as_if_nothing_was_bound_or_read() -> None:
    def train(*, bound: bool) -> dict[str, Tensor]:
        torch.manual_seed(1)
        module = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4), nn.Dropout())
        module[1].eval()
        read = bind(module, (2, 4)).live if bound else dict
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for _ in range(3):
            read()
            optimizer.zero_grad()
            module(torch.randn(5, 4)).square().sum().backward()
            optimizer.step()
        assert [part.training for part in module] == [True, False, True]
        return module.state_dict()

    torch.testing.assert_close(train(bound=True), train(bound=False), rtol=0, atol=0)


def test_nodes_around_computed_weights_carry_module_names() -> None:
    module = nn.Sequential(nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU()))
    graph = bind(module, IMAGE).graph
    assert [graph[key].label for key in graph if graph[key].op in ("Conv", "Relu")] == ["0.0", "0.1"]


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "bound": (lambda: Net(lambda m, x: torch.clamp(x, max=m.w), w=weight()), "PL0389", "Clip"),
    "power": (lambda: Net(lambda m, x: x**m.w, w=nn.Parameter(torch.tensor(2.0))), "PL0389", "Pow"),
    "number": (lambda: Net(lambda m, x: x * m.w.exp().item(), w=weight()), "PL0390", "as a tensor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(name: str) -> None:
    make, code, words = REFUSED[name]
    with pytest.raises(UnsupportedError) as caught:
        bind(make(), (2, 4))
    assert caught.value.code == code
    assert words in str(caught.value)


def test_tensors_that_the_exporter_copies_are_not_taken_for_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    def copying(module: nn.Module, example: Any) -> Any:
        return export(copy.deepcopy(module), example)

    monkeypatch.setattr(binding, "export", copying)
    with pytest.raises(UnsupportedError, match=r"PL0388.*'bias'"):
        bind(nn.Linear(4, 3), (2, 4))


def indexed() -> nn.Module:
    net = Net(lambda m, x: x[:, m.index] * m.w, w=weight(4))
    net.register_buffer("index", torch.tensor([1, 0, 3, 2]))
    return net


def low_rank() -> nn.Module:
    return Net(lambda m, x: x @ (m.u @ m.v), u=weight(4, 2), v=weight(2, 3))


def with_attribute() -> nn.Module:
    return Net(lambda m, x: x * (m.w * m.mask), w=weight(4), mask=torch.ones(4))


CHANGED: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], object], str, str]] = {
    "removed": (low_rank, lambda m: delattr(m, "u"), "PL0488", "'u'"),
    "attribute removed": (with_attribute, lambda m: delattr(m, "mask"), "PL0488", "'mask'"),
    "pruned since": (low_rank, lambda m: prune.l1_unstructured(m, "u", 1), "PL0488", "'u'"),
    "reparametrized since": (lambda: nn.Linear(4, 3), parametrizations.weight_norm, "PL0488", "'weight'"),
    "reshaped": (low_rank, lambda m: setattr(m, "u", weight(4, 1)), "PL0489", "(4, 1)"),
    "rounded": (with_attribute, lambda m: setattr(m, "mask", torch.ones(4).int()), "PL0489", "int32"),
    "untied": (tied, lambda m: setattr(m[0], "weight", weight(4, 4)), "PL0492", "0.weight, 2.weight"),
    "reindexed": (indexed, lambda m: m.index.copy_(torch.arange(4)), "PL0493", "'index'"),
    "half converted": (low_rank, lambda m: setattr(m, "u", nn.Parameter(m.u.half())), "PL0494", "dtype"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_a_module_that_is_not_what_was_bound_is_a_usage_error(name: str) -> None:
    make, change, code, words = CHANGED[name]
    module = make()
    bound = bind(module, (2, 4))
    bound.live()
    change(module)
    with pytest.raises(UsageError) as caught:
        bound.live()
    assert caught.value.code == code
    assert words in str(caught.value)
    assert caught.value.hint == "bind the module again"
