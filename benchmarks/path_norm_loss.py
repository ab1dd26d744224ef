"""One step of the path-norm as a training loss, against one training step of ResNet-18."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks import common
from torch import Tensor, nn

import pathlift
from pathlift.testing import zoo

NETWORK = "resnet18"
SETTINGS = ((224, 32), (32, 128))
"""Image sides and batches of the training step."""
QUICK = ((32, 128),)
RESULTS = Path(__file__).parent / "results" / "path_norm_loss"


@dataclass(frozen=True)
class Measurement:
    """Seconds per round, and those of the first value, which has to be compiled."""

    side: int
    batch: int
    q: float
    first: float
    loss: common.Samples
    training: common.Samples


def measure(side: int, batch: int, q: float, repeats: int) -> Measurement:
    """Time value and gradient of both losses, on one module in training mode; no step updates the weights."""
    module, shape = zoo.build(NETWORK, image=side)
    module.train()
    images, labels, example = torch.randn(batch, *shape[1:]), torch.arange(batch), torch.randn(shape)

    def path_norm() -> Tensor:
        return pathlift.path_norm_loss(module, example, q)

    def cross_entropy() -> Tensor:
        return nn.functional.cross_entropy(module(images), labels)

    _, first = common.timed(path_norm)
    check(module, step(module, path_norm))
    steps = {"loss": step(module, path_norm), "training": step(module, cross_entropy)}
    return Measurement(side, batch, q, first, **common.interleaved(steps, repeats=repeats))


def step(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    def run() -> None:
        module.zero_grad()
        torch.autograd.backward(loss())

    return run


def check(module: nn.Module, step: Callable[[], None]) -> None:
    """A step is worth timing only if every weight gets a gradient from it."""
    step()
    for name, weight in module.named_parameters():
        if weight.ndim > 1 and (weight.grad is None or not weight.grad.isfinite().all() or not weight.grad.any()):
            raise SystemExit(f"the path-norm gives {name} no gradient")


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    header = ("side", "batch", "q", "path-norm / training step", "path-norm, ms", "training step, ms", "first value, s")
    rows = (
        (
            str(m.side), str(m.batch), f"{m.q:g}", common.spread(common.ratio(m.loss, m.training)),
            common.spread(1e3 * m.loss), common.spread(1e3 * m.training), common.digits(m.first),
        )
        for m in measurements
    )  # fmt: skip
    return f"""# The path-norm as a training loss of {NETWORK}

Value and gradient of `pathlift.path_norm_loss`, against those of the cross-entropy of a batch, in float32.
{common.preamble(machine, repeats)}

{common.table(header, rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--q", type=float, default=1.0)
    options = common.parse(parser, RESULTS)
    machine = common.machine()
    measurements = [
        common.in_fresh_process(measure, side, batch, options.q, options.repeats)
        for side, batch in (QUICK if options.quick else SETTINGS)
    ]
    text = report(measurements, machine, options.repeats)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
