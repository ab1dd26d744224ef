"""Operator norms are bounds, and near: against singular values of the whole operator, row by row of the identity."""

from __future__ import annotations

import pytest
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import LinearMap
from pathlift.ir.primitives.maps import Contract, Conv, ConvTranspose
from pathlift.passes.generalization import operator_norms
from pathlift.passes.generalization.operator_norms import operator_norm, spectral_norms

Tensor = torch.Tensor


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operator(f: LinearMap, w: Tensor, *shape: int) -> Tensor:
    """The matrix of the map on inputs of this shape; rows are outputs."""
    n = int(torch.tensor(shape).prod())
    columns = [f(e.reshape(1, *shape), w).reshape(-1) for e in torch.eye(n, dtype=torch.float64)]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (7, 2), (40, 60)])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_spectral_norms(shape: tuple[int, int], scale: float) -> None:
    w = weights(*shape) * scale
    exact = float(torch.linalg.matrix_norm(w, 2))
    assert exact <= float(spectral_norms(w)) <= exact * 1.002


def test_spectral_norms_of_orthogonal_and_zero_matrices() -> None:
    q = torch.linalg.qr(weights(30, 30)).Q
    assert 1 <= float(spectral_norms(q)) <= 1.002
    assert 1 <= float(spectral_norms(torch.eye(64, dtype=torch.float64))) <= 1.002
    assert float(spectral_norms(torch.zeros(3, 4, dtype=torch.float64))) < 1e-6
    assert spectral_norms(torch.zeros(2, 0, 4, dtype=torch.float64)).tolist() == [0, 0]


CONVS = [
    (Conv((1, 1), (1, 1, 1, 1), (1, 1)), (3, 2, 3, 3), (2, 9, 9)),
    (Conv((2, 1), (0, 1, 0, 2), (1, 2)), (2, 3, 2, 3), (3, 7, 8)),
    (Conv((1, 1), (1, 1, 1, 1), (1, 1), 2), (4, 1, 3, 3), (2, 8, 8)),
    (Conv((1,), (2, 2), (1,)), (3, 2, 5), (2, 20)),
    (Conv((1, 1, 1), (0,) * 6, (1, 1, 1)), (2, 2, 2, 1, 2), (2, 4, 4, 4)),
    (ConvTranspose((2, 2), (1, 1, 1, 1), (1, 1), (1, 1)), (3, 2, 3, 3), (3, 4, 4)),
    (ConvTranspose((1, 1), (0, 0, 0, 0), (1, 1), (0, 0), 2), (4, 1, 3, 3), (4, 5, 5)),
    (Contract("...i,io->...o"), (4, 3), (4,)),
    (Contract("...i,oi->...o"), (4, 3), (2, 3)),
    (Contract("...gi,goi->...go"), (2, 4, 3), (2, 3)),
]


@pytest.mark.parametrize(("f", "shape", "inputs"), CONVS)
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_bounds_of_maps(f: LinearMap, shape: tuple[int, ...], inputs: tuple[int, ...], norm: str) -> None:
    w = weights(*shape, seed=len(shape))
    matrix = operator(f, w, *inputs)
    exact = float(torch.linalg.matrix_norm(matrix, 2) if norm == "l2" else matrix.abs().sum(1).amax())
    bound = operator_norm(f, w, "l2" if norm == "l2" else "linf")
    assert exact * (1 - 1e-13) <= bound
    loose = 1.5 if isinstance(f, Conv) else 4.0 if isinstance(f, ConvTranspose) else 1.001
    assert bound <= exact * loose


def test_constant_kernels_reach_the_bound() -> None:
    """A sum over taps of one sign has its largest transfer at ω = 0, which is on the grid."""
    w = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    assert 9 <= operator_norm(Conv((1, 1), (1, 1, 1, 1), (1, 1)), w, "l2") <= 9.01


def test_between_the_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse grid misses the maximum, and the bound allows for it."""
    monkeypatch.setattr(operator_norms, "FREQUENCIES", 1)
    for seed in range(20):
        w = weights(1, 1, 1, 3, seed=seed)
        fine = torch.linspace(-3.1416, 3.1416, 2001, dtype=torch.float64)
        waves = torch.polar(torch.ones(3, 2001, dtype=torch.float64), torch.outer(torch.arange(3.0).double(), fine))
        exact = float((w[0, 0].to(torch.complex128) @ waves).abs().amax())
        assert operator_norms._by_frequencies(w) >= exact * (1 - 1e-9)


def test_large_convolutions_are_bounded_by_their_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    f, w = Conv((1, 1), (1, 1, 1, 1), (1, 1)), weights(3, 2, 3, 3)
    near = operator_norm(f, w, "l2")
    monkeypatch.setattr(operator_norms, "WORK", 0)
    assert near <= operator_norm(f, w, "l2") <= 3 * near


def test_contractions_without_a_rule() -> None:
    with pytest.raises(UnsupportedError, match="PL1377"):
        operator_norm(Contract("...ij,io->...o"), weights(2, 3), "l2")
