"""Sparsity and what membership inference finds: the trend of arXiv 2304.10553 and 2304.07234 on data that is small.

Also how often the verdict of `pathlift audit privacy` is wrong about files that differ in the seed of training alone.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import common
from torch import nn

import pathlift
from pathlift.ir.text import parse_graph
from pathlift.models.privacy.audit import Named, Request, audit
from pathlift.models.privacy.data import SampleSet
from pathlift.models.privacy.verdict import Margins
from pathlift.models.source import open_model
from pathlift.report.privacy import PrivacyResult

RESULTS = Path(__file__).parent / "results" / "privacy_trend"
FEATURES, CLASSES, WIDTH, NOISE = 40, 5, 128, 0.1
MEMBERS, OTHERS, REFERENCES = 2000, 3000, 4
EPOCHS, AGAIN = 20, 10
ONE_SHOT, RETRAINED = (0.5, 0.7, 0.85), (0.3, 0.5, 0.7, 0.8, 0.9)
TEXT = f"""
    %x = Input : f32[N, {FEATURES}]
    %w0 = Param : f32[{FEATURES}, {WIDTH}]
    %b0 = Param : f32[{WIDTH}]
    %h0 = Gemm(%x, %w0, %b0)
    %r0 = Relu(%h0)
    %w1 = Param : f32[{WIDTH}, {WIDTH}]
    %b1 = Param : f32[{WIDTH}]
    %h1 = Gemm(%r0, %w1, %b1)
    %r1 = Relu(%h1)
    %w2 = Param : f32[{WIDTH}, {CLASSES}]
    %b2 = Param : f32[{CLASSES}]
    %logits = Gemm(%r1, %w2, %b2)
    return %logits
"""
VERDICTS = ("no_difference", "less", "more", "not_comparable", "inconclusive")
Arrays = dict[str, Any]


def data(seed: int, count: int) -> Arrays:
    """Samples of a teacher with tanh units, whose labels are drawn anew for one in ten."""
    teacher, rng = np.random.default_rng(0), np.random.default_rng(1000 + seed)
    first, second = teacher.normal(size=(FEATURES, 24)) / FEATURES**0.5, teacher.normal(size=(24, CLASSES))
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    y = np.argmax(np.tanh(1.5 * x @ first) @ second, axis=1)
    anew = rng.random(count) < NOISE
    y[anew] = rng.integers(CLASSES, size=anew.sum())
    return {"x": x, "y": y}


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    )


def train(module: nn.Module, samples: Arrays, epochs: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    x, y = torch.from_numpy(samples["x"]), torch.from_numpy(samples["y"])
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()


def graph(module: nn.Sequential) -> Any:
    """A module as the audit takes it; masks have become zeros."""
    layers = list(module[::2])
    weights = {f"w{i}": layer.weight.detach().numpy().T.copy() for i, layer in enumerate(layers)}
    biases = {f"b{i}": layer.bias.detach().numpy().copy() for i, layer in enumerate(layers)}
    return parse_graph(TEXT, {**weights, **biases})


def trained(seed: int, samples: Arrays, epochs: int = EPOCHS) -> nn.Sequential:
    module = network(seed)
    train(module, samples, epochs)
    return module


def variants(dense: nn.Sequential, seed: int, members: Arrays) -> Iterator[tuple[str, Any]]:
    """The network pruned once; pruned and trained on, in turn; and trained for fewer epochs."""
    for sparsity in ONE_SHOT:
        yield f"one-shot {sparsity:.0%}", pathlift.prune(graph(dense), sparsity=sparsity, criterion="magnitude").graph
    module = deepcopy(dense)
    for sparsity in RETRAINED:
        pathlift.prune_module(module, torch.zeros(1, FEATURES), sparsity, criterion="magnitude")
        train(module, members, AGAIN)
        yield f"retrained {sparsity:.0%}", graph(module)
    yield f"dense, {EPOCHS // 3} epochs", graph(trained(seed, members, EPOCHS // 3))


@dataclass(frozen=True)
class Measurement:
    """One file of one seed, beside the dense one of the same seed."""

    seed: int
    name: str
    train: float
    test: float
    loss: float
    rmia: float
    verdict: str
    difference: float
    interval: tuple[float, float]


def measurements(found: PrivacyResult, names: Sequence[str], seed: int) -> Iterator[Measurement]:
    for i, (name, file) in enumerate(zip(names, found.to_json()["files"], strict=True)):
        aucs = [file["attacks"][attack]["auc"] for attack in ("loss", "rmia")]
        compared = (
            found.comparisons[i - 1].to_json() if i else {"verdict": "–", "difference": {"auc": 0.0, "ci": (0.0, 0.0)}}
        )
        low, high = compared["difference"]["ci"]
        accuracy = file["accuracy"]
        yield Measurement(
            seed, name, accuracy["train"], accuracy["test"], aucs[0], aucs[1], compared["verdict"],
            compared["difference"]["auc"], (low, high),
        )  # fmt: skip


def pairs(
    files: Sequence[Any], references: Sequence[Any], sets: Mapping[str, Arrays]
) -> dict[tuple[str, float], Counter[str]]:
    """Verdicts about all pairs of files that differ in the seed alone, by attack and by the margin of the AUC."""
    read = {name: SampleSet.read(files[0], arrays, "y", name) for name, arrays in sets.items()}
    own, others = ([Named(f"{i}", open_model(f)) for i, f in enumerate(group)] for group in (files, references))
    counted: dict[tuple[str, float], Counter[str]] = {}
    for attack, more in (("loss", []), ("RMIA", others)):
        found = audit(own, more, read, Request(Margins()))
        for margin in (0.0, 0.01, 0.02):
            at = replace(found, margins=Margins(auc=margin))
            verdicts = [at.compare([a], [b], "").verdict for a, b in itertools.combinations(range(len(files)), 2)]
            counted[attack, margin] = Counter(verdicts)
    return counted


def cell(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def report(
    found: Sequence[Measurement], alike: Mapping[tuple[str, float], Counter[str]], machine: Any, seeds: int
) -> str:
    rows = []
    for name in dict.fromkeys(m.name for m in found):
        own = [m for m in found if m.name == name]
        figures = [cell([getattr(m, key) for m in own]) for key in ("train", "test", "loss", "rmia")]
        verdicts = Counter(m.verdict.replace("_", " ") for m in own)
        rows.append((name, *figures, ", ".join(f"{count} {v}" for v, count in verdicts.most_common())))
    wrong = [(attack, f"{margin:g}", *(str(c[v]) for v in VERDICTS)) for (attack, margin), c in alike.items()]
    count = sum(next(iter(alike.values())).values()) if alike else 0
    dense = [m for m in found if m.name == "dense"]
    deviations = [np.std([getattr(m, key) for m in dense], ddof=1) if len(dense) > 1 else 0 for key in ("loss", "rmia")]
    spread = f"{deviations[0]:.4f} (loss), {deviations[1]:.4f} (RMIA)"
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"""# Sparsity and membership inference

Means and standard deviations over {seeds} seeds of training. {MEMBERS} members, {OTHERS} non-members, {FEATURES}
features, {CLASSES} classes, labels drawn anew for {NOISE:.0%}; networks with two hidden layers of {WIDTH}, {EPOCHS}
epochs of Adam. *One-shot*: pruned by magnitude, not trained on. *Retrained*: pruned a little more in turn, with {AGAIN}
epochs on the members after each step. RMIA has {REFERENCES} references, trained on other samples. Verdicts are those of
`pathlift audit privacy dense.onnx FILE` for each seed.

Machine: {facts}.

## The trend

{common.table(("network", "train", "test", "AUC, loss", "AUC, RMIA", "verdict beside dense"), rows)}

## Files that differ in the seed alone

Verdicts about {count} pairs of dense networks, by what the AUC must differ by. Neither file was made to tell less:
"less" and "more" are wrong. Standard deviation of the AUC over seeds: {spread}.

{common.table(("attack", "margin", *(v.replace("_", " ") for v in VERDICTS)), wrong)}

## What is to be known

- The figures of arXiv 2304.10553 and 2304.07234 are of ResNets on CIFAR-10, attacked with shadow models. They are not
  reproduced here: the trend alone is tried, on data that is made up.
- Sparser networks that are less accurate tell less; whether sparsity does it, or accuracy, such a row cannot say, which
  is what "not comparable" is for. The last row has no zeros.
- Training on the members while pruning can make a file tell more.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, help="write the logits of labels of the dense networks, for a test")
    options = common.parse(parser, RESULTS, repeats=8, quick=1)
    torch.set_num_threads(1)
    machine = common.machine()
    members, others, population = data(1, MEMBERS), data(2, OTHERS), data(3, MEMBERS)
    given = {"members": members, "nonmembers": others}
    references = [graph(trained(100 + i, data(10 + i, MEMBERS))) for i in range(REFERENCES)]
    found, files, scores = list[Measurement](), list[Any](), list[Any]()
    for seed in range(options.repeats):
        dense = trained(seed, members)
        files.append(graph(dense))
        named = {"dense": files[-1], **dict(variants(dense, seed, members))}
        result = pathlift.audit_privacy(*named.values(), **given, reference=references, population=population)
        found += measurements(result, list(named), seed)
        attack = result.files[0].attacks["loss"]
        assert attack is not None
        scores.append(np.concatenate([attack.members, attack.others]).astype(np.float32))
        print(seed, *(f"{m.name} {m.rmia:.3f} {m.verdict}" for m in found[-len(named) :]), sep="; ", flush=True)
    if options.scores:
        np.savez_compressed(options.scores, scores=np.array(scores), members=MEMBERS)
    text = report(
        found,
        pairs(files, references, {"members": members, "non-members": others, "population": population}),
        machine,
        options.repeats,
    )
    if options.output:
        common.save(options.output, text, machine, found)
    print(text)


if __name__ == "__main__":
    main()
