"""The cost model of a CPU thread against ONNX Runtime: layers it was fitted to, and layers it was not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from benchmarks import common

from pathlift.frontend.save import to_onnx
from pathlift.ir.builder import Builder
from pathlift.ir.cost import DEVICES
from pathlift.ir.graph import Graph
from pathlift.ir.kronecker import Pattern, dense
from pathlift.ir.types import Array

RESULTS = Path(__file__).parent / "results" / "ks_cost_model"
CPU = DEVICES["cpu"]
SAMPLES = (1, 8, 64, 1568)
FITTED = [
    *((1, 192, 48, 2), (3, 192, 48, 4), (1, 768, 192, 2), (1, 64, 64, 16), (4, 128, 32, 4), (6, 64, 64, 1)),
    *((16, 64, 64, 1), (2, 48, 192, 1), (2, 192, 192, 1), (1, 48, 48, 8), (1, 48, 192, 8), (1, 128, 512, 4)),
    *((8, 32, 32, 4), (32, 32, 32, 1), (1, 16, 16, 16), (64, 16, 16, 1), (4, 8, 8, 16), (128, 4, 4, 1)),
    *((1, 512, 512, 2), (2, 256, 64, 8), (12, 64, 64, 4)),
]
OTHERS = [
    *((1, 128, 128, 3), (6, 64, 256, 1), (1, 512, 128, 2), (2, 128, 512, 1), (8, 96, 96, 1), (3, 96, 96, 4)),
    *((1, 96, 24, 16), (24, 32, 32, 1), (5, 40, 56, 3), (2, 384, 96, 3), (1, 32, 32, 32), (12, 48, 48, 2)),
]  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """Seconds per round of one layer, by contestant."""

    pattern: Pattern
    samples: int
    fitted: bool
    seconds: Mapping[str, Array]

    def predicted(self, contestant: str) -> float:
        """Seconds that the model says."""
        p, n = self.pattern, self.samples
        if contestant == "dense":
            return CPU.dense(n, p.rows, p.cols).seconds
        return CPU.kronecker(n, p, feature_major=contestant == "feature-major").seconds

    def measured(self, contestant: str) -> float:
        """The median."""
        return float(np.median(self.seconds[contestant]))

    def speedups(self, contestant: str) -> tuple[float, float]:
        """Of a layer over dense: predicted, and the median of those measured."""
        ratios = common.ratio(self.seconds["dense"], self.seconds[contestant])
        return self.predicted("dense") / self.predicted(contestant), float(np.median(ratios))


def graphs(p: Pattern) -> dict[str, Graph]:
    """One linear map as a dense layer and as a Kronecker-sparse one, in both layouts."""
    factor = np.random.default_rng(0).standard_normal(p.shape, dtype=np.float32)
    made = {}
    for name in ("dense", "rows", "feature-major"):
        b = Builder()
        x = b.input("x", (p.cols, "N") if name == "feature-major" else ("N", p.cols))
        if name == "dense":
            y = b.op("Gemm", x, b.param(np.ascontiguousarray(dense(factor).T)), name="y")
        else:
            major = name == "feature-major"
            y = b.op("KSLinear", x, b.param(factor), name="y", pattern=tuple(p), feature_major=major)
        made[name] = b.finish(y)
    return made


def session(graph: Graph) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(options: argparse.Namespace) -> Iterator[Measurement]:
    rng = np.random.default_rng(1)
    for patterns, fitted in ((FITTED, True), (OTHERS, False)):
        for p in map(Pattern._make, patterns[: 3 if options.quick else None]):
            sessions = {name: session(graph) for name, graph in graphs(p).items()}
            for n in SAMPLES:
                x = rng.standard_normal((n, p.cols), dtype=np.float32)
                feeds = {name: np.ascontiguousarray(x.T) if name == "feature-major" else x for name in sessions}
                calls = {k: partial(s.run, None, {"x": feeds[k]}) for k, s in sessions.items()}
                seconds = common.interleaved(calls, repeats=options.repeats, budget=1.0, at_least=0.005)
                print(p, n, {k: common.digits(1e6 * np.median(v)) for k, v in seconds.items()}, file=sys.stderr)
                yield Measurement(p, n, fitted, seconds)


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], repeats: int) -> str:
    summary = []
    for fitted in (True, False):
        chosen = [m for m in measurements if m.fitted == fitted]
        for what in ("dense", "rows", "feature-major"):
            times = np.array([m.predicted(what) / m.measured(what) for m in chosen])
            cells = ["fitted" if fitted else "not fitted", what, _factor(times), "", ""]
            if what != "dense":
                pairs = np.array([m.speedups(what) for m in chosen])
                agree = (pairs[:, 0] > 1) == (pairs[:, 1] > 1)
                cells[3:] = [_factor(pairs[:, 0] / pairs[:, 1]), f"{agree.sum()} of {len(agree)}"]
            summary.append(cells)
    rows = [
        [str(m.pattern), str(m.samples), "" if m.fitted else "no", common.digits(1e6 * m.measured("dense"))]
        + [common.digits(value) for what in ("rows", "feature-major") for value in m.speedups(what)[::-1]]
        for m in measurements
    ]
    error = "error of the time: median [90 %]"
    header = ["layers", "", error, error.replace("time", "speed-up"), "faster or slower told right"]
    columns = ["pattern", "samples", "fitted", "dense, µs", "rows", "predicted", "feature-major", "predicted"]
    return (
        "\n\n".join(
            [
                "# The cost model of a CPU thread",
                common.preamble(machine, repeats),
                "One thread, float32. An error of 1.3 is a prediction 1.3 times too high, or too low.",
                common.table(header, summary),
                "Speed-ups over the dense product: measured, and predicted.",
                common.table(columns, rows),
            ]
        )
        + "\n"
    )


def _factor(ratios: Array) -> str:
    """By what factor ratios are off 1: the median, and what nine in ten stay within."""
    off = np.exp(np.abs(np.log(ratios)))
    return f"{np.median(off):.2f} [{np.quantile(off, 0.9):.2f}]"


def main() -> None:
    options = common.parse(argparse.ArgumentParser(description=__doc__), RESULTS)
    machine = common.machine()
    measurements = list(measure(options))
    text = report(measurements, machine, options.repeats)
    print(text)
    if options.output is not None:
        common.save(options.output, text, machine, measurements)


if __name__ == "__main__":
    main()
