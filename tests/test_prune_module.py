"""Masks of modules: where weights are zero, that training keeps them, ties, rounds, and modules left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import pathlift
from pathlift.frontend.bind import bind
from pathlift.ir.errors import PathliftError
from pathlift.passes.pruning.prune import Prune

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def zeros(module: nn.Sequential) -> int:
    return sum(int((layer.weight == 0).sum()) for layer in module if isinstance(layer, nn.Linear))


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["path", "wanda", "taylor"])
def test_zeros_stay_while_the_module_is_trained(criterion: str) -> None:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    found = pathlift.prune_module(module, (1, 6), 0.75, criterion=criterion, scope="layer", calib=[X])
    assert (found.sparsity, zeros(module)) == (0.75, 0.75 * 136)
    assert [(x.total, x.zeroed) for x in found.layers] == [(48, 36), (64, 48), (24, 18)]
    before = [p.clone() for p in module.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        module(X).square().sum().backward()
        optimizer.step()
    module(X)
    assert zeros(module) == 0.75 * 136
    assert any((a != b).any() for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.slow
def test_masks_are_those_of_the_graph() -> None:
    module = network()
    bound = bind(module, [(1, 6)])
    masks = Prune(sparsity=0.6).run(bound.graph).witness.masks  # type: ignore[attr-defined]
    pathlift.prune_module(module, (1, 6), 0.6)
    for name, mask in masks.items():
        buffer = dict(module.named_buffers())[f"{bound.sources[name].name}_mask"]
        assert (buffer.numpy().astype(bool) == mask.reshape(buffer.shape)).all()


@pytest.mark.slow
def test_rounds_keep_what_was_masked() -> None:
    module = network()
    pathlift.prune_module(module, (1, 6), 0.5)
    parameters = {id(p) for p in module.parameters()}
    first = [layer.weight_mask.clone() for layer in module if isinstance(layer, nn.Linear)]  # type: ignore[operator]
    found = pathlift.prune_module(module, (1, 6), 0.75, criterion="magnitude")
    second = [layer.weight_mask for layer in module if isinstance(layer, nn.Linear)]
    assert all((b <= a).all() for a, b in zip(first, second, strict=True))  # type: ignore[operator]
    assert found.sparsity == 0.75
    assert zeros(module) == 0.75 * 136
    assert {id(p) for p in module.parameters()} == parameters
    torch_prune.remove(module[0], "weight")  # type: ignore[no-untyped-call]
    assert isinstance(module[0].weight, nn.Parameter)


@pytest.mark.slow
def test_a_layer_used_twice_and_tensors_that_are_shared() -> None:
    module = network()
    module[2].weight = nn.Parameter(torch.randn(8, 8))
    shared = nn.Linear(8, 8)
    shared.weight = module[2].weight
    module = nn.Sequential(module[0], module[1], module[2], nn.ReLU(), shared, nn.ReLU(), module[4])
    found = pathlift.prune_module(module, (1, 6), 0.5, criterion="magnitude")
    assert found.layers[1].total == 64
    assert len(found.layers) == 3
    module(X)
    assert (module[2].weight == module[4].weight).all()
    assert sum(x.zeroed for x in found.layers) == 68


class Scaled(nn.Module):
    """A layer whose weights are computed, beside one that holds its own."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.scale = nn.Linear(6, 8), nn.Parameter(torch.full((8, 1), 2.0))
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(nn.functional.linear(x, self.base.weight * self.scale)))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_what_a_module_computes_stays() -> None:
    module = Scaled()
    found = pathlift.prune_module(module, (1, 6), 0.5)
    assert [x.total for x in found.layers] == [24]
    assert len(found.kept) == 1
    assert not (module.base.weight == 0).any()


@pytest.mark.slow
def test_a_refusal_leaves_the_module_as_it_was() -> None:
    module = network()
    pathlift.prune_module(module, (1, 6), 0.5)
    state = {name: x.clone() for name, x in module.state_dict().items()}
    with pytest.raises(PathliftError, match="PL1403"):
        pathlift.prune_module(module, (1, 6), 0.75, include="none")
    now = module.state_dict()
    assert list(now) == list(state)
    assert all(np.array_equal(now[name], x) for name, x in state.items())
    with pytest.raises(PathliftError, match="PL1409"):
        pathlift.prune_module(network(), (1, 6), 1.0)
