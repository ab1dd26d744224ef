"""Memory, time and ranges of `calibrate`, beside those of ONNX Runtime, and parts of the data that add up."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import common
from benchmarks.calibration_networks import cnn, gathered, mlp, stream
from benchmarks.calibration_ranges import (
    BATCH,
    CALIBRATORS,
    LAYERS,
    PIECE,
    beside,
    by_rows,
    has_calibrators,
    range_rows,
)

import pathlift
from pathlift.frontend.load import load
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.models.sketches.make import Request, make_sketch
from pathlift.models.sketches.sources import parts
from pathlift.passes.sketches.recorder import Settings
from pathlift.passes.sketches.sketch import Sketch

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "calibration"
SPIKE = 3000.0
UPDATES = ("network", "batch", "forward, µs a row", "update", "pass", "pass, --outputs", "target")
MISSING = "They are left out: `onnxruntime.quantization` asks for packages that are not installed.\n"
GROWTH, UPDATE = 0.05, 2.5
SIZES, MERGED = (10**4, 10**5, 10**6), (16_384, 16_397)


@dataclass(frozen=True)
class Memory:
    """Bytes of the data, of the file, and of the process at its peak; seconds of the processor."""

    rows: int
    data: int
    file: int
    peak: int
    seconds: float


@dataclass(frozen=True)
class Update:
    """Seconds of the processor for a forward pass over some rows, and for the whole pass without and with outputs."""

    network: str
    batch: int
    rows: int
    forward: common.Samples
    inputs: common.Samples
    outputs: common.Samples


@dataclass(frozen=True)
class Merge:
    """How sums of shards differ from those of all rows at once."""

    rows: int
    shards: int
    moved: int
    counted: int
    moments: float
    reordered: bool


@dataclass(frozen=True)
class Fit:
    """Errors of a layer that is fitted to data and to a sketch of it, weighted by what it reads."""

    layer: str
    calib: float
    sketch: float


# ---- in fresh processes


def streamed(rows: int, width: int, folder: Path) -> Memory:
    """Calibrate rows that are made as they are read."""
    mlp(width, LAYERS, folder / "mlp.onnx")
    file = folder / f"{rows}.npz"
    call = partial(pathlift.calibrate, folder / "mlp.onnx", data=stream(rows, width), output=file)
    _, seconds = common.timed(call, time.process_time)
    return Memory(rows, 4 * rows * width, file.stat().st_size, common.peak_resident(), seconds)


def update(network: str, batch: int, rows: int, repeats: int, folder: Path) -> Update:
    """Time the whole pass and the forward pass in rounds, on data in memory."""
    path = folder / "network.onnx"
    if network == "cnn":
        cnn(path)
        x = np.random.default_rng(1).standard_normal((rows, 3, 32, 32), dtype=np.float32)
    else:
        mlp(int(network), LAYERS, path)
        x = gathered(rows, int(network))
    graph = load(path)
    contestants = {
        "forward": partial(forward, graph, x, batch),
        **{name: partial(sums, graph, x, batch, name == "outputs") for name in ("inputs", "outputs")},
    }
    return Update(network, batch, rows, **common.interleaved(contestants, repeats=repeats, clock=time.process_time))


def forward(graph: Graph, x: Array, batch: int) -> None:
    """Execute, as the recorder of a sketch does it."""
    import torch

    algebra = Numeric(torch.float32)
    with torch.inference_mode():
        for start in range(0, len(x), batch):
            run(graph, algebra, {"x": algebra.tensor(x[start : start + batch])})


def sums(graph: Graph, x: Array, batch: int, outputs: bool) -> Sketch:
    """Make a sketch of arrays."""
    request = Request(settings=Settings(outputs=outputs), batch=batch)
    return make_sketch(graph, None, parts({"x": x}, None)[0], request).sketch


# ---- in the main process


def merge(rows: int, shards: int, width: int, folder: Path) -> Merge:
    """Merge files of shards, in their order and in reverse, and compare with one of all rows."""
    model, data = folder / "merge.onnx", {"x": gathered(rows, width)}
    mlp(width, LAYERS, model)
    whole = pathlift.calibrate(model, data=data).sketch
    files = [folder / f"{rows}-{i}-of-{shards}.npz" for i in range(1, shards + 1)]
    for i, file in enumerate(files, 1):
        pathlift.calibrate(model, data=data, shard=(i, shards), output=file, force=True)
    if shards == 1:
        return compared(whole, pathlift.calibrate(files[0], show=True).sketch, 1, reordered=True)
    outputs = [folder / "forwards.npz", folder / "backwards.npz"]
    found = [
        pathlift.calibrate(*order, merge=True, output=output, force=True).sketch
        for order, output in zip((files, files[::-1]), outputs, strict=True)
    ]
    return compared(whole, found[0], shards, reordered=outputs[0].read_bytes() == outputs[1].read_bytes())


def compared(whole: Sketch, other: Sketch, shards: int, *, reordered: bool) -> Merge:
    """Compare sums: counts that lie in other bins, and the largest relative difference of second moments."""
    pairs = list(zip(whole.layers, other.layers, strict=True))
    moved = sum(int(np.abs(a.counts.counts - b.counts.counts).sum()) // 2 for a, b in pairs)
    moments = max(float(np.linalg.norm(a.total - b.total) / np.linalg.norm(a.total)) for a, b in pairs)
    return Merge(whole.samples, shards, moved, sum(a.counts.total for a, _ in pairs), moments, reordered)


def fits(folder: Path, steps: int) -> list[Fit]:
    """Fit layers of examples/digits.onnx to images, and to a sketch of them."""
    from sklearn.datasets import load_digits

    model, sketch = ROOT / "examples" / "digits.onnx", folder / "digits.npz"
    data = {"image": (load_digits().images[:, None] / 16).astype(np.float32)}
    np.savez(folder / "images.npz", **data)  # type: ignore[arg-type]  # NumPy's types take the names for an option's
    pathlift.calibrate(model, data=data, output=sketch, force=True)
    options: dict[str, Any] = {"budget": "flops=0.5", "steps": steps}
    given = ({"calib": folder / "images.npz"}, {"sketch": sketch})
    by_data, by_sketch = (pathlift.ks_fit(model, **options, **g).approximation.layers for g in given)
    return [
        Fit(a.node, a.weighted_error, b.weighted_error)
        for a, b in zip(by_data.values(), by_sketch.values(), strict=True)
        if a.weighted_error is not None and b.weighted_error is not None
    ]


# ---- the report


def memory_rows(measured: Sequence[Memory]) -> Iterator[Sequence[str]]:
    for m in measured:
        growth = m.peak / measured[0].peak - 1
        yield (
            f"{m.rows:,}", f"{m.data / 1e6:,.1f}", f"{m.file / 1e6:.2f}", f"{m.peak / 1e6:.0f}",
            f"{100 * growth:+.1f} %", common.digits(m.seconds),
        )  # fmt: skip


def update_rows(measured: Sequence[Update]) -> Iterator[Sequence[str]]:
    for m in measured:
        whole, outputs = (common.ratio(times, m.forward) for times in (m.inputs, m.outputs))
        name = "3×3 convolutions" if m.network == "cnn" else f"{LAYERS} × {m.network}²"
        met = "met" if np.median(whole - 1) <= UPDATE else "**missed**"
        each = common.digits(1e6 * float(np.median(m.forward)) / m.rows)
        yield name, str(m.batch), each, common.spread(whole - 1), common.spread(whole), common.spread(outputs), met


def merge_rows(measured: Sequence[Merge]) -> Iterator[Sequence[str]]:
    for m in measured:
        same = "yes" if m.reordered else "**no**"
        yield f"{m.rows:,}", str(m.shards), f"{m.moved:,} of {m.counted:,}", f"{m.moments:.1e}", same


def fit_rows(measured: Sequence[Fit]) -> Iterator[Sequence[str]]:
    for m in measured:
        yield m.layer, f"{m.calib:.6f}", f"{m.sketch:.6f}", f"{abs(m.sketch / m.calib - 1):.1e}"


def report(found: Mapping[str, Sequence[Any]], machine: Mapping[str, object], widths: tuple[int, int]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    plain = [m for m in found["ranges"] if not m.spike]
    rounds = min((len(m.forward) for m in found["update"]), default=0)
    before = [(m.peak - m.rise) / 1e6 for m in plain] or [0.0]
    return f"""# Sums instead of data

What `pathlift calibrate` takes, and what its sums are worth. Perceptrons have {LAYERS} layers without biases, He-normal
weights and Relus between them; rows are signed squares of normal numbers, made as they are read, {BATCH} at a time
unless a table says otherwise. Memory is that of a process of its own, seconds are of the processor, in all threads.

Machine: {facts}.

## Memory
The resident memory of a process at its peak (VmHWM), Python and its libraries included, for layers of {widths[0]}.
{verdict(found["memory"])}

{common.table(("rows", "data, MB", "file, MB", "peak, MB", "over the first", "seconds"), memory_rows(found["memory"]))}

## The pass over a forward pass
Times over that of the forward pass alone by the same evaluator: medians [quartiles] of ratios within {rounds} rounds.
*Pass* is all of it, digests of the data included, *update* what it takes beyond the forward pass. The target of
{UPDATE} is for the update, at width 512; the whole pass is one forward pass more.
Second moments are products of inputs by inputs, in float64, of which one triangle is computed: half as many operations
as a square layer has, on numbers twice as wide. A convolution 3×3 of c channels to k loses: its patches have 9·c
numbers, and the triangle is 9·c / 2k times its own operations. `--outputs` adds the backward pass and second moments of
gradients.

{common.table(UPDATES, update_rows(found["update"]))}

## Beside ONNX Runtime's calibrators
`onnxruntime.quantization.calibrate` on the same file and rows: layers of {widths[1]}, one thread, defaults, inputs and
outputs of `Gemm`. *Percentile* is symmetric, at 99.99 %. *In pieces* calls its `collect_data` every {PIECE * BATCH}
rows, which its interface allows, and keeps no more than these; the others are called once. One run each.
{"" if has_calibrators() else MISSING}
### Rise of memory
In MB, above what the process has after a first small run, which is {min(before):.0f} to {max(before):.0f} MB.
Histograms are made of all activations at once where calibrators are called once, and of those of a piece in pieces;
*MinMax* keeps two numbers a batch.

{by_rows(plain, "rise", 1e6)}

### Time
In seconds, those of making the data included. pathlift does more: second moments, four powers and extremes per channel,
and the digest of the data. It does less: nothing with what only nonlinear nodes read.

{by_rows(plain, "seconds", 1)}

### Ranges
For {max((m.rows for m in plain), default=0)} rows: how far ranges are off the exact quantile and the largest |x| of
what a layer reads, the worst of {LAYERS} layers. *MinMax* knows no quantile, and *Entropy*, with defaults of 128 bins
and 128 levels, has one range to choose from, the largest. pathlift's bins are 64 to the octave: half of one is 0.8 % at
most, whatever the numbers. ONNX Runtime's are 2,048 of equal width up to the largest |x| of what it is given first,
which are finer where that is near. The last column is of half the rows, with {SPIKE:g} as the last number.

{common.table(("calibrator", "off 99.99 %", "off the largest", "off 99.99 %, one spike"), range_rows(found["ranges"]))}

## Merging
Files of shards against one of all rows, layers of {widths[0]}. Counts are integers: where shards end with batches they
are the same. Elsewhere the network's own float32 activations may be rounded in other ways. *C* is the largest relative
difference of second moments, ‖C − C'‖/‖C‖; the last column says whether files in reverse order give the same bytes.

{common.table(("rows", "shards", "counts in other bins", "C", "same bytes"), merge_rows(found["merge"]))}

## Fits by a sketch
`ks fit --sketch` against `ks fit --calib` on examples/digits.onnx, at half of a layer's operations: the errors of its
outputs on the data, for each layer that has candidates.

{common.table(("layer", "--calib", "--sketch", "relative difference"), fit_rows(found["fits"]))}
"""


def verdict(measured: Sequence[Memory]) -> str:
    """Whether memory grows."""
    if len(measured) < 2:
        return ""
    before, last = measured[-2:]
    growth, times = last.peak / before.peak - 1, last.rows / before.rows
    met = "met" if growth < GROWTH else "**missed**"
    return (
        f"From {before.rows:,} rows to {times:.0f} times as many it grows by {100 * growth:.1f} %: "
        f"the target of {100 * GROWTH:.0f} % is {met}."
    )


def main() -> None:
    options = common.parse(argparse.ArgumentParser(description=__doc__), RESULTS, repeats=5, quick=2)
    quick, machine, text = options.quick, common.machine(), ""
    widths = (64, 64) if quick else (256, 512)
    found: dict[str, list[Any]] = {name: [] for name in ("memory", "update", "ranges", "merge", "fits")}
    counts = (1024,) if quick else (10_240, 20_480, 40_960)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fresh: list[tuple[str, partial[Any]]] = [
            *(("memory", partial(streamed, n, widths[0], folder)) for n in ((2048, 4096) if quick else SIZES)),
            *(("update", partial(update, str(widths[1]), n, 2048, options.repeats, folder)) for n in (64, 256, 2048)),
            ("update", partial(update, "cnn", BATCH, 16 if quick else 128, options.repeats, folder)),
            *(("merge", partial(merge, n, s, widths[0], folder)) for n in MERGED for s in (1, 2, 8)),
            *(("ranges", partial(beside, n, widths[1], folder)) for n in counts),
            ("ranges", partial(beside, counts[-1] // 2, widths[1], folder, SPIKE, CALIBRATORS[2:])),
            ("fits", partial(fits, folder, 20 if quick else 0)),
        ]
        for key, call in fresh:
            print(key, *call.args[:2], "…", file=sys.stderr)
            made = common.in_fresh_process(call) if key in ("memory", "update") else call()
            found[key] += made if isinstance(made, list) else [made]
            text = report(found, machine, widths)
            if options.output:
                common.save(options.output, text, machine, list(chain.from_iterable(found.values())))
    print(text)


if __name__ == "__main__":
    main()
