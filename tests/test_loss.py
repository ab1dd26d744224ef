"""The path-norm as a regularizer: its gradients, and that it follows the module."""

from __future__ import annotations

import functools
import gc
import math
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pathlift

Q = [0.5, 1.0, 2.0, 3.3, math.inf]


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)) + x)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        Residual(3),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, stride=2, groups=1),
        nn.PReLU(4, init=1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return module


EXAMPLE = torch.zeros(1, 2, 12, 12, dtype=torch.float64)


@functools.cache
def norms() -> dict[float, Any]:
    """Norms of the network, by exponent."""
    return {norm.q: norm for norm in pathlift.norm(network(), q=tuple(Q), example=EXAMPLE).norms}


@pytest.mark.parametrize(
    ("q", "log"),
    [pytest.param(q, log, marks=() if (q, log) == (2, True) else pytest.mark.slow) for q in Q for log in (False, True)],
)
def test_gradients_match_finite_differences(q: float, log: bool) -> None:
    module = network()
    loss = pathlift.PathNormLoss(module, EXAMPLE, q, log=log)
    value = loss()
    value.backward()
    norm = norms()[q]
    assert value.item() == pytest.approx(norm.log10 * math.log(10) if log else norm.value, rel=1e-12, abs=1e-12)
    seen = 0.0
    for name, p in module.named_parameters():
        for i in range(0, p.numel(), max(1, p.numel() // 5)):
            flat, step = p.data.view(-1), 1e-6
            before = flat[i].item()
            sides = []
            for h in (step, -step):
                flat[i] = before + h
                sides.append(loss().item())
            flat[i] = before
            expected = (sides[0] - sides[1]) / (2 * step)
            gradient = 0.0 if p.grad is None else p.grad.view(-1)[i].item()
            assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-6 * abs(value.item()) + 1e-8), name
            seen += abs(gradient)
    assert seen > 0


@pytest.mark.slow
@pytest.mark.parametrize("q", Q)
def test_value_is_that_of_the_file(q: float) -> None:
    module = network()
    value = pathlift.path_norm_loss(module, EXAMPLE, q)
    assert value.item() == pytest.approx(pathlift.norm(module, q=q, example=EXAMPLE).value, rel=1e-12)


def test_every_option_and_shape_has_a_loss_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice for each, in turn: what is compiled for one is no other's, and is compiled once."""
    import pathlift.loss as home

    class Recorded:
        def __init__(self, module: nn.Module, example: Tensor, q: float, **options: Any) -> None:
            self._bound = SimpleNamespace(released=lambda: None)
            self.value = (tuple(example.shape), example.dtype, q, options)
            compiled.append(self.value)

        def __call__(self) -> Any:
            return self.value

    compiled: list[Any] = []
    monkeypatch.setattr(home, "PathNormLoss", Recorded)
    module, (a, b) = nn.Linear(3, 2), (torch.zeros(1, 3), torch.zeros(2, 3))
    options: list[dict[str, Any]] = [{}, {"log": True}, {"pooling": "max"}, {"inputs_only": True}, {"dtype": "float32"}]
    asked = [(x, q, o) for x in (a, b, a.double()) for q in (1.0, 2.0, math.inf) for o in options]
    expected = [(tuple(x.shape), x.dtype, q, {"log": False} | o) for x, q, o in asked]
    for _ in range(2):
        assert [pathlift.path_norm_loss(module, x, q, **o) for x, q, o in asked] == expected
    assert compiled == expected


@pytest.mark.slow
def test_training_on_it_alone_shrinks_it_and_compiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import pathlift.loss as home

    module = network().train()
    first = pathlift.path_norm_loss(module, EXAMPLE, 1).item()
    monkeypatch.setattr(home, "bind", None)  # a second compilation would fail
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        pathlift.path_norm_loss(module, EXAMPLE, 1).log().backward()
        optimizer.step()
    assert pathlift.path_norm_loss(module, EXAMPLE, 1).item() < 0.5 * first
    assert module.training


@pytest.mark.slow
def test_a_module_with_other_tensors_is_compiled_again() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    pathlift.path_norm_loss(module, (1, 4))
    module[0], module[2] = nn.Linear(4, 7), nn.Linear(7, 1)
    value = pathlift.path_norm_loss(module, (1, 4)).item()
    assert value == pytest.approx(pathlift.norm(module, example=(1, 4)).value, rel=1e-12)


def test_the_cache_does_not_keep_modules_alive() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    pathlift.path_norm_loss(module, (1, 4))
    alive = weakref.ref(module)
    del module
    gc.collect()
    assert alive() is None


def test_rescaling_leaves_the_loss_and_moves_the_gradient() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    example = torch.zeros(1, 4, dtype=torch.float64)
    before = pathlift.path_norm_loss(module, example, 2).item()
    with torch.no_grad():
        module[0].weight *= 8
        module[0].bias *= 8
        module[2].weight /= 8
    assert pathlift.path_norm_loss(module, example, 2).item() == before


@pytest.mark.slow
def test_norms_beyond_float64_have_a_logarithm() -> None:
    layers: list[nn.Module] = []
    for _ in range(120):
        layers += [nn.Linear(4, 4, bias=False), nn.ReLU()]
    module = nn.Sequential(*layers)
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(1000.0)
    with pytest.raises(pathlift.PathliftError, match=r"PL0913 .*hint: log=True"):
        pathlift.path_norm_loss(module, (1, 4))
    value = pathlift.path_norm_loss(module, (1, 4), log=True)
    value.backward()
    assert value.item() == pytest.approx(120 * math.log(4000) + math.log(4), rel=1e-12)
    assert all(p.grad is not None and bool((p.grad > 0).all()) for p in module.parameters())


class Product(nn.Module):
    """Multiplies its input by each of its weights."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.tensor([w], dtype=torch.float64)) for w in weights)

    def forward(self, x: Tensor) -> Tensor:
        for w in self.weights:
            x = x * w
        return x


@pytest.mark.parametrize("octaves", [[-396] * 5 + [-40] + [396] * 6, [396] * 5 + [40] + [-396] * 6])
def test_a_norm_within_float64_has_a_value_whatever_the_powers_on_the_way(octaves: list[int]) -> None:
    """In powers of |θ|^½ the product goes to 2^∓1010 and back."""
    module = Product([2.0**k for k in octaves])
    value = pathlift.path_norm_loss(module, torch.zeros(1, 1, dtype=torch.float64), 0.5)
    assert value.item() == pytest.approx(2.0 ** sum(octaves), rel=1e-12, abs=0)


class Alike(nn.Module):
    """Equal to any other of its kind."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2, bias=False)
        nn.init.constant_(self.linear.weight, weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike)

    def __hash__(self) -> int:
        return 0


@pytest.mark.slow
def test_modules_that_are_equal_have_norms_of_their_own() -> None:
    one, hundred = Alike(1.0), Alike(100.0)
    assert [pathlift.path_norm_loss(m, (1, 3)).item() for m in (one, hundred, one)] == [6.0, 600.0, 6.0]


def test_an_example_is_known_by_its_shape_however_it_is_given() -> None:
    module = Alike(1.0)
    for example in ((1, 3), [[1, 3]]):
        assert pathlift.path_norm_loss(module, example).item() == 6.0
    for odd in (torch.zeros(1, 3).numpy(), {"x": torch.zeros(1, 3)}, [("N", 3)], {1, 3}):
        with pytest.raises(pathlift.PathliftError, match="PL0484"):
            pathlift.path_norm_loss(module, odd)  # type: ignore[arg-type]  # no input of a module
    with pytest.raises(pathlift.PathliftError, match="PL1429"):
        pathlift.path_norm_loss(module, (1, 3), pooling=["sum"])


def test_a_zero_norm_has_gradient_zero_and_no_logarithm() -> None:
    module = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(module.weight)
    value = pathlift.path_norm_loss(module, (1, 4), 2)
    value.backward()
    assert value.item() == 0
    assert module.weight.grad is None or not module.weight.grad.any()
    with pytest.raises(pathlift.PathliftError, match="PL0912"):
        pathlift.path_norm_loss(module, (1, 4), 2, log=True)


def test_wrong_uses_are_coded() -> None:
    module = nn.Linear(4, 3)
    with pytest.raises(pathlift.PathliftError, match="PL0428"):
        pathlift.path_norm_loss(module, (1, 4), 0)
    with pytest.raises(pathlift.PathliftError, match="PL0420"):
        pathlift.path_norm_loss(module, (1, 4), -1)
    with pytest.raises(pathlift.PathliftError, match="PL0315"):
        pathlift.path_norm_loss(nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 1)), (1, 4))
    for bad in (math.nan, math.inf):
        with torch.no_grad():
            module.weight[0, 0] = bad
        with pytest.raises(pathlift.PathliftError, match="PL0180"):
            pathlift.path_norm_loss(module, (1, 4))
