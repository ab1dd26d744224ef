"""Networks with Kronecker-sparse layers, and their dense twins: products, chains, encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir
import torch
from benchmarks.encoders import Block, join_products
from torch import nn

import pathlift
from pathlift.frontend.export import export
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.chains import replaced
from pathlift.passes.kronecker.epilogue import FuseEpilogue
from pathlift.passes.kronecker.layout import AssignLayout
from pathlift.passes.layers.dense import dense_layers

NAMED = [Pattern(1, 192, 48, 2), Pattern(6, 64, 64, 1), Pattern(3, 192, 48, 4)]
PERCEPTRONS = {  # Factors as they multiply, with activations between them.
    "(3,192,48,4) and back": [Pattern(3, 48, 192, 4), Pattern(3, 192, 48, 4)],
    "(3,192,48,4) and back, twice": 2 * [Pattern(3, 48, 192, 4), Pattern(3, 192, 48, 4)],
}
CHAINS = {
    "butterfly of 1024 in 2": [Pattern(1, 32, 32, 32), Pattern(32, 32, 32, 1)],
    "butterfly of 4096 in 2": [Pattern(1, 64, 64, 64), Pattern(64, 64, 64, 1)],
}
# Drawn at random from the 728 patterns of the reference (github.com/PascalCarrivain/ksmm), up to 2²⁶ dense weights.
DRAWN = [
    Pattern(*p)
    for p in [
        (1, 48, 48, 1),
        (1, 48, 48, 8),
        (1, 48, 48, 64),
        (1, 48, 48, 96),
        (1, 48, 192, 32),
        (1, 96, 96, 4),
        (1, 128, 128, 48),
        (1, 128, 512, 8),
        (1, 192, 48, 1),
        (1, 256, 64, 8),
        (1, 384, 96, 3),
        (1, 384, 96, 8),
        (1, 512, 128, 4),
        (1, 512, 128, 32),
        (1, 512, 512, 2),
        (1, 768, 192, 4),
        (1, 768, 192, 8),
        (1, 768, 768, 8),
        (1, 1024, 256, 2),
        (2, 48, 48, 64),
        (2, 192, 48, 4),
        (2, 512, 512, 4),
        (3, 64, 256, 16),
        (3, 96, 96, 4),
        (3, 128, 128, 16),
        (3, 384, 384, 4),
        (4, 192, 48, 16),
        (4, 512, 512, 4),
        (6, 384, 96, 4),
        (8, 96, 96, 4),
    ]
]


def random_factors(patterns: Sequence[Pattern], rng: np.random.Generator) -> list[Array]:
    return [rng.standard_normal(p.shape, dtype=np.float32) / np.float32(p.c**0.5) for p in patterns]


def layers(patterns: Sequence[Pattern], *, perceptron: bool = False) -> dict[str, Graph]:
    """What patterns multiply to, as a dense matrix and as layers in both layouts; or that with a ReLU after each."""
    factors = random_factors(patterns, np.random.default_rng(0))
    made = {}
    for name in ("dense", "rows", "feature-major"):
        b, major = Builder(), name == "feature-major"
        h = b.input("x", (patterns[-1].cols, "N") if major else ("N", patterns[-1].cols))
        if name == "dense":
            matrices = [product([factor]) for factor in factors] if perceptron else [product(factors)]
            for matrix in reversed(matrices):
                h = b.op("Gemm", h, b.param(np.ascontiguousarray(matrix.T)))
                h = b.op("Relu", h) if perceptron else h
        else:
            for p, factor in reversed(list(zip(patterns, factors, strict=True))):
                h = b.op("KSLinear", h, b.param(factor), pattern=tuple(p), feature_major=major)
                h = b.op("Relu", h) if perceptron else h
        made[name] = b.finish(b.op("Identity", h, name="y"))
    return made


def encoders(
    wide: int,
    heads: int,
    depth: int,
    shape: tuple[int, int],
    patterns: Mapping[str, Sequence[Pattern]],
    *,
    causal: bool,
) -> dict[str, Graph]:
    """The same function four times: dense, dense with one product for q, k, v; layers with rows first, and features."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    split, fused = (
        nn.Sequential(*(Block(wide, heads, fused=fused, causal=causal) for _ in range(depth))).eval()
        for fused in (False, True)
    )
    factors: dict[str, list[Array]] = {}
    for name, linear in list(split.named_modules()):
        if isinstance(linear, nn.Linear) and not name.endswith("qkv"):
            kind = name.rsplit(".")[-1]
            factors[name] = random_factors(patterns[kind if kind in patterns else "attention"], rng)
            linear.weight.data = torch.from_numpy(product(factors[name]))
    join_products(fused, split)
    example = torch.zeros(*shape, wide)
    graphs = {
        name: pathlift.load(onnx_ir.to_proto(export(module, (example,))))
        for name, module in (("split", split), ("fused", fused))
    }
    found, _ = dense_layers(graphs["split"], ",".join(factors))
    assert len(found) == len(factors), (len(found), len(factors))
    rows = replaced(graphs["split"], {layer.key: _of(graphs["split"], layer.key, factors) for layer in found})
    features = AssignLayout().run(FuseEpilogue().run(rows).graph).graph
    return {"dense": graphs["fused"], "dense, q k v apart": graphs["split"], "rows": rows, "features": features}


def _of(graph: Graph, key: str, factors: Mapping[str, list[Array]]) -> list[Array]:
    weight = graph.inputs_of(key)[1]
    assert weight is not None
    return factors[graph.name_of(weight).removesuffix(".weight")]
