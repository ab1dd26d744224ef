"""Per-tensor int8 of rescaled networks, and of their canonical forms: accuracy and error of what is computed."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from benchmarks import common, onnxsim_side
from benchmarks.compare_networks import NETWORKS, digits
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import pathlift
from pathlift.frontend.save import to_onnx
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, TensorType
from pathlift.passes.rescaling.canonicalize import Canonicalize
from pathlift.passes.rescaling.random_rescale import RandomRescale
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm

DIGITS = Path(__file__).parents[1] / "examples" / "digits.onnx"
NORMS = ("l1", "l2", "balanced", "path-conditioned")
OCTAVES = 5
CALIBRATION, NOISE, COPIES_OF_FILES = 128, 64, 3
OPEN = 32
"""What open axes of a file's inputs are filled in with, save the batch."""
RESULTS = Path(__file__).parent / "results" / "quantization_after_canonicalize"
AS_IS, RESCALED = "as it is", "rescaled"


@dataclass(frozen=True)
class Task:
    """A network without batch norms, what quantization is calibrated on and tested on; labels if there are any."""

    name: str
    graph: Graph
    calibration: Mapping[str, Array]
    test: Mapping[str, Array]
    labels: Array | None = None
    shape: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One variant of a network, an element per copy: with int8 weights alone, and with int8 activations, too."""

    network: str
    variant: str
    float_accuracies: Array
    accuracies: Array
    errors: Array
    accuracies_with_activations: Array
    errors_with_activations: Array


def tasks(folder: Path | None) -> Iterator[Task]:
    images, _, test, test_labels = digits()
    own: dict[str, Callable[[], Graph]] = {
        "examples/digits.onnx": lambda: pathlift.load(DIGITS),
        "digits CNN": lambda: NETWORKS["digits CNN"].make()[0],
    }
    for name, make in own.items():
        graph = make()
        (key,) = graph.inputs
        parts = [{graph[key].names[0]: x.reshape(-1, 1, 8, 8)} for x in (images[:CALIBRATION], test)]
        yield Task(name, FoldBatchnorm().run(graph).graph, parts[0], parts[1], test_labels)
    for file in sorted(folder.glob("*.onnx")) if folder else []:
        graph = pathlift.load(file)
        rng, noise, shape = np.random.default_rng(0), [dict[str, Array]() for _ in range(2)], dict[str, int]()
        for key in graph.inputs:
            type_ = graph[key].types[0]
            assert isinstance(type_, TensorType)
            assert type_.shape is not None
            shape |= {str(n): OPEN for n in type_.shape[1:] if not isinstance(n, int)}
            extents = [n if isinstance(n, int) else OPEN for n in type_.shape[1:]]
            for part in noise:
                part[graph[key].names[0]] = rng.standard_normal((NOISE, *extents)).astype(np.float32)
        yield Task(file.stem, FoldBatchnorm().run(graph).graph, *noise, shape=tuple(shape.items()))


def measure(task: Task, copies: int, python: str | None) -> list[Measurement]:
    rescaled = [RandomRescale(octaves=OCTAVES, seed=seed).run(task.graph).graph for seed in range(copies)]
    wanted = outputs(to_onnx(task.graph), task.test)
    variants: dict[str, Callable[[], Sequence[Graph]]] = {AS_IS: lambda: [task.graph], RESCALED: lambda: rescaled}
    for norm in NORMS:
        method = Canonicalize(norm=norm, shape=task.shape)
        variants[canonical(norm)] = lambda m=method: [m.run(g).graph for g in rescaled]  # type: ignore[misc]  # mypy knows no type of a lambda with a default
    if python:
        variants["equalized by onnxsim"] = lambda: onnxsim_side.equalized(python, [task.graph])
        variants["rescaled, then equalized by onnxsim"] = lambda: onnxsim_side.equalized(python, rescaled)
    found = []
    for name, make in variants.items():
        computed = [[outputs(model, task.test) for model in quantized(g, task.calibration)] for g in make()]
        weights, both = zip(*computed, strict=True)
        scores = [f(ys) for ys in (weights, both) for f in (partial(accuracies, task), partial(errors, wanted))]
        found.append(Measurement(task.name, name, accuracies(task, [wanted]), *scores))
    return found


def canonical(norm: str) -> str:
    return f"rescaled, then canonicalize {norm}"


def accuracies(task: Task, found: Sequence[Sequence[Array]]) -> Array:
    """Of each copy; empty without labels."""
    return np.array([float((y[0].argmax(1) == task.labels).mean()) for y in found if task.labels is not None])


def errors(wanted: Sequence[Array], found: Sequence[Sequence[Array]]) -> Array:
    """‖y − wanted‖₂ / ‖wanted‖₂ over all outputs and samples, of each copy."""
    target = flat(wanted)
    return np.array([np.linalg.norm(flat(y) - target) / np.linalg.norm(target) for y in found])


def flat(outputs: Sequence[Array]) -> Array:
    return np.concatenate([np.ravel(y).astype(np.float64) for y in outputs])


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """All the calibration data, once."""

    def __init__(self, data: Mapping[str, Array]) -> None:
        self.left = [dict(data)]

    def get_next(self) -> dict[str, Array] | None:
        return self.left.pop() if self.left else None


def quantized(graph: Graph, data: Mapping[str, Array]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Quantize weights per tensor: with float activations, and with activations in int8."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it advises a preparation, which the graph has had
        quantize_static(
            to_onnx(graph), file, _Reader(data), quant_format=QuantFormat.QDQ, per_channel=False,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"], activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, extra_options={"QuantizeBias": False},
        )  # fmt: skip
        logging.disable(logging.NOTSET)
        both = onnx.load(file)
    return with_float_activations(both), both


def with_float_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out the pairs of QuantizeLinear and DequantizeLinear, which activations have; weights have no first."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = result.graph.node
    whole = {n.output[0]: n.input[0] for n in nodes if n.op_type == "QuantizeLinear"}
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in whole:
            node.CopyFrom(onnx.helper.make_node("Identity", [whole[node.input[0]]], [node.output[0]]))
    kept = [node for node in nodes if node.op_type != "QuantizeLinear"]
    del nodes[:]
    nodes.extend(kept)
    return result


def outputs(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[Any] = session.run(None, dict(feeds))
    return found


def report(measurements: Sequence[Measurement], machine: Mapping[str, object], *, cle: bool) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    by_network = {m.network: [n for n in measurements if n.network == m.network] for m in measurements}
    tables = "\n\n".join(section(name, rows) for name, rows in by_network.items())
    others = "has its own interpreter" if cle else "was not there"
    return f"""# Quantization after a rescaling

Weights in int8, one scale per tensor, by ONNX Runtime's static quantizer (QDQ, min-max, biases in float), of networks
whose batch norms have been folded. *Weights*: activations stay in float, their pairs of QuantizeLinear and
DequantizeLinear taken out. *And activations*: in uint8, too, calibrated on {CALIBRATION} training images. Computed as
QDQ in float, nothing fused. *Error*: ‖y − float y‖₂ / ‖float y‖₂ over all outputs. *Rescaled*: the same function,
neurons rescaled at random by 2^±{OCTAVES}; means, and in brackets the least and the largest, over the copies. Networks
without an accuracy are files as they are distributed, calibrated and tested on {NOISE} inputs of standard normal noise.
onnxsim {others}; its `cross_layer_equalize` goes from one convolution to the next.

Machine: {facts}. No figure is a time.

{summary(by_network)}

{tables}
"""


def section(name: str, rows: Sequence[Measurement]) -> str:
    def cells(m: Measurement) -> list[str]:
        found = [[percent(m.accuracies), percent(m.errors, 2)]]
        found += [[percent(m.accuracies_with_activations), percent(m.errors_with_activations, 2)]]
        return [cell for pair in found for cell in pair]

    header = ("", "weights: accuracy", "error", "and activations: accuracy", "error")
    top = f", {percent(rows[0].float_accuracies)} in float" if len(rows[0].float_accuracies) else ""
    copies = len(rows[1].errors)
    body = common.table(header, [(m.variant, *cells(m)) for m in rows])
    return f"## {name}\n\n{copies} copies{top}.\n\n{body}"


def summary(by_network: Mapping[str, Sequence[Measurement]]) -> str:
    """What canonical forms give, over all networks: their errors over that of the file as it is."""
    found: dict[str, list[list[float]]] = {RESCALED: [], **{canonical(norm): [] for norm in NORMS}}
    for rows in by_network.values():
        of = {m.variant: m for m in rows}
        for name in found:
            pairs = [(m.errors, m.errors_with_activations) for m in (of[name], of[AS_IS])]
            found[name].append([float(a.mean() / b.mean()) for a, b in zip(*pairs, strict=True)])
    ratios = {name: np.array(values).T for name, values in found.items()}
    rows = [(name, *(times(values) for values in both)) for name, both in ratios.items()]
    (weights, both), (bad, _) = ratios[canonical("balanced")], ratios[RESCALED]
    balanced = [m.errors for rows in by_network.values() for m in rows if m.variant == canonical("balanced")]
    apart = max(float(np.ptp(errors) / errors.mean()) for errors in balanced)
    return f"""## What `canonicalize --norm balanced` gives

- **Insurance against bad scaling.** Where neurons are scaled unevenly, one scale per tensor loses most of them: the
  error is {bad.min():.0f} to {bad.max():.0f} times that of the file as it is. Balanced, the same copies have
  {weights.min():.2f} to {weights.max():.2f} times the file's error (with activations in uint8,
  {both.min():.2f} to {both.max():.2f}), whatever the scaling was: errors of copies are within {100 * apart:.1g} %
  of each other. It needs no data, and keeps the function.
- **No gain to count on where the scaling is good already**, as in these files as they are; the factors 2^±{OCTAVES} are
  drawn, not found in files. Quantize the file both ways, and keep the better one.
- **It goes through** skip connections, pools, PReLU and fully connected layers, too.

Errors over that of the file as it is, least / median / largest of {len(by_network)} networks:

{common.table(("", "weights", "and activations"), rows)}"""


def times(ratios: Array) -> str:
    return " / ".join(common.digits(float(f(ratios))) for f in (np.min, np.median, np.max))


def percent(values: Array, places: int = 1) -> str:
    if not len(values):
        return "–"
    mean, low, high = (100 * float(f(values)) for f in (np.mean, np.min, np.max))
    whole = f"{mean:.{places}f} %"
    return whole + (f" [{low:.{places}f}–{high:.{places}f}]" if high - low >= 0.5 * 10**-places else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="also the ONNX files of a folder, on noise")
    parser.add_argument("--cle", metavar="PYTHON", help="an interpreter that has onnxsim, for its equalization")
    options = common.parse(parser, RESULTS)
    machine = common.machine()
    measurements = [
        m
        for task in tasks(options.models)
        for m in measure(task, options.repeats if task.labels is not None else COPIES_OF_FILES, options.cle)
    ]
    text = report(measurements, machine, cle=options.cle is not None)
    if options.output:
        common.save(options.output, text, machine, measurements)
    print(text)


if __name__ == "__main__":
    main()
