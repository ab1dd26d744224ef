"""Path-norms through border classes, against ONNX Runtime's forward pass and against one position per pixel."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Literal, cast

import numpy as np
import onnx_ir
import onnxruntime
import torch
from benchmarks import common
from torch import nn

import pathlift
from pathlift.frontend.export import export
from pathlift.ir.types import is_float
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.testing import zoo

NETWORKS = ("resnet18", "resnet50", "resnet152", "vgg16", "densenet121", "unet")
SIDES = (224, 448, 896)
DTYPES = ("float64", "float32")
TIME_TARGETS = {("resnet50", 224, "float64"): 5.0, ("resnet50", 448, "float64"): 2.0, ("resnet50", 224, "float32"): 1.5}
"""Most forward passes that a norm may take."""
MEMORY_TARGET = 3.0
"""Most that a norm may add to the resident memory, in sizes of the weights in float64."""
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
"""Of log10 of the norm: evaluations that are further apart do not compute the same thing."""
STARTUP = 60.0
"""Seconds in which a process imports, loads a file and warms up."""
RESULTS = Path(__file__).parent / "results" / "path_norm"

Dtype = Literal["float64", "float32"]


@dataclass(frozen=True)
class Figures:
    """What was measured of one contestant.

    Parameters
    ----------
    peak
        Bytes by which one call raised the resident memory.
    log10
        Of the norm.
    seconds
        One per round.
    left_out
        Why there are no seconds, or no figures at all.
    """

    peak: int | None = None
    log10: float | None = None
    seconds: common.Samples = field(default_factory=lambda: np.empty(0))
    left_out: str = ""


@dataclass(frozen=True)
class Measurement:
    """One file; `weights` is the size of its weights in float64, in bytes."""

    network: str
    side: int
    weights: int
    contestants: dict[str, Figures]


# ---- in processes of their own


def make(network: str, side: int, width: float, file: Path) -> int:
    """Export a network of the zoo for one image of this size; return the size of its weights in float64, in bytes."""
    module, _ = zoo.build(network, image=224, width=width)
    if network.startswith("vgg"):  # as torchvision does it: the weights do not depend on the side
        assert isinstance(module, nn.Sequential)
        flatten = next(i for i, layer in enumerate(module) if isinstance(layer, nn.Flatten))
        module.insert(flatten, nn.AdaptiveAvgPool2d(7))
    onnx_ir.save(export(module, (1, 3, side, side), dynamic_batch=False), file)
    graph = load(file)
    params = [param for key in graph.params if (param := graph[key].value) is not None]
    return 8 * sum(param.size for param in params if is_float(param.dtype))


load = cache(pathlift.load)


def contestant(name: str, file: Path) -> Callable[[], float | None]:
    """``ort``, or ``classes`` or ``plain`` and a dtype; what it returns is log10 of the norm."""
    if name == "ort":
        return forward(file)
    kind, dtype = name.split()
    graph, analysis = load(file), PathNorm(q=(1.0,), dtype=cast(Dtype, dtype), borders=kind == "classes")
    return lambda: analysis.run(graph).norms[0].log10


def forward(file: Path) -> Callable[[], None]:
    """ONNX Runtime on one random image: default optimizations, as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Else its threads spin on after a run, on the cores of the next contestant.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    feed = {image.name: np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)}

    def run() -> None:
        session.run(None, feed)

    return run


def call_once(name: str, small: Path, file: Path) -> tuple[Figures, float]:
    """Measure the memory of one call, and its seconds, after one on a small network that loads the libraries."""
    contestant(name, small)()
    call = contestant(name, file)
    (log10, seconds), peak = common.peak_memory(lambda: common.timed(call))
    return Figures(peak, log10), seconds


def race(names: Sequence[str], file: Path, repeats: int, budget: float) -> dict[str, common.Samples]:
    return common.interleaved({name: contestant(name, file) for name in names}, repeats=repeats, budget=budget)


# ---- in the main process


def measure(network: str, side: int, small: Path, options: argparse.Namespace) -> Measurement:
    """Measure memory, each contestant in a process of its own, and then time, side by side in one process."""
    names = ("ort", *(f"{kind} {dtype}" for dtype in options.dtypes for kind in ("classes", "plain")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        weights = common.in_fresh_process(make, network, side, 1.0, file)
        figures = {name: figures_of_one_call(name, small, file, options.limit) for name in names}
        check_agreement(figures)
        entered = [name for name, found in figures.items() if not found.left_out]
        try:
            samples = common.in_fresh_process(race, entered, file, options.repeats, options.budget)
            figures |= {name: replace(figures[name], seconds=seconds) for name, seconds in samples.items()}
        except common.LeftOutError as reason:
            figures |= {name: replace(figures[name], left_out=f"all together {reason}") for name in entered}
    return Measurement(network, side, weights, figures)


def figures_of_one_call(name: str, small: Path, file: Path, limit: float) -> Figures:
    try:
        figures, seconds = common.in_fresh_process(call_once, name, small, file, timeout=STARTUP + limit)
    except common.LeftOutError as reason:
        return Figures(left_out=str(reason))
    return replace(figures, left_out=f"one call takes {seconds:.0f} s") if seconds > limit else figures


def check_agreement(figures: dict[str, Figures]) -> None:
    """A comparison of times means something only if all have computed the same norm."""
    known = [(name, found.log10) for name, found in figures.items() if found.log10 is not None]
    for (name, norm), (other, expected) in combinations(known, 2):
        tolerance = max(TOLERANCE[contender.split()[1]] for contender in (name, other))
        if abs(norm - expected) > tolerance * max(1.0, abs(expected)):
            raise SystemExit(f"{name} and {other} disagree: 10^{norm} and 10^{expected}")


# ---- the report


HEADER = (
    "network", "side", "dtype", "classes / ORT", "plain / classes", "peak / weights", "remarks",
    "ORT, ms", "classes, ms", "plain, ms", "peak of classes, MB", "peak of plain, MB",
)  # fmt: skip


def row(measured: Measurement, dtype: str) -> list[str]:
    ort, classes, plain = (measured.contestants[name] for name in ("ort", f"classes {dtype}", f"plain {dtype}"))
    slowdown, gain = common.ratio(classes.seconds, ort.seconds), common.ratio(plain.seconds, classes.seconds)
    memory = np.nan if classes.peak is None else classes.peak / measured.weights
    remarks = [
        f"{name} left out: {found.left_out}"
        for name, found in (("ORT", ort), ("classes", classes), ("plain", plain))
        if found.left_out
    ]
    if len(gain) and np.median(gain) < 1:
        remarks.append("**classes lose**")
    target = TIME_TARGETS.get((measured.network, measured.side, dtype))
    if target is not None:
        met = len(slowdown) and np.median(slowdown) <= target
        remarks.append(f"time ≤ {target:g}: {'met' if met else '**missed**'}")
    if not memory <= MEMORY_TARGET:
        remarks.append(f"peak ≤ {MEMORY_TARGET:g}: **missed**")
    return [
        measured.network, str(measured.side), dtype,
        common.spread(slowdown), common.spread(gain), common.digits(memory), "; ".join(remarks),
        *(common.spread(1e3 * found.seconds) for found in (ort, classes, plain)),
        *("–" if found.peak is None else f"{found.peak / 1e6:.0f}" for found in (classes, plain)),
    ]  # fmt: skip


def report(
    measurements: Sequence[Measurement], machine: Mapping[str, object], dtypes: Sequence[str], repeats: int
) -> str:
    return f"""# Path-norms (q = 1): border classes, plain evaluation, ONNX Runtime

{common.preamble(machine, repeats)}
`benchmarks/README.md` says what each column means.

{common.table(HEADER, (row(measured, dtype) for measured in measurements for dtype in dtypes))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=SIDES, help="image sides: multiples of 32, for VGG of 224"
    )
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument(
        "--budget", type=float, default=60.0, help="seconds of timing per contestant, beyond three rounds"
    )
    parser.add_argument("--limit", type=float, default=90.0, help="seconds: who takes more for one call is left out")
    options = common.parse(parser, RESULTS)
    if options.quick:
        options.models, options.sizes = NETWORKS[:1], SIDES[:1]
    machine, measurements, text = common.machine(), list[Measurement](), ""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.onnx"
        common.in_fresh_process(make, "resnet18", 64, 0.125, small)
        for network, side in product(options.models, options.sizes):
            print(f"{network} at {side} …", file=sys.stderr)
            measurements.append(measure(network, side, small, options))
            text = report(measurements, machine, options.dtypes, options.repeats)
            if options.output:
                common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
