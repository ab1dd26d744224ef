"""Weights that go: exact numbers, ties, zeros, scopes, N:M and blocks, against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.selection import select
from pathlift.passes.pruning.structure import Block, Single, Sparse, Structure, read_structure


def gemms(*weights: Array) -> Graph:
    """Gemms one after another, whose weights are ``(in, out)``."""
    b = Builder()
    x = b.input("x", ("N", len(weights[0])), "f64")
    for i, w in enumerate(weights):
        x = b.op("Gemm", x, b.param(w, f"w{i}"), name=f"g{i}")
    return b.finish(x)


def chosen(
    *weights: Array, sparsity: float = 0.5, scope: str = "global", structure: Structure | Sparse | None = None
) -> list[Array]:
    """Masks, by magnitude."""
    found = prunables(gemms(*weights)).found
    scores = {p.name: np.abs(p.values()) for p in found}
    return list(select(found, scores, sparsity, scope, structure or Single()).values())


@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.33, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("scope", ["global", "layer", "row"])
def test_so_many_go_and_the_smallest_of_them(sparsity: float, scope: str) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.permutation(35).reshape(5, 7) + 1.0, rng.permutation(21).reshape(7, 3) + 50.0]
    groups = {
        "global": [[w.ravel() for w in weights]], "layer": [[w.ravel()] for w in weights],
        "row": [[row] for w in weights for row in w.T],
    }[scope]  # fmt: skip
    masks = chosen(*weights, sparsity=sparsity, scope=scope)
    gone = {float(v) for w, m in zip(weights, masks, strict=True) for v in w[~m]}
    expected = set[float]()
    for group in groups:
        values = np.sort(np.concatenate(group))
        expected |= set(values[: round(sparsity * len(values))].tolist())
    assert gone == expected


def test_zeros_go_first_and_of_equals_the_first() -> None:
    (mask,) = chosen(np.array([[1.0, 1.0], [0.0, 1.0], [1.0, -1.0]]), sparsity=0.5)
    assert mask.T.tolist() == [[False, False, False], [True, True, True]]  # by output
    (mask,) = chosen(np.zeros((2, 3)), sparsity=0.5)
    assert (~mask).sum() == 3


def test_scores_of_zero_are_still_worth_more_than_weights_of_zero() -> None:
    found = prunables(gemms(np.array([[1.0, 0.0]]))).found
    (mask,) = select(found, {"w0": np.zeros((1, 2))}, 0.5, "global", Single()).values()
    assert mask.tolist() == [[True, False]]


def test_two_of_four() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3))  # (in, out)
    (mask,) = chosen(weight, structure=Sparse(2, 4))
    for output, start in np.ndindex(3, 2):
        size, stays = (a[4 * start : 4 * start + 4, output] for a in (np.abs(weight), mask))
        assert stays.sum() == 2
        assert size[stays].min() >= size[~stays].max()


@pytest.mark.parametrize(("groups", "shape"), [(1, (4, 8, 3, 3)), (2, (4, 4, 1, 1))])
def test_the_inputs_of_a_convolution_are_its_channels(groups: int, shape: tuple[int, ...]) -> None:
    rng, b = np.random.default_rng(0), Builder()
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": groups}
    x = b.input("x", ("N", 8, 5, 5), "f64")
    graph = b.finish(b.op("Conv", x, b.param(rng.standard_normal(shape), "w"), **window))
    found = prunables(graph).found
    (mask,) = select(found, {"w": np.abs(found[0].values())}, 0.5, "global", Sparse(1, 4)).values()
    assert (mask.reshape(4, -1, 4, *shape[2:]).sum(2) == 1).all()


def test_a_transposed_convolution_has_its_inputs_in_front() -> None:
    rng, b = np.random.default_rng(0), Builder()
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "output_padding": (0, 0), "groups": 2}
    x = b.input("x", ("N", 8, 5, 5), "f64")
    graph = b.finish(b.op("ConvTranspose", x, b.param(rng.standard_normal((8, 3, 2, 2)), "w"), **window))
    (p,) = prunables(graph).found
    assert p.layout.extents == (6, 4, 4)
    assert (p.layout.weights(p.layout.matrices(p.values()), p.param.shape) == p.values()).all()
    assert (p.layout.matrices(p.values())[4] == p.values()[4:, 1].reshape(4, 4).T).all()
    (mask,) = select([p], {"w": np.abs(p.values())}, 0.5, "global", Sparse(1, 4)).values()
    assert (mask.reshape(2, 4, 3, 2, 2).sum(1) == 1).all()


def test_blocks_go_by_what_they_hold() -> None:
    weight = np.ones((6, 4))  # 2×3 blocks of 2 outputs × 2 inputs
    for i, (row, col) in enumerate(np.ndindex(3, 2)):
        weight[2 * row : 2 * row + 2, 2 * col : 2 * col + 2] *= 1 + (i * 5) % 6
    (mask,) = chosen(weight, sparsity=0.5, structure=Block(2, 2))
    assert set(np.unique(weight[~mask])) == {1.0, 2.0, 3.0}
    assert (~mask).sum() == 12


def test_zeros_in_a_block_count_for_nothing() -> None:
    (mask,) = chosen(np.array([[0.0, 0.3], [1.0, 0.3]]), structure=Block(1, 2))
    assert mask.tolist() == [[True, False], [True, False]]


def test_a_block_of_zeros_goes_before_one_that_is_worth_nothing() -> None:
    found = prunables(gemms(np.array([[1.0, 0.0], [1.0, 0.0]]))).found
    (mask,) = select(found, {"w0": np.zeros((2, 2))}, 0.5, "global", Block(1, 2)).values()
    assert mask.tolist() == [[True, False], [True, False]]


def test_what_does_not_have_the_structure() -> None:
    (p,) = prunables(gemms(np.ones((6, 4)))).found
    assert Sparse(2, 4).refusal(p) == "its 6 inputs are no multiple of 4"
    assert Block(4, 4).refusal(p) == "blocks of 4×4 do not tile 4 outputs × 6 inputs"
    assert not Block(4, 3).refusal(p)
    assert not Sparse(1, 3).refusal(p)


@pytest.mark.parametrize(
    ("pattern", "block"),
    [("4:2", ""), ("2", ""), ("0:4", ""), ("ks:1", ""), ("ks:", ""), ("", "16"), ("", "0x4"), ("2:4", "4x4")],
)
def test_structures_that_are_none(pattern: str, block: str) -> None:
    with pytest.raises(PathliftError, match="PL1404"):
        read_structure(pattern, block)


def test_a_scope_that_does_not_exist() -> None:
    with pytest.raises(PathliftError, match="PL1405"):
        chosen(np.ones((2, 2)), scope="network")
