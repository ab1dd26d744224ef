"""Rescalings, permutations, canonical forms and comparisons of whole networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pathlift
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import assert_equivalent, zoo
from pathlift.testing.permutation import random_permutation
from pathlift.testing.rescaling import in_float64

SIZES = {  # image, width
    "resnet18": (64, 0.125), "resnet50": (64, 1.0), "densenet121": (64, 0.125), "inception_v3": (96, 0.125),
    "mobilenet_v2": (64, 0.125), "unet": (32, 0.125), "vgg11_bn": (64, 0.125), "vit_s16": (64, 0.25),
    "mlp": (None, 1.0), "groupsort_mlp": (None, 1.0),
}  # fmt: skip
slow = pytest.mark.slow
QUICK = ["mlp", "groupsort_mlp", "digits"]
PERMUTED = [
    "mlp",
    *(pytest.param(n, marks=slow) for n in ("resnet18", "vgg11_bn", "unet", "densenet121", "resnet50")),
]


def network(name: str) -> Graph:
    if name == "digits":
        return pathlift.load(Path(__file__).parents[3] / "examples" / "digits.onnx")
    if name in zoo.LIGHT_NAMES:
        return pathlift.load(zoo.light(name))
    image, width = SIZES[name]
    return pathlift.load(zoo.export(name, image=image, width=width))


def floats(graph: Graph) -> dict[str, Array]:
    values = {key: graph[key].value for key in graph.params}
    return {key: v.numpy() for key, v in values.items() if v is not None and v.dtype.kind == "f"}


def difference(a: Graph, b: Graph) -> float:
    """The largest difference of two weights, relative to the largest of their tensor."""
    theirs = floats(b)
    pairs = ((x.astype(np.float64), theirs[name].astype(np.float64)) for name, x in floats(a).items())
    return max((float(np.abs(x - y).max(initial=0) / (np.abs(x).max(initial=0) or 1)) for x, y in pairs), default=0.0)


def check_canonical_form(graph: Graph, norm: str) -> None:
    wide = in_float64(graph)
    for original, octaves, rtol, unique in ((wide, 6, 1e-12, 1e-9), (graph, 2, 1e-5, 1e-5)):
        copy = RandomRescale(seed=3, octaves=octaves).run(original).graph
        first, second = (Canonicalize(norm=norm).run(g).graph for g in (original, copy))
        for other in (copy, first):
            assert_equivalent(original, other, rtol=rtol, trials=1)
        assert difference(first, second) < unique
        assert difference(first, Canonicalize(norm=norm).run(first).graph) < (1e-12 if original is wide else 1e-6)
    exact = [
        Canonicalize(norm=norm, exact=True).run(g).graph for g in (graph, RandomRescale(exact=True).run(graph).graph)
    ]
    if norm != "path-conditioned":
        assert difference(*exact) == 0


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *(("digits", norm) for norm in ("l1", "l2", "balanced")),
        ("groupsort_mlp", "l2"),
        *(pytest.param("mlp", norm, marks=slow) for norm in ("l1", "l2", "balanced")),
        *(pytest.param("groupsort_mlp", norm, marks=slow) for norm in ("l1", "balanced")),
    ],
)
def test_copies_have_one_form(name: str, norm: str) -> None:
    check_canonical_form(network(name), norm)


@slow
@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *((name, "l1") for name in (*SIZES, "squeezenet") if name not in QUICK),
        *((name, "balanced") for name in ("resnet18", "unet", "inception_v3", "resnet50")),
        *((name, "path-conditioned") for name in ("resnet18", "resnet50", "unet", "mlp", "digits")),
    ],
)
def test_copies_of_more_networks_have_one_form(name: str, norm: str) -> None:
    check_canonical_form(network(name), norm)


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(n, marks=slow) for n in SIZES if n not in (*QUICK, "vit_s16"))],
)
def test_rescaling_keeps_the_path_norm(name: str) -> None:
    graph = in_float64(network(name))
    before, after = (
        PathNorm(q=(1.0, 2.0)).run(g).norms for g in (graph, RandomRescale(seed=1, octaves=10).run(graph).graph)
    )
    for a, b in zip(before, after, strict=True):
        assert a.log10 is not None
        assert b.log10 == pytest.approx(a.log10, abs=1e-11 * max(1.0, abs(a.log10)))


def test_the_path_norm_of_the_l1_form_is_that_of_the_last_layer() -> None:
    graph = Canonicalize(norm="l1").run(in_float64(network("mlp"))).graph
    last = graph[graph.outputs[0].node]
    assert last.op == "Gemm"
    weight, *bias = (graph[v.node].value.numpy() for v in graph.inputs_of(graph.outputs[0].node)[1:] if v)  # type: ignore[union-attr]  # a parameter has a value
    norm = PathNorm().run(graph).norms[0].value
    assert norm == pytest.approx(np.abs(weight).sum() + sum(np.abs(b).sum() for b in bias), rel=1e-12)


def changed(graph: Graph, rng: np.random.Generator) -> tuple[Graph, str]:
    """One weight, of the middle of the network, off by a thousandth."""
    matrices = [key for key, w in floats(graph).items() if w.ndim > 1]
    key = matrices[len(matrices) // 2]
    values = floats(graph)[key].copy()
    where = np.unravel_index(np.abs(values).argmax(), values.shape)
    values[where] *= 1.001
    builder = graph.edit()
    builder.replace_node(Value(key), value=Param.of(values))
    return builder.finish(), graph[key].label


def check_comparison(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    moved = random_permutation(graph, rng)
    assert_equivalent(graph, moved, rtol=1e-4, trials=1)
    copy = RandomRescale(seed=2, octaves=3).run(moved).graph
    assert pathlift.compare(graph, copy, modulo=("rescaling", "permutation")).exit_code == 0
    assert pathlift.compare(graph, copy, modulo=("rescaling",)).exit_code == 1
    wrong, _ = changed(copy, rng)
    assert pathlift.compare(graph, wrong, modulo=("rescaling", "permutation")).exit_code == 1
    wrong, name = changed(RandomRescale(seed=2, octaves=3).run(graph).graph, rng)
    different = pathlift.compare(graph, wrong, modulo=("rescaling",))
    assert different.exit_code == 1
    assert name in str(different.to_json())


@pytest.mark.parametrize("name", PERMUTED)
def test_permuted_and_rescaled_copies_are_recognized(name: str) -> None:
    check_comparison(network(name))
