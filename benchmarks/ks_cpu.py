"""Kronecker-sparse layers in ONNX Runtime on a CPU, against its dense product: layers, chains of them, encoders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import torch
from benchmarks import common
from torch import Tensor, nn
from torch.nn import functional as F

import pathlift
from pathlift.frontend.export import export
from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.cost import DEVICES
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, product
from pathlift.ir.types import Array
from pathlift.passes.kronecker.chains import replaced
from pathlift.passes.kronecker.epilogue import FuseEpilogue
from pathlift.passes.kronecker.ks_fit import FASTER
from pathlift.passes.kronecker.layout import AssignLayout
from pathlift.passes.layers.dense import dense_layers

RESULTS = Path(__file__).parent / "results" / "ks_cpu"
TOLERANCE = 1e-3
SAMPLES = 8 * 196
NAMED = [Pattern(1, 192, 48, 2), Pattern(6, 64, 64, 1), Pattern(3, 192, 48, 4)]
TARGETS = dict(zip(NAMED, (1.0, 2.5, 3.5), strict=True))
CHAIN_TARGET = 5.0
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
# Factors as they multiply. ViT-S/16: those of arXiv 2405.15013; GPT-2 medium: the same shapes at its width.
VIT = {
    "attention": [Pattern(1, 192, 48, 2), Pattern(2, 48, 192, 1)],
    "up": [Pattern(1, 768, 192, 2), Pattern(6, 64, 64, 1)],
    "down": [Pattern(1, 128, 128, 3), Pattern(6, 64, 256, 1)],
}
GPT = {
    "attention": [Pattern(1, 512, 128, 2), Pattern(2, 128, 512, 1)],
    "up": [Pattern(1, 2048, 512, 2), Pattern(16, 64, 64, 1)],
    "down": [Pattern(1, 256, 256, 4), Pattern(16, 64, 256, 1)],
}


@dataclass(frozen=True)
class Measurement:
    """Seconds per round, by contestant; the first is dense. Patterns are those of a single product."""

    kind: str
    name: str
    threads: int
    samples: int
    patterns: Sequence[Pattern]
    seconds: Mapping[str, Array]

    def speedup(self, contestant: str) -> Array:
        return common.ratio(self.seconds["dense"], self.seconds[contestant])

    @property
    def loses(self) -> bool:
        """Whether the layers, on rows, are slower than dense."""
        return float(np.median(self.speedup("rows"))) < 1

    @property
    def predicted(self) -> float:
        """The speed-up that `ks fit --patterns auto` expects, of one thread."""
        cpu, samples = DEVICES["cpu"], self.samples
        layers = sum(cpu.kronecker(samples, p).seconds for p in self.patterns)
        return cpu.dense(samples, self.patterns[0].rows, self.patterns[-1].cols).seconds / layers


# ---- models


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


class Attention(nn.Module):
    """Self-attention; queries, keys and values by one product or by three."""

    def __init__(self, wide: int, heads: int, *, fused: bool, causal: bool) -> None:
        super().__init__()
        self.heads, self.fused, self.causal = heads, fused, causal
        self.q, self.k, self.v, self.out = (nn.Linear(wide, wide) for _ in range(4))
        self.qkv = nn.Linear(wide, 3 * wide)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, dim=2) if self.fused else (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """Pre-norm attention, then a two-layer perceptron."""

    def __init__(self, wide: int, heads: int, *, fused: bool, causal: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(wide), nn.LayerNorm(wide)])
        self.attention = Attention(wide, heads, fused=fused, causal=causal)
        self.up, self.down = nn.Linear(wide, 4 * wide), nn.Linear(4 * wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        result: Tensor = x + self.down(F.gelu(self.up(self.norms[1](x))))
        return result


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
    fused.load_state_dict(split.state_dict())
    for block in fused:
        parts = (block.attention.q, block.attention.k, block.attention.v)
        block.attention.qkv.weight.data = torch.cat([part.weight.data for part in parts])
        block.attention.qkv.bias.data = torch.cat([part.bias.data for part in parts])
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


# ---- timing


def session(graph: Graph, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])


def race(
    kind: str,
    name: str,
    graphs: Mapping[str, Graph],
    x: Array,
    threads: int,
    repeats: int,
    budget: float,
    patterns: Sequence[Pattern] = (),
) -> Measurement:
    """Time graphs of one function; what reads the transpose is given it."""
    expected: Array | None = None
    calls: dict[str, Callable[[], object]] = {}
    for contestant, graph in graphs.items():
        s = session(graph, threads)
        transposed = contestant == "feature-major"
        feeds = {s.get_inputs()[0].name: np.ascontiguousarray(x.T) if transposed else x}
        (y,) = s.run(None, feeds)
        y = y.T if transposed else y
        expected = y if expected is None else expected
        if not np.allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()):
            raise SystemExit(f"{contestant} computes something else than dense: {kind} {name}")
        calls[contestant] = partial(s.run, None, feeds)
    seconds = common.interleaved(calls, repeats=repeats, budget=budget, at_least=0.01)
    print(kind, name, threads, {k: common.digits(1e3 * np.median(v)) for k, v in seconds.items()}, file=sys.stderr)
    return Measurement(kind, name, threads, int(np.prod(x.shape[:-1])), patterns, seconds)


def measure(options: argparse.Namespace) -> Iterator[Measurement]:
    rng = np.random.default_rng(1)
    for threads in (1, 2):
        for kind, cases in (("layer", {str(p): [p] for p in NAMED}), ("perceptron", PERCEPTRONS), ("chain", CHAINS)):
            for name, patterns in cases.items():
                x = rng.standard_normal((SAMPLES, patterns[-1].cols), dtype=np.float32)
                graphs = layers(patterns, perceptron=kind == "perceptron")
                product_of = () if kind == "perceptron" else patterns
                yield race(kind, name, graphs, x, threads, 3 * options.repeats, options.budget, product_of)
        for p in DRAWN[: 3 if options.quick else None]:
            for samples in (1, 16):
                x = rng.standard_normal((samples, p.cols), dtype=np.float32)
                yield race("small batch", str(p), layers([p]), x, threads, options.repeats, options.budget, [p])
    sizes = {"ViT-S": (384, 6, 12, (8, 197), VIT, False), "GPT-2 medium": (1024, 16, 24, (8, 128), GPT, True)}
    for name, (wide, heads, depth, shape, patterns, causal) in sizes.items():
        depth = 2 if options.quick else depth
        graphs = encoders(wide, heads, depth, shape, patterns, causal=causal)
        x = rng.standard_normal((*shape, wide), dtype=np.float32)
        for threads in (1, 2):
            yield race(
                "encoder", f"{name}, {depth} blocks", graphs, x, threads, min(options.repeats, 7), options.budget
            )


# ---- the report


def rows(measurements: Sequence[Measurement], kind: str) -> Iterator[Sequence[str]]:
    for m in measurements:
        if m.kind == kind:
            yield (
                m.name, str(m.threads), str(m.samples), common.spread(1e3 * m.seconds["dense"]),
                *(common.spread(m.speedup(c)) for c in list(m.seconds)[1:]), *_remark(m),
            )  # fmt: skip


def _remark(m: Measurement) -> tuple[str]:
    best = {c: float(np.median(m.speedup(c))) for c in list(m.seconds)[1:]}
    target = next((t for p, t in TARGETS.items() if str(p) == m.name and m.kind == "layer"), None)
    remarks = []
    if target is not None:
        remarks.append(f"rows ≥ {target:g}: {'met' if best['rows'] >= target else '**missed**'}")
    if m.kind in ("chain", "perceptron"):
        met = best["feature-major"] >= CHAIN_TARGET
        remarks.append(f"feature-major ≥ {CHAIN_TARGET:g}: {'met' if met else '**missed**'}")
    if m.loses:
        remarks.append("loses")
    if m.patterns:
        kept = m.predicted < FASTER
        remarks.append(f"predicted {common.digits(m.predicted)}{': `auto` keeps it dense' if kept else ''}")
    return ("; ".join(remarks),)


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    layer = ("pattern", "threads", "samples", "dense, ms", "dense / rows", "dense / feature-major", "remarks")
    encoder = (
        "encoder", "threads", "samples", "dense, ms", "dense / dense with q, k, v apart", "dense / rows",
        "dense / features", "remarks",
    )  # fmt: skip
    small = [m for m in measurements if m.kind == "small batch"]
    single = [m for m in measurements if m.patterns]
    lost = [m for m in single if m.loses]
    kept = sum(m.predicted < FASTER for m in lost)
    return f"""# Kronecker-sparse layers in ONNX Runtime on a CPU

{common.preamble(machine, repeats)}
Dense is ONNX Runtime's own MatMul of the matrix that the factors multiply to; all compute the same function.
`benchmarks/README.md` says what each column means. On rows, layers lose in {len(lost)} of {len(single)} cases of a
single product; `ks fit --patterns auto` keeps {kept} of these {len(lost)} dense: it predicts less than {FASTER:g}.

## Layers
{common.table(layer, rows(measurements, "layer"))}

## Layers with activations between them
Dense has as many layers.

{common.table(layer, rows(measurements, "perceptron"))}

## Products of several factors
Dense is one layer.

{common.table(layer, rows(measurements, "chain"))}

## Small batches
Patterns drawn at random; layers lose in {sum(m.loses for m in small)} of {len(small)} cases.

{common.table(layer, rows(measurements, "small batch"))}

## Encoders
{common.table(encoder, rows(measurements, "encoder"))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds after which a contestant leaves")
    options = common.parse(parser, RESULTS)
    torch.set_num_threads(1)
    machine = common.machine()
    measurements: list[Measurement] = []
    for measurement in measure(options):
        measurements.append(measurement)
        if options.output:  # what there is, should the rest not fit
            common.save(options.output, report(measurements, machine, options.repeats), machine, measurements)
    print(report(measurements, machine, options.repeats))


if __name__ == "__main__":
    main()
