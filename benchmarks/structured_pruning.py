"""Structured pruning: time of ONNX Runtime against the operations that are left, once channels are removed."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from benchmarks import common

import pathlift
from pathlift.frontend.save import to_onnx
from pathlift.ir.graph import Graph
from pathlift.passes.channels.footprint import Tally, flop_terms, weight_terms
from pathlift.passes.channels.groups import channel_groups
from pathlift.passes.channels.removal import remove
from pathlift.passes.pruning.channel_scores import path_costs
from pathlift.passes.pruning.channel_selection import select_channels
from pathlift.testing import zoo

RESULTS = Path(__file__).parent / "results" / "structured_pruning"
SPARSITIES = (0.25, 0.5, 0.75)
MULTIPLES = (1, 16)
KEPT = 0.05
"""The share of its channels that every layer keeps."""


@dataclass(frozen=True)
class Measurement:
    """One pruned network: shares of weights and operations that are left, and seconds, with those of the whole."""

    network: str
    sparsity: float
    multiple: int
    weights: float
    flops: float
    seconds: common.Samples
    whole: common.Samples
    selection: float


def measure(name: str, image: int, width: float, repeats: int) -> list[Measurement]:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(zoo.export(name, image=image, width=width), file.name)
        graph = pathlift.load(file.name)
    start = time.perf_counter()
    groups = channel_groups(graph)
    costs = path_costs(groups, fast=True)
    selection = time.perf_counter() - start
    weights, flops = Tally(weight_terms(groups)).total, Tally(flop_terms(groups)).total
    x, runs, left = zoo.example(name, image=image).numpy(), {"": session(graph)}, {}
    for sparsity in SPARSITIES:
        for multiple in MULTIPLES:
            gone = select_channels(groups, costs, sparsity, target="flops", least=KEPT, multiple=multiple)
            small = remove(groups, gone)
            found = channel_groups(small)
            key = f"{sparsity} {multiple}"
            left[key] = Tally(weight_terms(found)).total / weights, Tally(flop_terms(found)).total / flops
            runs[key] = session(small)
    calls = {key: lambda s=s: s.run(None, {s.get_inputs()[0].name: x}) for key, s in runs.items()}
    times = common.interleaved(calls, repeats=repeats)
    return [
        Measurement(f"{name} {image}", sparsity, multiple, *left[key], times[key], times[""], selection)
        for sparsity in SPARSITIES
        for multiple in MULTIPLES
        for key in [f"{sparsity} {multiple}"]
    ]


def session(graph: Graph) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, ["CPUExecutionProvider"])


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    rows = [
        (
            f"{100 * m.sparsity:.0f} %",
            str(m.multiple),
            f"{100 * m.weights:.0f} %",
            f"{100 * m.flops:.0f} %",
            f"{1000 * float(np.median(m.seconds)):.1f} ms",
            common.spread(common.ratio(m.seconds, m.whole)),
        )
        for m in measurements
    ]
    first = measurements[0]
    header = ("removed", "multiples of", "weights left", "operations left", "time", "of the whole's time")
    return f"""# Structured pruning

{first.network} with random weights, in ONNX Runtime, whole ({1000 * float(np.median(first.whole)):.1f} ms) and without
channels: the groups whose paths weigh least per operation, at least {100 * KEPT:.0f} % of each layer left. Finding
the groups and their scores took {first.selection:.0f} s. *Multiples of*: channels stay in blocks of so many.

{common.preamble(machine, repeats)}

{common.table(header, rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    options = common.parse(parser, RESULTS)
    case = ("resnet50", 64, 0.5) if options.quick else ("resnet50", 224, 1.0)
    machine = common.machine()
    measurements = measure(*case, options.repeats)
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
