"""GatherND, ScatterND and indices counted over the batch, at constant places, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.errors import InvalidModelError, UnsafeModelError
from pathlift.testing import op_names
from pathlift.testing.onnx_models import f32, node

Rng = np.random.Generator


def places(rng: Rng, extents: tuple[int, ...], *shape: int) -> np.ndarray:
    columns = [rng.integers(-n, n, shape) for n in extents]
    return np.stack(columns, -1).astype(np.int64)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (0,)])
def test_gather_nd(check: Any, dyn: Any, rng: Rng, depth: int, shape: Any) -> None:
    x, indices = f32(rng, 3, 4, 2), places(rng, (3, 4, 2)[:depth], *shape)
    expect = "Opaque" if 0 in shape else ["Reshape", "Gather", "Reshape"]
    check("GatherND", dyn(x), indices, expect=expect)
    check("GatherND", dyn(x.astype(np.int64)), indices, expect=expect)


def test_gather_nd_leaves_the_batch_open(check: Any, dyn: Any, rng: Rng) -> None:
    indices = places(rng, (3, 4), 2, 5)
    x = f32(rng, 3, 4, 2, 6)
    graph = check("GatherND", dyn(x, (3, 4, "N", 6)), indices, expect=["Reshape", "Gather", "Reshape"])
    assert graph["y0"].types[0].shape == (2, 5, "N", 6)
    graph = check("GatherND", dyn(x, (3, "H", 2, 6)), indices, expect="Opaque")
    assert graph["y0"].attrs["reason"] == "places along an unknown extent"
    check("GatherND", dyn(x), places(rng, (4,), 3, 2), batch_dims=1, expect="Opaque")
    check("GatherND", dyn(x), dyn(indices), expect="Opaque")


def test_gather_nd_of_a_weight_is_a_weight(compare: Any, rng: Rng) -> None:
    constants = {"w": f32(rng, 6, 4), "p": np.array([[5], [0], [2]])}
    graph = compare([node("GatherND", "w p", "v"), node("MatMul", "x v", "y")], {"x": f32(rng, 2, 3)}, constants, ["y"])
    assert op_names(graph) == ["Gemm"]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("constant", [0, 1])
def test_scatter_nd(check: Any, dyn: Any, rng: Rng, depth: int, constant: int) -> None:
    x = f32(rng, 3, 4, 2)
    every = np.stack(np.unravel_index(rng.permutation(int(np.prod(x.shape[:depth])))[:2], x.shape[:depth]), -1)
    every[0] -= np.array(x.shape[:depth])  # counted from the end
    updates = f32(rng, 2, *x.shape[depth:])
    operands = [x if constant else dyn(x), every, dyn(updates)]
    graph = check("ScatterND", *operands)
    assert op_names(graph)[-3:] == ["Concat", "Gather", "Reshape"]
    check("ScatterND", dyn(x), every, updates, reduction="none")
    check("ScatterND", dyn(x), every, updates, reduction="add", expect="Opaque")
    check("ScatterND", dyn(x), np.concatenate([every, every]), np.concatenate([updates] * 2), expect="Opaque")
    check("ScatterND", dyn(x), every[:0], updates[:0], expect="Identity")
    check("ScatterND", dyn(x), dyn(every), updates, expect="Opaque")


def test_scatter_nd_into_a_weight_is_a_weight(compare: Any, rng: Rng) -> None:
    constants = {"w": f32(rng, 6, 4), "p": np.array([[5], [0]]), "u": f32(rng, 2, 4)}
    nodes = [node("ScatterND", "w p u", "v"), node("MatMul", "x v", "y")]
    graph = compare(nodes, {"x": f32(rng, 2, 6)}, constants, ["y"])
    assert op_names(graph) == ["Gemm"]


SAMPLES = [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Range", "zero n one", "r")]
NUMBERS = {"zero": np.int64(0).reshape(()), "one": np.int64(1).reshape(()), "last": np.array([-1])}


def test_assignment_to_all_samples(compare: Any, dyn: Any, rng: Rng) -> None:
    nodes = [*SAMPLES, node("Unsqueeze", "r last", "p"), node("Neg", "x", "u"), node("ScatterND", "x p u", "y")]
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 4), ("N", 4))}, NUMBERS, ["y"])
    assert op_names(graph) == ["Neg", "Identity"]


@pytest.mark.parametrize("first,step", [("one", "one"), ("zero", "two")])
def test_assignment_to_some_samples_is_opaque(compare: Any, dyn: Any, rng: Rng, first: str, step: str) -> None:
    nodes = [
        *SAMPLES[:2], node("Range", f"{first} n {step}", "r"), node("Unsqueeze", "r last", "p"),
        node("ScatterND", "x p u", "y"),
    ]  # fmt: skip
    constants = NUMBERS | {"two": np.int64(2).reshape(()), "u": f32(rng, 2, 4)}
    graph = compare(nodes, {"x": dyn(f32(rng, 3, 4), ("N", 4))}, constants, ["y"])
    assert graph["y"].op == "Opaque"


def strided(offset: int) -> list[Any]:
    """PyTorch's strided view of size (N, 2, 2) and strides (6, 3, 1)."""
    return [
        *SAMPLES, node("Reshape", "x last", "flat"), node("Mul", "r six", "starts"),
        node("Unsqueeze", "starts axes", "a"), node("Add", "a rows", "b"), node("Add", f"columns{offset} b", "p"),
        node("Gather", "flat p", "y"),
    ]  # fmt: skip


STRIDES = NUMBERS | {
    "six": np.int64(6).reshape(()), "axes": np.array([1, 2]), "rows": np.array([[[0], [3]]]),
    "columns0": np.array([[0, 1]]), "columns2": np.array([[1, 2]]), "columns3": np.array([[2, 3]]),
}  # fmt: skip


def test_strided_view_of_each_sample(compare: Any, dyn: Any, rng: Rng) -> None:
    for offset in (0, 2):
        constants = {name: a for name, a in STRIDES.items() if not name.startswith("columns")}
        constants[f"columns{offset}"] = STRIDES[f"columns{offset}"]
        graph = compare(strided(offset), {"x": dyn(f32(rng, 4, 2, 3), ("N", 2, 3))}, constants, ["y"])
        assert op_names(graph) == ["Flatten", "Gather", "Reshape"]
        assert graph["y"].types[0].shape == ("N", 2, 2)


@pytest.mark.parametrize("shape", [(4, 7), (4, 2, 4)])
def test_views_across_samples_are_opaque(compare: Any, dyn: Any, rng: Rng, shape: Any) -> None:
    constants = {name: a for name, a in STRIDES.items() if name not in ("columns2", "columns3")}
    graph = compare(strided(0), {"x": dyn(f32(rng, *shape), ("N", *shape[1:]))}, constants, ["y"])
    assert graph["y"].attrs["reason"] == "data-dependent indices"


def test_bombs(model_of: Any) -> None:
    constants = {"w": np.ones((1, 2**12), np.float32), "p": np.zeros((2**19, 1), np.int64)}
    nodes = [node("GatherND", "w p", "v"), node("ReduceSum", "v", "s"), node("Add", "x s", "y")]
    model = model_of(nodes, {"x": np.ones((1, 1), np.float32)}, constants, ["y"])
    with pytest.raises(UnsafeModelError, match="PL0221"):
        load(model)


def test_places_outside_are_invalid(model_of: Any) -> None:
    model = model_of([node("GatherND", "x p", "y")], {"x": np.ones((2, 2), np.float32)}, {"p": np.array([[2]])}, ["y"])
    with pytest.raises(InvalidModelError, match="PL0153"):
        load(model)
