"""Pairs of networks that differ in names, operand orders, activations, batch norms and precisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pathlift.frontend.load import load
from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.pairing.pair import pair
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.testing import zoo
from pathlift.testing.pairs import assert_pairs, rewritten
from pathlift.testing.samples import samples

MLP = """
    %x = Input : f32[N, 2]
    %w = Param {value=[[1.0, 2.0, 0.5], [3.0, -2.0, 4.0]]} : f32[2, 3]
    %b = Param {value=[-4.0, 1.0, 2.0]} : f32[3]
    %h = Gemm(%x, %w, %b)
    %r = Relu(%h)
    %v = Param {value=[[0.5], [-1.0], [3.0]]} : f32[3, 1]
    %y = Gemm(%r, %v)
    return %y
"""
ROW = "[-4.0, 1.0, 2.0]} : f32[3]", "[[-4.0, 1.0, 2.0]]} : f32[1, 3]"
TURNED = "    %t = Param {value=[[1.0, 3.0], [2.0, -2.0], [0.5, 4.0]]} : f32[3, 2]"
APART = MLP.replace("%h = Gemm(%x, %w, %b)", "%g = Gemm(%x, %w)\n    %h = Add(%b, %g)")


@pytest.mark.parametrize("name", samples())
def test_every_op_with_a_copy(name: str) -> None:
    graph = samples()[name]
    found = assert_pairs(graph, rewritten(graph, np.random.default_rng(0), noise=0.01))
    assert all(errors == (None, None) for errors in found.errors.values())


@pytest.mark.parametrize("new", ["LeakyRelu(%h) {alpha=0.1}", "Tanh(%h)", "Abs(%h)", "Clip(%h) {low=0.0, high=6.0}"])
def test_another_activation(new: str) -> None:
    found = assert_pairs(parse_graph(MLP), parse_graph(MLP.replace("Relu(%h)", new)))
    assert [found.first["r"].op, found.second["r"].op] == ["Relu", new.split("(")[0]]
    (remark,) = found.remarks
    assert remark.startswith("'r' is Relu in the first and " + new.split("(")[0])


@pytest.mark.parametrize(
    "op,name", [("LeakyRelu", "alpha"), ("Elu", "alpha"), ("HardSigmoid", "beta"), ("Clip", "high")]
)
def test_an_activation_with_other_attributes(op: str, name: str) -> None:
    a, b = (parse_graph(MLP.replace("Relu(%h)", f"{op}(%h) {{{name}={value}}}")) for value in (0.25, 0.75))
    found = assert_pairs(a, b)
    assert [side["r"].attrs[name] for side in (found.first, found.second)] == [0.25, 0.75]


@pytest.mark.parametrize(
    "new,told",
    [
        ("Softmax(%h) {axis=1}", "'r' (Relu) and 'r' (Softmax) are different ops"),
        ("Identity(%h)", "'r' (Relu) and 'h' (Gemm) are different ops"),
    ],
)
def test_what_is_no_activation_is_refused(new: str, told: str) -> None:
    with pytest.raises(PathliftError, match="PL1471") as refusal:
        pair(parse_graph(MLP), parse_graph(MLP.replace("Relu(%h)", new)))
    assert told in str(refusal.value)


def test_other_outputs_are_refused() -> None:
    with pytest.raises(PathliftError, match=r"PL1470 .*output 0"):
        pair(parse_graph(MLP), parse_graph(MLP.replace("return %y", "return %r")))


def test_another_width_is_refused() -> None:
    narrow = MLP.replace("1.0, 2.0, 0.5], [3.0, -2.0, 4.0", "1.0, 2.0], [3.0, -2.0").replace("f32[2, 3]", "f32[2, 2]")
    narrow = narrow.replace("-4.0, 1.0, 2.0", "-4.0, 1.0").replace("f32[3]", "f32[2]").replace(", [3.0]]", "]")
    with pytest.raises(PathliftError, match=r"PL1471 .* are f.*\[2, 3\] and f.*\[2, 2\]"):
        pair(parse_graph(MLP), parse_graph(narrow.replace("f32[3, 1]", "f32[2, 1]")))


@pytest.mark.parametrize(
    "other",
    [
        APART,
        APART.replace("Add(%b, %g)", "Add(%g, %b)").replace(*ROW),
        MLP.replace("%h = Gemm(%x, %w, %b)", "%g = Gemm(%x, %w)\n    %h = Sub(%g, %b)"),
        MLP.replace("Gemm(%x, %w, %b)", "Gemm(%x, %t, %b) {trans_w=true}").replace("    %h =", TURNED + "\n    %h ="),
        MLP.replace("Gemm(%x, %w, %b)", "Gemm(%x, %w)"),
        MLP.replace("Gemm(%x, %w, %b)", 'Einsum(%x, %w) {equation="ni,io->no"}'),
    ],
    ids=["sum", "row", "difference", "transposed", "no bias", "einsum"],
)  # fmt: skip
def test_spellings_of_a_layer(other: str) -> None:
    for a, b in ((MLP, other), (other, MLP)):
        found = assert_pairs(parse_graph(a), parse_graph(b))
        assert all(errors == (None, None) for errors in found.errors.values())
        assert ("w", "t" if "%t" in b else "w") in found.sources.values() or "%t" in a


def norms(seed: int, *, fold: bool = False, epsilon: float = 1e-5) -> Graph:
    b, rng = Builder(), np.random.default_rng(seed)
    geometry: dict[str, Any] = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}
    h = b.op(
        "Conv", b.input("x", ("N", 2, 4)), b.param(rng.standard_normal((3, 2, 1)).astype(np.float32), "w"), **geometry
    )
    params = [b.param(rng.random(3).astype(np.float32) + 0.5, name) for name in ("gamma", "beta", "mean", "var")]
    h = b.op("Relu", b.op("BatchNormalization", h, *params, epsilon=epsilon))
    h = b.op("Conv", h, b.param(rng.standard_normal((1, 3, 1)).astype(np.float32), "v"), name="y", **geometry)
    graph = b.finish(h)
    return FoldBatchnorm().run(graph).graph if fold else graph


def test_batch_norms_in_both_stay() -> None:
    found = assert_pairs(norms(0), norms(1, epsilon=1e-3))
    assert set(found.sources) == {"w", "gamma", "beta", "mean", "var", "v"}
    assert all(errors == (None, None) for errors in found.errors.values())


def test_a_batch_norm_that_is_folded_in_one_is_folded_in_the_other() -> None:
    for flip in (False, True):
        graphs = [norms(0), norms(0, fold=True)]
        found = assert_pairs(*(graphs[::-1] if flip else graphs))
        assert "batch norms" in " ".join(found.remarks)
        errors = {found.sources[k][flip]: e for k, e in found.errors.items()}
        assert errors["w"][1 - flip] is None
        assert np.all(errors["w"][flip] < 1e-12)  # type: ignore[operator]  # errors that there are
        assert np.all(errors["w"][flip] > 0)  # type: ignore[operator]  # errors that there are
        w = next(k for k, sources in found.sources.items() if sources[flip] == "w")
        np.testing.assert_allclose(found.first[w].value.numpy(), found.second[w].value.numpy(), rtol=1e-6)  # type: ignore[union-attr]  # a parameter has a value


def test_half_precision() -> None:
    text = MLP.replace("f32", "f16")
    cast = MLP.replace("Gemm(%x, %w, %b)", "Gemm(%c, %w, %b)").replace(
        "    %h =", '    %c = Cast(%x) {to="f16"}\n    %h ='
    )
    cast = cast.replace("f32[2, 3]", "f16[2, 3]").replace("f32[3]", "f16[3]").replace("f32[3, 1]", "f16[3, 1]")
    for other in (text, text.replace("f16", "bf16"), cast):
        found = assert_pairs(parse_graph(MLP), parse_graph(other))
        assert not found.remarks


def branches(*order: int) -> Graph:
    """A sum of three layers of one shape, in an order."""
    b, rng = Builder(), np.random.default_rng(0)
    weights = [rng.standard_normal((2, 2)).astype(np.float32) for _ in range(6)]
    h = b.input("x", ("N", 2))
    for layer in (0, 3):
        terms = [b.op("Gemm", h, b.param(weights[layer + i], f"w{layer + i}")) for i in order]
        h = b.op("Relu", b.op("Add", b.op("Add", terms[0], terms[1]), terms[2]))
    return b.finish(h)


def test_operands_of_sums_are_matched_by_their_weights() -> None:
    swapped = branches(1, 0, 2)
    found = assert_pairs(branches(0, 1, 2), swapped)
    assert {x for x, y in found.sources.values() if x != y} == set()


SLOW = ["resnet18", "mobilenet_v2", "gpt2_tiny"]


@pytest.mark.parametrize("name", ["mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_real_networks(name: str) -> None:
    heavy = name in ("resnet18", "mobilenet_v2")
    graph = load(zoo.export(name, **({"image": 32, "width": 0.25} if heavy else {})))
    found = assert_pairs(graph, rewritten(graph, np.random.default_rng(0), noise=1e-3))
    for key in found.sources:
        p, q = found.first[key].value, found.second[key].value
        assert p is not None
        assert q is not None
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=2e-3)
    folded = FoldBatchnorm().run(graph).graph
    assert_pairs(graph, folded, rtol=1e-4 if folded is not graph else 1e-9)
