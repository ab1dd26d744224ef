"""Pruning by path scores and by magnitude, as trained and rescaled: accuracy before and after training on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks import common, onnxsim_side
from benchmarks.pruning_networks import TASKS, Task, accuracy, made, masked, train

from pathlift.frontend.bind import bind
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.pruning.compensation import compensated
from pathlift.passes.pruning.criteria import Calibration
from pathlift.passes.pruning.masks import Pruned
from pathlift.passes.pruning.prune import Prune
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.testing import execute

RESULTS = Path(__file__).parent / "results" / "pruning"
SPARSITIES = (0.4, 0.6, 0.8)
OCTAVES, CALIBRATION = 5, 256
CRITERIA, REFITTED = ("magnitude", "wanda", "path"), ("wanda", "path")
UNPRUNED, PATH, MAGNITUDE, RESCALED = "unpruned", "path", "magnitude", "magnitude of the rescaled copy"
ONNXSIM = "wanda of onnxsim"


@dataclass(frozen=True)
class Measurement:
    """One network at one sparsity, an element per seed."""

    network: str
    sparsity: float
    trained_on: Mapping[str, Array]
    """Accuracies (seeds, 2), before and after training on, by how masks were chosen."""
    same_masks: Array
    """Whether path scores choose the same weights of the rescaled copy."""
    one_shot: Mapping[str, Array]
    """Accuracies (seeds,) without training, by criterion, and whether weights were refitted."""
    zeros: Mapping[str, Array]
    """Shares of zeros of these."""


def measure(name: str, task: Task, seeds: int, python: str | None) -> list[Measurement]:
    found = [measure_seed(task, seed, python) for seed in range(seeds)]

    def stacked(sparsity: float, part: int) -> dict[str, Array]:
        parts = [run[sparsity][part] for run in found]
        return {key: np.array([p[key] for p in parts]) for key in parts[0]}

    return [Measurement(name, s, stacked(s, 0), stacked(s, 1)[PATH], stacked(s, 2), stacked(s, 3)) for s in SPARSITIES]


def measure_seed(task: Task, seed: int, python: str | None) -> dict[float, tuple[dict[str, object], ...]]:
    module, data = made(task, seed), task.data()
    bound = bind(module, [data.x[:1]])
    graph = bound.graph
    calibration, test = ({graph[graph.inputs[0]].names[0]: x.numpy()} for x in (data.x[:CALIBRATION], data.test_x))
    others = (
        dict(zip(SPARSITIES, onnxsim_side.wanda(python, graph, calibration, SPARSITIES), strict=True)) if python else {}
    )
    copy = RandomRescale(octaves=OCTAVES, seed=seed, exact=True).run(graph).graph

    def chosen(of: Graph, sparsity: float, criterion: str) -> dict[str, Array]:
        witness = Prune(sparsity, criterion).run(of).witness
        assert isinstance(witness, Pruned)
        sources = {name: bound.sources[name].name for name in witness.masks}
        return {
            sources[name]: mask.reshape(module.get_parameter(sources[name]).shape)
            for name, mask in witness.masks.items()
        }

    def both(masks: Mapping[str, Array]) -> list[float]:
        pruned = masked(module, masks)
        return [accuracy(pruned, data), accuracy(train(pruned, data, task.more, seed), data)]

    whole, found = both({}), dict[float, tuple[dict[str, object], ...]]()
    for sparsity in SPARSITIES:
        masks = {
            PATH: chosen(graph, sparsity, "path"),
            MAGNITUDE: chosen(graph, sparsity, "magnitude"),
            RESCALED: chosen(copy, sparsity, "magnitude"),
        }
        again = chosen(copy, sparsity, "path")
        same = all(np.array_equal(mask, again[key]) for key, mask in masks[PATH].items())
        trained_on = {UNPRUNED: whole, **{key: both(mask) for key, mask in masks.items()}}
        once = one_shot(graph, calibration, sparsity) | ({ONNXSIM: others[sparsity]} if others else {})
        zeros = {key: zeros_of(g) for key, g in once.items()}
        right = {key: score(g, test, data.test_y.numpy()) for key, g in once.items()}
        found[sparsity] = dict(trained_on), {PATH: same}, dict(right), dict(zeros)
    return found


def one_shot(graph: Graph, inputs: Mapping[str, Array], sparsity: float) -> dict[str, Graph]:
    """Prune without training, plainly and with weights refitted."""
    result = dict[str, Graph]()
    for criterion in CRITERIA:
        method = Prune(sparsity, criterion)
        pruned = method.prune(graph, Calibration([inputs])).graph
        result[criterion] = pruned
        if criterion in REFITTED:
            again = compensated(graph, pruned, method.prunables(graph).found, [inputs])
            result[f"{criterion}, compensated"] = again.graph
    return result


def zeros_of(graph: Graph) -> float:
    weights = [p.numpy() for key in graph.params if (p := graph[key].value) is not None and len(p.shape) > 1]
    return float(sum((w == 0).sum() for w in weights) / sum(w.size for w in weights))


def score(graph: Graph, inputs: Mapping[str, Array], labels: Array) -> float:
    (y,) = execute(graph, dict(inputs)).values()
    return float((y.argmax(1) == labels).mean())


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], seeds: int) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    same = np.concatenate([m.same_masks for m in measurements])
    names = tuple(measurements[0].trained_on)
    first = [
        (
            m.network,
            f"{100 * m.sparsity:.0f} %",
            *(f"{percent(a[:, 0])} → {percent(a[:, 1])}" for a in m.trained_on.values()),
        )
        for m in measurements
    ]
    second = [(m.network, f"{100 * m.sparsity:.0f} %", *map(percent, m.one_shot.values())) for m in measurements]
    spread = max(float(np.abs(a - m.sparsity).max()) for m in measurements for a in m.zeros.values())
    return f"""# Pruning

Test accuracy of classifiers of digits, {seeds} seeds: means, and in brackets the least and the largest. Weights of all
layers go, without the biases.

Machine: {facts}. No figure is a time.

## Trained on

Pruned, then after some more epochs with the zeros kept. The *rescaled copy* computes the same function, its neurons
rescaled at random by powers of two up to 2^±{OCTAVES}; which weights go is chosen there, and they go from the network
as trained, so that the choice is all that differs. Path scores chose **the same weights of the copy in
{int(same.sum())} of {len(same)} cases**: their column holds for both. *Unpruned* is trained on for as long.

{common.table(("network", "pruned", *names), first)}

{gaps(measurements)}

## In one shot

Without training. Wanda compares the weights of one output, the others all weights. *Compensated*: weights that stay are
refitted by least squares to what their layer computed on the {CALIBRATION} training images that Wanda scores on, as by
`--compensate`. Shares of zeros are within {100 * spread:.1f} points of the column.

{common.table(("network", "pruned", *measurements[0].one_shot), second)}
"""


def gaps(measurements: Sequence[Measurement]) -> str:
    """By how much other choices differ from path scores, in points of mean accuracy after training on."""

    def between(name: str, stage: int) -> str:
        points = [100 * float((m.trained_on[name] - m.trained_on[PATH])[:, stage].mean()) for m in measurements]
        return f"{min(points):+.1f} to {max(points):+.1f}"

    return f"""Beside path scores, magnitude is {between(MAGNITUDE, 0)} points off before, and {between(MAGNITUDE, 1)}
after training on; magnitude of the rescaled copy {between(RESCALED, 0)} and {between(RESCALED, 1)}."""


def percent(accuracies: Array) -> str:
    mean, low, high = (100 * float(f(accuracies)) for f in (np.mean, np.min, np.max))
    return f"{mean:.1f} %" + (f" [{low:.1f}–{high:.1f}]" if high - low >= 0.05 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wanda", metavar="PYTHON", help="an interpreter that has onnxsim, for its Wanda")
    options = common.parse(parser, RESULTS, repeats=3, quick=1)
    machine = common.machine()
    tasks = dict(list(TASKS.items())[:2]) if options.quick else TASKS
    measurements = list[Measurement]()
    for name, task in tasks.items():
        measurements += measure(name, task, options.repeats, options.wanda)
        text = report(measurements, machine, options.repeats)
        if options.output:
            common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
