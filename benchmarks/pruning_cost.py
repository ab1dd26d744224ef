"""Costs of path scores: one score of every weight against one path-norm of the same network, side by side."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from benchmarks import common

import pathlift
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.pruning.criteria import Question, scored
from pathlift.passes.pruning.prunable import prunables
from pathlift.passes.pruning.prune import Prune
from pathlift.testing import zoo

RESULTS = Path(__file__).parent / "results" / "pruning_cost"
CASES = (("resnet18", 224), ("resnet50", 224), ("mobilenet_v2", 224), ("unet_bilinear", 128))
TARGET = 4.0
"""Most path-norms that the scores of ResNet-50 may take."""


@dataclass(frozen=True)
class Measurement:
    """Seconds of one network: its path-norm, scores of all weights, and all of pruning, masks and witness included."""

    network: str
    weights: int
    norm: common.Samples
    scores: common.Samples
    pruned: common.Samples


def measure(name: str, image: int, repeats: int) -> Measurement:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(zoo.export(name, image=image), file.name)
        graph = pathlift.load(file.name)
    found = prunables(graph).found
    times = common.interleaved(
        {
            "norm": lambda: PathNorm().run(graph).norms[0].log10,
            "scores": lambda: scored("path", Question(graph, found)),
            "pruned": lambda: Prune(0.8).run(graph),
        },
        repeats=repeats,
    )
    weights = sum(p.param.size for p in found)
    return Measurement(f"{name} {image}", weights, times["norm"], times["scores"], times["pruned"])


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    rows = [
        (
            m.network, f"{m.weights / 1e6:.1f} M", f"{1000 * float(np.median(m.norm)):.0f} ms",
            *(common.spread(common.ratio(own, m.norm)) for own in (m.scores, m.pruned)),
        )
        for m in measurements
    ]  # fmt: skip
    told = [
        f"Scores of {m.network} take {float(np.median(common.ratio(m.scores, m.norm))):.2f} path-norms; the target is "
        f"at most {TARGET:g}."
        for m in measurements
        if m.network.startswith("resnet50")
    ]
    header = ("network", "weights", "path-norm", "scores, in norms", "pruned, in norms")
    return f"""# Costs of path scores

A path-norm is one pass through the network; scores of all weights are that pass, one back, and products with the
weights. *Pruned*: scores, the choice of four weights in five, and new weights. Random weights.

{common.preamble(machine, repeats)}

{common.table(header, rows)}

{" ".join(told)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    options = common.parse(parser, RESULTS)
    machine = common.machine()
    measurements = [measure(*case, options.repeats) for case in (CASES[:1] if options.quick else CASES)]
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
