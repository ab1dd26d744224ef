"""Interval arithmetic over two networks at once, against one execution of one of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarks import common

from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.types import Param
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_intervals
from pathlift.passes.tape.record import input_shapes, record
from pathlift.testing import zoo

NETWORKS = ("resnet50", "densenet121", "vgg19")
QUICK = ("resnet18",)
THREADS = (1, 2)
RADIUS = 0.01
CHANGE = 1e-3
RESULTS = Path(__file__).parent / "results" / "interval_pairs"


@dataclass(frozen=True)
class Measurement:
    """Seconds per round."""

    network: str
    threads: int
    forward: common.Samples
    pair: common.Samples


def perturbed(graph: Graph) -> Graph:
    """The same network, each weight off by a thousandth of itself; variances are left alone."""
    rng, b = np.random.default_rng(0), graph.edit()
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        values = param.numpy()
        if values.dtype.kind == "f" and not (values > 0).all():
            other = values * (1 + CHANGE * rng.standard_normal(values.shape))
            b.replace_node(key, value=Param.of(other.astype(values.dtype)))
    return b.finish()


@torch.no_grad()
def measure(network: str, repeats: int) -> list[Measurement]:
    graph = load(zoo.export(network))
    first, second = (record(g, input_shapes(graph)) for g in (graph, perturbed(graph)))
    x = zoo.example(network).double()
    domain = [Box(x - RADIUS, x + RADIUS)]

    def forward() -> list[torch.Tensor]:
        return first.run([x])

    def pair() -> list[Triple]:
        return pair_intervals(first, second, domain)

    triples, values = pair(), forward()
    for value, triple in zip(values, triples, strict=True):
        if not ((triple.a.low <= value) & (value <= triple.a.high)).all():
            raise SystemExit(f"a value of {network} is outside its box")
    del triples, values
    measurements = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        times = common.interleaved({"forward": forward, "pair": pair}, repeats=repeats)
        measurements.append(Measurement(network, threads, **times))
    return measurements


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    header = ("network", "threads", "pair / forward", "pair, s", "forward, s")
    rows = (
        (
            m.network, str(m.threads), common.spread(common.ratio(m.pair, m.forward)), common.spread(m.pair),
            common.spread(m.forward),
        )
        for m in measurements
    )  # fmt: skip
    return f"""# Interval arithmetic over two networks

`pair_intervals` on a network and the same with weights off by {CHANGE:g} of themselves, over a box of radius {RADIUS:g}
around one image, against one plain execution in float64: boxes of all values of both, and of all differences.
{common.preamble(machine, repeats)}

{common.table(header, rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", help="of the zoo; may be repeated")
    options = common.parse(parser, RESULTS)
    networks = options.network or (QUICK if options.quick else NETWORKS)
    machine = common.machine()
    measurements = [
        measurement
        for network in networks
        for measurement in common.in_fresh_process(measure, network, options.repeats)
    ]
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
