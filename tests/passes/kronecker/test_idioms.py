"""Products and the views around them, as PyTorch code has them and in every other spelling."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st
from torch import Tensor, nn

import pathlift
from pathlift.frontend.export import export
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.kronecker import dense
from pathlift.ir.text import parse_graph
from pathlift.ir.types import Array, TensorType
from pathlift.passes.kronecker.detect import DetectedLayer, KsDetect
from pathlift.passes.kronecker.replace import KsReplace
from pathlift.testing import assert_equivalent, assert_same_as_onnxruntime, execute, op_names

Draw = Callable[[st.SearchStrategy[Any]], Any]


def found_in(graph: Graph, **options: Any) -> tuple[DetectedLayer, ...]:
    return KsDetect(**options).run(graph).layers


def matrix_of(found: DetectedLayer) -> Array:
    """The matrix that a finding claims."""
    matrix = dense(found.factor)
    result = np.zeros_like(matrix)
    rows, cols = (
        np.arange(n) if o is None else o.places for n, o in zip(matrix.shape, (found.rows, found.cols), strict=True)
    )
    result[np.ix_(rows, cols)] = matrix
    return result


def replaced(graph: Graph, **options: Any) -> Graph:
    """The graph with all findings replaced, after checks that it computes the same."""
    rewritten = KsReplace(always=True, **options).run(graph)
    rewritten.witness.check(graph, rewritten.graph)
    assert_equivalent(graph, rewritten.graph, rtol=1e-12)
    return rewritten.graph


# ---- what PyTorch exports


class Layer(nn.Module):
    """A function of x and a parameter, as the layer that it is."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


def linear_with_blocks(wide: int, blocks: int) -> nn.Linear:
    layer = nn.Linear(wide, wide)
    with torch.no_grad():
        layer.weight.mul_(torch.kron(torch.eye(blocks), torch.ones(wide // blocks, wide // blocks)))
    return layer


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "einsum": (
        lambda: Layer(lambda x, w: torch.einsum("nkm,kqm->nkq", x.view(-1, 4, 6), w).flatten(1), 4, 5, 6),
        (4, 5, 6, 1),
    ),
    "strided einsum": (
        lambda: Layer(lambda x, w: torch.einsum("nkm,mqk->nqm", x.view(-1, 4, 6), w).flatten(1), 6, 5, 4),
        (1, 5, 4, 6),
    ),
    "bmm": (
        lambda: Layer(
            lambda x, w: torch.bmm(x.view(-1, 4, 6).transpose(0, 1), w).transpose(0, 1).reshape(-1, 20), 4, 6, 5
        ),
        (4, 5, 6, 1),
    ),
    "broadcast matmul": (
        lambda: Layer(lambda x, w: (x.view(-1, 4, 1, 6) @ w).flatten(1), 4, 6, 5),
        (4, 5, 6, 1),
    ),
    "matmul from the left": (
        lambda: Layer(lambda x, w: (w @ x.view(-1, 4, 6, 1)).flatten(1), 4, 5, 6),
        (4, 5, 6, 1),
    ),
    "butterfly": (
        lambda: Layer(lambda x, w: torch.einsum("nacl,abcl->nabl", x.view(-1, 2, 3, 4), w).flatten(1), 2, 5, 3, 4),
        (2, 5, 3, 4),
    ),
    "butterfly by bmm": (
        lambda: Layer(
            lambda x, w: (
                torch.bmm(x.view(-1, 2, 3, 4).permute(0, 1, 3, 2).reshape(-1, 8, 3).transpose(0, 1), w)
                .transpose(0, 1)
                .reshape(-1, 2, 4, 5)
                .transpose(2, 3)
                .reshape(-1, 40)
            ),
            8,
            3,
            5,
        ),
        (2, 5, 3, 4),
    ),
    "grouped Conv1d": (
        lambda: nn.Sequential(nn.Unflatten(1, (24, 1)), nn.Conv1d(24, 8, 1, groups=4), nn.Flatten()),
        (4, 2, 6, 1),
    ),
    "grouped Conv2d": (
        lambda: nn.Sequential(nn.Unflatten(1, (24, 1, 1)), nn.Conv2d(24, 8, 1, groups=4, bias=False), nn.Flatten()),
        (4, 2, 6, 1),
    ),
    "zeros": (lambda: linear_with_blocks(24, 3), (3, 8, 8, 1)),
}  # fmt: skip


class Side(nn.Module):
    """All of them, side by side."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(make() for make, _ in LAYERS.values())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


@pytest.fixture(scope="module")
def exported() -> tuple[Side, Graph]:
    module = Side().eval()
    return module, pathlift.load(onnx_ir.to_proto(export(module, ((3, 24),))))


def test_exported_layers_are_found_with_their_matrices(exported: tuple[Side, Graph]) -> None:
    module, graph = exported
    layers = found_in(graph)
    by_output = {found.product.y.value: found for found in layers}
    assert len(layers) == len(LAYERS)
    identity = torch.eye(24)
    for value, layer, (name, (_, pattern)) in zip(graph.outputs, module.layers, LAYERS.items(), strict=True):
        found = by_output[value]
        assert (found.pattern, found.permuted) == (pattern, False), name
        with torch.no_grad():
            expected = (layer(identity) - layer(torch.zeros(1, 24))).T.numpy()
        assert np.abs(matrix_of(found) - expected).max() < 1e-5, name
        assert found.kind == ("zeros" if name == "zeros" else "grouped" if "Conv" in name else "batched")


def test_exported_layers_are_replaced_by_one_node_each(exported: tuple[Side, Graph]) -> None:
    _, graph = exported
    after = replaced(graph)
    assert op_names(after) == ["KSLinear"] * len(LAYERS)
    assert_same_as_onnxruntime(after)


class Monarch(nn.Module):
    """Two factors with the permutation between them, as published code has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(4, 5, 6)), nn.Parameter(torch.randn(5, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.einsum("bskm,kqm->bskq", x.view(*x.shape[:2], 4, 6), self.first).transpose(2, 3)
        return torch.einsum("bsqk,qpk->bsqp", h, self.second).transpose(2, 3).flatten(2)


def test_a_monarch_layer_is_two_factors() -> None:
    torch.manual_seed(1)
    graph = pathlift.load(onnx_ir.to_proto(export(Monarch(), ((2, 7, 24),))))
    first, second = found_in(graph)
    assert (first.pattern, second.pattern) == ((4, 5, 6, 1), (1, 3, 4, 5))
    after = replaced(graph)
    assert op_names(after) == ["KSLinear", "KSLinear"]
    assert_same_as_onnxruntime(after)


# ---- every spelling


@st.composite
def spellings(draw: Draw) -> tuple[Graph, int]:
    """A batched product, its operand and its result in any order of axes; and its number of blocks."""
    rng, b = np.random.default_rng(draw(st.integers(0, 2**16))), Builder()
    lead: tuple[Any, ...] = draw(st.sampled_from([("N",), ("N", 3), (2, "S"), (2,), ()]))
    sizes = st.lists(st.sampled_from([1, 2, 2, 3, 5]), min_size=1, max_size=2)
    shared, summed, made = draw(sizes), draw(sizes), draw(sizes)
    x_sizes = list(rng.permutation([*enumerate(shared), *((i + 4, n) for i, n in enumerate(summed))]))
    x = b.input("x", (*lead, prod(shared) * prod(summed)))
    h = b.op("Reshape", x, shape=(*(0 for _ in lead), *(int(n) for _, n in x_sizes)))
    letters = "".join("xyz"[i] for i in range(len(lead))) + "".join("abcdklmn"[i] for i, _ in x_sizes)
    h, letters = transposed(b, h, letters, rng)
    extents = dict(zip("abcd", shared, strict=False)) | dict(zip("klmn", summed, strict=False))
    extents |= dict(zip("opqr", made, strict=False))
    w = "".join(rng.permutation(list(extents)))
    weight = b.param(rng.integers(1, 9, [extents[letter] for letter in w]).astype(np.float32))
    out = "".join(rng.permutation([c for c in letters + "opqr"[: len(made)] if c not in "klmn"]))
    y = b.op("Einsum", h, weight, equation=f"{letters},{w}->{out}")
    if draw(st.booleans()):
        y, out = transposed(b, y, out, rng)
    order = "xyz"[: len(lead)] + "".join(rng.permutation([c for c in out if c not in "xyz"]))
    y = b.op("Transpose", y, perm=tuple(out.index(c) for c in order))
    y = b.op("Reshape", y, shape=(*(0 for _ in lead), prod(shared) * prod(made)))
    return b.finish(y), prod(shared)


def transposed(b: Builder, h: Value, letters: str, rng: np.random.Generator) -> tuple[Value, str]:
    perm = [int(i) for i in rng.permutation(len(letters))]
    return b.op("Transpose", h, perm=tuple(perm)), "".join(letters[i] for i in perm)


@given(spelling=spellings())
def test_any_order_of_axes(spelling: tuple[Graph, int]) -> None:
    graph, blocks = spelling
    note(str(graph))
    layers = found_in(graph)
    assert len(layers) == (blocks > 1)
    after = replaced(graph)
    assert op_names(after).count("KSLinear") == len(layers)
    for found in layers:
        assert found.pattern.a * found.pattern.d == blocks
        if found.product.x.value == Value("x") and found.product.y.value in graph.outputs:
            assert np.array_equal(matrix_of(found), by_execution(graph, found.pattern.cols))


def by_execution(graph: Graph, cols: int) -> Array:
    """The matrix of a layer on the last axis, one column at a time."""
    type_ = graph.type_of(Value("x"))
    lead = [n if isinstance(n, int) else 2 for n in type_.shape[:-1]]  # type: ignore[union-attr,index]  # a tensor of known shape
    columns = [execute(graph, {"x": np.broadcast_to(e, (*lead, cols))}).popitem()[1] for e in np.eye(cols)]
    return np.stack([y.reshape(-1, y.shape[-1])[0] for y in columns], 1)


# ---- what is none


PARAMS = "%v = Param : f32[3, 3]\n%u = Param : f32[6, 5]\n%s = Param : f32[6]\n%w = Param : f32[4, 3, 5]\n"


def parsed(text: str) -> Graph:
    rng = np.random.default_rng(0)

    def fill(_: str, type_: TensorType) -> Array:
        assert type_.shape is not None
        values: Array = rng.integers(1, 9, [n for n in type_.shape if isinstance(n, int)]).astype(np.float32)
        return values

    return parse_graph("%x = Input : f32[4, 6]\n" + PARAMS + text + "\nreturn %y", fill=fill)


@pytest.mark.parametrize(
    "text",
    [
        "%y = Gemm(%x, %u)",
        # the same weights for every group: a dense layer on fewer features
        "%h = Reshape(%x) {shape=[-1, 3]}\n%k = Gemm(%h, %v)\n%y = Reshape(%k) {shape=[4, 6]}",
        # a scale, and an outer product
        '%y = Einsum(%x, %s) {equation="ni,i->ni"}',
        '%y = Einsum(%x, %s) {equation="ni,o->nio"}',
    ],
)
def test_no_kronecker_sparse_layer(text: str) -> None:
    assert found_in(parsed(text)) == ()


def test_views_that_mix_samples_with_features_stay() -> None:
    graph = parsed('%h = Reshape(%x) {shape=[2, 4, 3]}\n%y = Einsum(%h, %w) {equation="ngi,gio->ngo"}')
    (found,) = found_in(graph)
    assert (found.product.nodes, found.pattern) == (("y",), (4, 5, 3, 1))
    replaced(graph)


def test_views_that_cannot_be_followed_stay() -> None:
    b = Builder()
    h = b.op("Reshape", b.input("x", ("B", "S", "T")), shape=(-1, 4, 3))
    w = b.param(np.arange(60, dtype=np.float32).reshape(4, 3, 5), "w")
    graph = b.finish(b.op("Einsum", h, w, name="y", equation="ngi,gio->ngo"))
    (found,) = found_in(graph)
    assert (found.product.nodes, found.pattern) == (("y",), (4, 5, 3, 1))


def batched(b: Builder, x: Value, **names: str) -> tuple[Value, Value]:
    h = b.op("Reshape", x, name="h", shape=(-1, 2, 3))
    w = b.param(np.arange(1, 13, dtype=np.float32).reshape(2, 3, 2), "w")
    return h, b.op("Einsum", h, w, name="e", equation="ngi,gio->ngo")


def test_values_that_others_read_stay() -> None:
    b = Builder()
    h, e = batched(b, b.input("x", ("N", 6)))
    graph = b.finish(b.op("Reshape", e, name="y", shape=(-1, 4)), b.op("Relu", h, name="z"))
    (found,) = found_in(graph)
    assert found.product.nodes == ("e", "y")
    assert op_names(replaced(graph)).count("Reshape") == 2
    b = Builder()
    h, e = batched(b, b.input("x", ("N", 6)))
    graph = b.finish(b.op("Reshape", e, name="y", shape=(-1, 4)), b.op("Relu", e, name="z"))
    (found,) = found_in(graph)
    assert found.product.nodes == ("h", "e")
    replaced(graph)


def test_weights_that_a_caller_may_replace_are_not_read() -> None:
    b = Builder()
    _, e = batched(b, b.input("x", ("N", 6)))
    graph = b.finish(e)
    assert len(found_in(graph)) == 1
    builder = graph.edit()
    builder.info = type(graph.info)(ir_version=8, overridable=("w",))
    assert found_in(builder.finish()) == ()


def test_a_bias_follows_its_features() -> None:
    b = Builder()
    x = b.input("x", ("N", 12, 3))
    w = b.param(np.arange(24, dtype=np.float32).reshape(8, 3, 1), "w")
    bias = b.param(np.arange(8, dtype=np.float32), "b")
    y = b.op("Conv", x, w, bias, strides=(1,), pads=(0, 0), dilations=(1,), groups=4)
    y = b.op("Reshape", y, shape=(0, 4, 2, 3))  # channels are shuffled
    y = b.op("Reshape", b.op("Transpose", y, perm=(0, 2, 1, 3)), shape=(0, 8, 3))
    graph = b.finish(y)
    (found,) = found_in(graph)
    assert found.pattern == (4, 2, 3, 1)
    assert "KSLinear" in op_names(replaced(graph))
