"""Ranges for quantizers: those of a sketch and of ONNX Runtime's calibrators, against exact ones."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import common
from benchmarks.calibration_networks import gathered, mlp, read_by_layers, stream

import pathlift
from pathlift.ir.types import Array

LAYERS, BATCH, SHARE = 6, 64, 0.9999
CALIBRATORS = ("MinMax", "Entropy", "Percentile", "Percentile in pieces")
OPTIONS: Mapping[str, Mapping[str, Any]] = {"Percentile": {"percentile": 100 * SHARE, "symmetric": True}}
PIECE = 16
"""Batches that a calibrator is given at a time where it is fed in pieces."""


Found = dict[str, tuple[float, float]]
"""The range of a tensor and its quantile, by its name."""


@dataclass(frozen=True)
class Ranges:
    """What a calibrator takes, and the ranges that it finds for what layers read, over those that are exact.

    `spike` is the last number of the data, or 0 if that is like the others. `rise` is by how much the resident memory
    rises above that after a first small run. `largest` are ratios to the largest |x|, `quantiles` to the quantile.
    """

    calibrator: str
    rows: int
    spike: float
    peak: int
    rise: int
    seconds: float
    largest: Array
    quantiles: Array


def found_here(model: Path, rows: int, width: int, spike: float) -> Found:
    """Return the range, and its quantile, of what each layer reads, by the tensor's name."""
    result = pathlift.calibrate(model, data=stream(rows, width, spike))
    counts = [layer.counts for layer in result.sketch.layers]
    return {tensor(i): (c.largest, c.quantile(SHARE)) for i, c in enumerate(counts)}


def found_by_onnxruntime(calibrator: str, model: Path, rows: int, width: int, spike: float) -> Found:
    """Return the range that one of ONNX Runtime's calibrators finds, as both the range and the quantile."""
    import onnxruntime
    from onnxruntime.quantization import calibrate as ort

    method, _, pieces = calibrator.partition(" ")
    augmented = str(model.with_name("augmented.onnx"))
    options = {"extra_options": dict(OPTIONS.get(method, {})), "calibrate_method": ort.CalibrationMethod[method]}
    with contextlib.redirect_stdout(io.StringIO()):
        made = ort.create_calibrator(str(model), ["Gemm"], augmented_model_path=augmented, **options)
        session = onnxruntime.SessionOptions()
        session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session.intra_op_num_threads = 1
        made.infer_session = onnxruntime.InferenceSession(augmented, session, ["CPUExecutionProvider"])
        feeds, size = batches(rows, width, spike), PIECE if pieces else rows
        for _ in range(0, rows // BATCH, size):
            made.collect_data(Reader(islice(feeds, size)))
        found = made.compute_data()
    largest = {name: float(np.abs(found[name].range_value).max()) for name in map(tensor, range(LAYERS))}
    return {name: (r, r) for name, r in largest.items()}


class Reader:
    """Batches, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        """Return the next one; ``None`` at the end."""
        return next(self._feeds, None)


def batches(rows: int, width: int, spike: float = 0.0) -> Iterator[dict[str, Array]]:
    """Yield the rows of a stream, `BATCH` at a time; the number of rows is a multiple."""
    for chunk in stream(rows, width, spike)(0, 1):
        for start in range(0, len(chunk["x"]), BATCH):
            yield {"x": chunk["x"][start : start + BATCH]}


def tensor(layer: int) -> str:
    """The name of what a layer of a perceptron reads."""
    return f"r{layer - 1}" if layer else "x"


def exact(rows: int, width: int, spike: float, folder: Path) -> Found:
    """Return the largest |x| and the quantile of what each layer reads, from all of it."""
    weights = mlp(width, LAYERS, folder / "exact.onnx")
    return {tensor(i): extent(x) for i, x in enumerate(read_by_layers(gathered(rows, width, spike), weights))}


def extent(x: Array) -> tuple[float, float]:
    """Return the largest |x|, and the least that a share of all does not pass."""
    values, at = np.abs(x).ravel(), int(np.ceil(SHARE * x.size)) - 1
    return float(values.max()), float(np.partition(values, at)[at])


def ranges(calibrator: str, rows: int, width: int, spike: float, folder: Path) -> tuple[int, int, float, Found]:
    """Calibrate a few rows, then all of them, and measure the latter."""
    mlp(width, LAYERS, folder / "mlp.onnx")
    call = found_here if calibrator == "pathlift" else partial(found_by_onnxruntime, calibrator)
    call(folder / "mlp.onnx", PIECE * BATCH, width, 0.0)
    whole = partial(call, folder / "mlp.onnx", rows, width, spike)
    (found, seconds), rise = common.peak_memory(lambda: common.timed(whole, time.process_time))
    return common.peak_resident(), rise, seconds, found


def beside(
    rows: int, width: int, folder: Path, spike: float = 0.0, calibrators: Sequence[str] = CALIBRATORS
) -> list[Ranges]:
    """Measure all calibrators on the same rows."""
    truth = common.in_fresh_process(exact, rows, width, spike, folder)
    measured = []
    for calibrator in ("pathlift", *(calibrators if has_calibrators() else ())):
        peak, rise, seconds, found = common.in_fresh_process(ranges, calibrator, rows, width, spike, folder)
        largest, quantiles = np.array([np.divide(found[name], truth[name]) for name in truth]).T
        measured.append(Ranges(calibrator, rows, spike, peak, rise, seconds, largest, quantiles))
    return measured


def has_calibrators() -> bool:
    """Whether ``onnxruntime.quantization`` can be imported: it asks for packages that ONNX Runtime does not bring."""
    try:
        return importlib.util.find_spec("onnxruntime.quantization.calibrate") is not None
    except ImportError:
        return False


def by_rows(measured: Sequence[Ranges], attribute: str, unit: float) -> str:
    """A table of something that calibrators take: a row per number of rows, a column each."""
    names, counts = ({getattr(m, key): None for m in measured} for key in ("calibrator", "rows"))
    found = {(m.rows, m.calibrator): common.digits(getattr(m, attribute) / unit) for m in measured}
    return common.table(("rows", *names), ([str(n), *(found[n, name] for name in names)] for n in counts))


def range_rows(measured: Sequence[Ranges]) -> Iterator[Sequence[str]]:
    """How far ranges are off for the most rows, and with a spike."""
    plain, spiked = ({m.calibrator: m for m in measured if bool(m.spike) == spike} for spike in (False, True))
    for name, m in plain.items():
        yield name, error(m.quantiles), error(m.largest), error(spiked[name].quantiles) if name in spiked else "–"


def error(ratios: Array) -> str:
    """The worst of all layers, in per cent, with its sign."""
    worst = 100 * float(max(ratios - 1, key=abs))
    return "0" if abs(worst) < 1e-3 else f"{worst:+.2f} %" if abs(worst) < 10 else f"{worst:+.0f} %"
