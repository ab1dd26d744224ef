"""Sums that `tune` rests on: whether times of layers add up, whether squared errors do, and how far its choice is off.

Every choice of one of six options for six layers of a trained network: the errors of all 46,656, the times of all 462
multisets. And a network of three kinds of layers, in which random choices are timed.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import common
from torch import nn

from pathlift.frontend.export import export
from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import product
from pathlift.models.tuning.additive import Additive
from pathlift.models.tuning.candidates import Space, build
from pathlift.models.tuning.latency import Track
from pathlift.models.tuning.signatures import signatures
from pathlift.passes.layers.dense import named_layers
from pathlift.passes.sketches.moments import second_moments

RESULTS = Path(__file__).parent / "results" / "tune_landscape"
STORED = Path(__file__).parents[1] / "tests" / "models" / "tuning" / "landscape.npz"
WIDTH, LAYERS, ROWS, HELD = 512, 6, 64, 32
PRODUCTS = ("(1,512,16,1)(1,16,512,1)", "(1,512,64,1)(1,64,512,1)", "(1,512,128,1)(1,128,512,1)",
            "(1,32,16,16)(16,16,32,1)", "(1,32,64,16)(16,64,32,1)")  # fmt: skip
MIXED = ("(1,1024,32,1)(1,32,256,1)", "(1,256,32,1)(1,32,1024,1)", "(1,256,32,1)(1,32,256,1)",
         "(1,16,16,16)(16,16,16,1)", "(1,64,32,16)(16,32,16,1)", "(1,16,32,16)(16,32,64,1)")  # fmt: skip
LIMITS = (0.002, 0.005, 0.01, 0.04)
CHUNK = 22


@dataclass(frozen=True)
class Landscape:
    """Ratios of multisets (counts of options, the first is dense), of single options, and errors of all choices."""

    counts: common.Samples
    ratios: common.Samples
    uniform: common.Samples
    noise: float
    errors: common.Samples
    layers: int = LAYERS


@dataclass(frozen=True)
class Mixture:
    """Predicted and measured ratios of random choices among layers of several signatures, and the noise of a ratio."""

    signatures: int
    predicted: common.Samples
    measured: common.Samples
    noise: float


def trained() -> tuple[nn.Module, np.ndarray]:
    """A network that reads digits, and what it reads."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    data = load_digits()
    x = torch.tensor(data.data / 16, dtype=torch.float32)[torch.randperm(len(data.data))]
    torch.manual_seed(0)
    y = torch.tensor(data.target)[torch.randperm(len(data.data))]
    hidden = [m for _ in range(LAYERS) for m in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    net = nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), *hidden, nn.Linear(WIDTH, 10))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.1)
    for _ in range(300):
        i = torch.randint(0, 1200, (128,))
        loss = nn.functional.cross_entropy(net(x[i] + 0.1 * torch.randn(128, 64)), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"accuracy {float((net(x[1200:]).argmax(1) == y[1200:]).float().mean()):.3f}")
    return net, x.numpy()


def opened(module: nn.Module, width: int) -> Graph:
    return load(export(module, (torch.zeros(ROWS, width),)))


def spaced(graph: Graph, x: np.ndarray, products: Sequence[str], names: str = "*") -> tuple[Space, dict[str, Any]]:
    """Options for the layers of a graph, and what is timed."""
    name = graph[graph.inputs[0]].names[0]
    found, skipped = named_layers(graph, names)
    feeds = {name: np.random.default_rng(0).normal(size=(ROWS, x.shape[1])).astype(np.float32)}
    moments = second_moments(graph, found, [{name: x[i : i + ROWS]} for i in range(0, len(x) - ROWS + 1, ROWS)])
    kinds = signatures(graph, found, feeds)
    space = build(
        graph, found, skipped, kinds, moments, patterns=";".join(products), by_size=False, device="cpu", seed=0
    )
    return space, feeds


def timed(track: Track, choices: Sequence[tuple[int, ...]], seconds: float) -> tuple[common.Samples, float]:
    """Ratios of choices to the dense file, some at a time, and the noise of one."""
    ratios, noises = list[float](), list[float]()
    for start in range(0, len(choices), CHUNK):
        costs, noise = track.race([track.open(c) for c in choices[start : start + CHUNK]], seconds)
        ratios += [cost.ratio for cost in costs]
        noises.append(noise.deviation)
        print(f"{start + len(costs)} of {len(choices)}: noise {noise.deviation:.3f}", flush=True)
    return np.array(ratios), float(np.sqrt(np.mean(np.square(noises))))


def multisets(options: int) -> Iterator[tuple[int, ...]]:
    yield from itertools.combinations_with_replacement(range(options), LAYERS)


def errors(net: nn.Module, space: Space, x: np.ndarray) -> common.Samples:
    """‖y − y'‖/‖y‖ of every choice, in the order of `itertools.product`; layers that choices share run once."""
    modules: Any = list(net)
    weights = [
        [torch.tensor(layer.weight(), dtype=torch.float32)]
        + [torch.tensor(product([f.astype(np.float64) for f in o.factors]), dtype=torch.float32) for o in options[1:]]
        for layer, options in zip(space.layers, space.options, strict=True)
    ]
    biases = [modules[2 * (i + 1)].bias for i in range(LAYERS)]

    def rest(layer: int, h: torch.Tensor) -> Iterator[torch.Tensor]:
        if layer == LAYERS:
            yield modules[-1](h)
            return
        for weight in weights[layer]:
            yield from rest(layer + 1, torch.relu(h @ weight.T + biases[layer]))

    with torch.inference_mode():
        h = torch.relu(modules[0](torch.tensor(x)))
        outputs = rest(0, h)
        y = next(outputs)
        found = [0.0, *(float((z - y).norm() / y.norm()) for z in outputs)]
    return np.array(found)


def landscape(seconds: float, most: int | None) -> Landscape:
    net, x = trained()
    graph = opened(net, 64)
    names = [layer.label for layer in named_layers(graph, "*")[0]][1:-1]
    space, feeds = spaced(graph, x[:1024], PRODUCTS, ",".join(names))
    assert len(space.groups) == 1
    options = len(space.options[0])
    track = Track(space, feeds)
    uniform, _ = timed(track, [(o,) * LAYERS for o in range(1, options)], seconds)
    every = list(multisets(options))[:most]
    ratios, noise = timed(track, every, seconds)
    counts = np.array([[choice.count(o) for o in range(options)] for choice in every])
    return Landscape(counts, ratios, uniform, noise, errors(net, space, x[1300 : 1300 + HELD]))


class Block(nn.Module):
    """Two layers around an activation, and one of another kind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow, self.square = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
            nn.Linear(width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.narrow(torch.relu(self.wide(x)))
        return torch.tanh(self.square(x))


def mixture(seconds: float, number: int) -> Mixture:
    torch.manual_seed(0)
    graph = opened(nn.Sequential(*(Block(256) for _ in range(3))), 256)
    rng = np.random.default_rng(0)
    space, feeds = spaced(graph, rng.normal(size=(512, 256)).astype(np.float32), MIXED)
    track, costs = Track(space, feeds), [np.zeros(len(o)) for o in space.options]
    for kind, members in space.groups.items():
        alone, _ = timed(track, [space.uniform(kind, o) for o in range(1, len(space.options[members[0]]))], seconds)
        for layer in members:
            costs[layer][1:] = (alone - 1) / len(members)
    model = Additive([0] * len(costs), costs, costs)
    choices = [tuple(int(rng.integers(len(o))) for o in space.options) for _ in range(number)]
    measured, noise = timed(track, choices, seconds)
    return Mixture(len(space.groups), np.array([model.ratio(c) for c in choices]), measured, noise)


def regrets(found: Landscape) -> list[tuple[str, ...]]:
    """By limit: what the knapsack chooses, 10 verified, the best uniform choice and the best of all, as ratios."""
    from pathlift.models.tuning.strategies import Exact, uniform_first

    options = found.counts.shape[1]
    table = {tuple(c): r for c, r in zip(found.counts, found.ratios, strict=True)}
    every = list(itertools.product(range(options), repeat=LAYERS))
    ratios = np.array([table[tuple(c.count(o) for o in range(options))] for c in every])
    model = additive(found)
    rows = []
    for limit in LIMITS:
        least = float(ratios[found.errors <= limit].min())
        chosen = Exact().propose(model, [], limit, 10)
        places = [int(np.ravel_multi_index(c, (options,) * LAYERS)) for c in chosen]
        good = [ratios[i] for i in places if found.errors[i] <= limit]
        one = next(iter(uniform_first(model, limit)))
        uniform = ratios[int(np.ravel_multi_index(one, (options,) * LAYERS))]
        rows.append(
            (f"{100 * limit:g} %", f"{least:.3f}", f"{min(good, default=1.0):.3f}", f"{uniform:.3f}",
             f"{np.mean(found.errors <= limit):.1%}")
        )  # fmt: skip
    return rows


def additive(found: Landscape) -> Additive:
    """The model, from the times of uniform choices and the errors of single options."""
    options = found.counts.shape[1]
    costs = np.array([0.0, *((found.uniform - 1) / LAYERS)])
    every = found.errors.reshape((options,) * LAYERS)
    single = [
        np.array([every[(0,) * i + (o,) + (0,) * (LAYERS - i - 1)] for o in range(options)]) for i in range(LAYERS)
    ]
    return Additive([0] * LAYERS, [costs] * LAYERS, [s**2 for s in single])


def quality(measured: common.Samples, predicted: common.Samples) -> tuple[float, float, float]:
    """R², root mean square and mean of measured less predicted."""
    rest = measured - predicted
    return 1 - float(rest.var() / measured.var()), float(np.sqrt(np.mean(rest**2))), float(rest.mean())


def report(found: Landscape, mixed: Mixture, machine: Mapping[str, object]) -> str:
    model = additive(found)
    costs = model.costs[0]
    one = quality(found.ratios, 1 + found.counts @ costs)
    several = quality(mixed.measured, mixed.predicted)
    options = found.counts.shape[1]
    said = np.array([model.error(c) for c in itertools.product(range(options), repeat=LAYERS)])
    known = (said > 0) & (found.errors > 0)
    low, middle, high = np.quantile(found.errors[known] / said[known], (0.01, 0.5, 0.99))
    rows = [
        (name, str(count), f"{r2:.3f}", f"{rms:.3f}", f"{bias:+.3f}", f"{noise:.3f}")
        for name, count, (r2, rms, bias), noise in (
            ("six layers of 512, one signature", len(found.ratios), one, found.noise),
            (f"nine layers, {mixed.signatures} signatures", len(mixed.measured), several, mixed.noise),
        )
    ]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""# Whether times and errors of layers add up

Predicted: 1 plus, for each layer, what its option saves, which is measured with that option in all layers of a
signature. Measured: processor time of one thread over the dense file's, medians of races of {CHUNK} files; all as
shares of the dense time. *Noise*: by how much the dense file differs from itself in such a race.

Machine: {facts}.

{common.table(("network", "choices", "R²", "rms", "mean", "noise"), rows)}

The error of a choice over the root of the sum of its layers' squared errors, over all {len(found.errors):,} choices of
the first network: {middle:.2f}, between {low:.2f} and {high:.2f} in 98 % of them.

| limit of the error | best of all | best of 10 verified | uniform | choices within |
| --- | --- | --- | --- | --- |
{chr(10).join(f"| {' | '.join(row)} |" for row in regrets(found))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", action="store_true", help="also write what tests/models/tuning reads")
    options = common.parse(parser, RESULTS)
    torch.set_num_threads(1)
    machine = common.machine()
    seconds = 1.0 if options.quick else 6.0
    mixed = mixture(seconds, 22 if options.quick else 66)
    found = landscape(seconds, None)
    text = report(found, mixed, machine)
    if options.output:
        common.save(options.output, text, machine, [mixed])
    if options.store:
        np.savez_compressed(
            STORED, counts=found.counts.astype(np.int8), ratios=found.ratios.astype(np.float32),
            uniform=found.uniform.astype(np.float32), noise=found.noise, errors=found.errors.astype(np.float16),
        )  # fmt: skip
    print(text)


if __name__ == "__main__":
    main()
