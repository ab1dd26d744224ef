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
import onnxruntime
import torch
from benchmarks import common
from benchmarks.ks_networks import CHAINS, DRAWN, GPT, NAMED, PERCEPTRONS, VIT, encoders, layers

from pathlift.frontend.save import to_onnx
from pathlift.ir.cost import DEVICES
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern
from pathlift.ir.types import Array
from pathlift.passes.kronecker.fitting.layer import FASTER

RESULTS = Path(__file__).parent / "results" / "ks_cpu"
TOLERANCE = 1e-3
SAMPLES = 8 * 196
TARGETS = dict(zip(NAMED, (1.0, 2.5, 3.5), strict=True))
CHAIN_TARGET = 5.0


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
