"""Magnitude pruning of a rescaled network, and of its canonical form: test accuracy on the bundled digits model."""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks import common

import pathlift
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array, Param
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import execute

EXAMPLES = Path(__file__).parents[1] / "examples"
NORMS = ("l1", "l2", "balanced", "path-conditioned")
SPARSITIES = (0.4, 0.6, 0.8)
OCTAVES = 5
RESULTS = Path(__file__).parent / "results" / "pruning_after_rescaling"


@dataclass(frozen=True)
class Measurement:
    """Accuracies per random rescaling, by norm; ``""`` for the rescaled network as it is."""

    sparsity: float
    original: float
    accuracies: Mapping[str, Array]


def measure(sparsity: float, repeats: int) -> Measurement:
    graph = pathlift.load(EXAMPLES / "digits.onnx")
    copies = [RandomRescale(octaves=OCTAVES, seed=seed).run(graph).graph for seed in range(repeats)]
    accuracies = {"": np.array([accuracy(pruned(copy, sparsity)) for copy in copies])}
    for norm in NORMS:
        canonical = [Canonicalize(norm=norm).run(copy).graph for copy in copies]
        accuracies[norm] = np.array([accuracy(pruned(copy, sparsity)) for copy in canonical])
    return Measurement(sparsity, accuracy(pruned(graph, sparsity)), accuracies)


def pruned(graph: Graph, sparsity: float) -> Graph:
    """Set the smallest weights of all layers together to zero; biases and batch norms stay."""
    weights = {key: p.numpy() for key in graph.params if (p := graph[key].value) is not None and len(p.shape) > 1}
    threshold = np.quantile(np.concatenate([np.abs(w).reshape(-1) for w in weights.values()]), sparsity)
    builder = graph.edit()
    for key, w in weights.items():
        builder.replace_node(Value(key), value=Param.of(np.where(np.abs(w) > threshold, w, np.zeros_like(w))))
    return builder.finish()


def accuracy(graph: Graph) -> float:
    _, images, _, labels = runpy.run_path(str(EXAMPLES / "train_digits.py"))["digits"]()
    return float((execute(graph, {"image": images.numpy()})["logits"].argmax(1) == labels.numpy()).mean())


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    rows = [
        (f"{100 * m.sparsity:.0f} %", percent(np.array([m.original])), *map(percent, m.accuracies.values()))
        for m in measurements
    ]
    header = ("pruned", "as trained", "rescaled", *(f"canonicalize {norm}" for norm in NORMS))
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""# Magnitude pruning after a rescaling

Test accuracy of the digits model (`examples/digits.onnx`, 99.6 % unpruned) after its smallest weights, of all layers
together, have been set to zero, without training afterwards. *As trained*: the file's own weights. *Rescaled*: the same
function, neurons rescaled at random by 2^±{OCTAVES}. *Canonicalize*: the rescaled network, canonicalized before it is
pruned. Means, and in brackets the least and the largest, of {repeats} random rescalings.

Machine: {facts}.

{common.table(header, rows)}
"""


def percent(accuracies: Array) -> str:
    mean, low, high = (100 * float(f(accuracies)) for f in (np.mean, np.min, np.max))
    return f"{mean:.1f} %" + (f" [{low:.1f}–{high:.1f}]" if high - low >= 0.05 else "")


def main() -> None:
    options = common.parse(argparse.ArgumentParser(description=__doc__), RESULTS)
    machine = common.machine()
    measurements = [measure(sparsity, options.repeats) for sparsity in SPARSITIES]
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
