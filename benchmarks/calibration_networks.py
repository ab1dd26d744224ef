"""Networks and data of the benchmark of `calibrate`: perceptrons, convolutions, and streams of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pathlift.ir.types import Array

CHUNK = 1024
"""Rows that a stream makes at a time."""


def mlp(width: int, layers: int, path: Path) -> list[Array]:
    """Write a perceptron of Gemms with Relus between them, from ``x``, and return its weights ``(in, out)``."""
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal((width, width)) * (2 / width) ** 0.5).astype(np.float32) for _ in range(layers)]
    nodes, last = list[onnx.NodeProto](), "x"
    for i in range(layers):
        nodes.append(helper.make_node("Gemm", [last, f"w{i}"], [f"y{i}"], f"fc{i}"))
        last = f"r{i}"
        if i + 1 < layers:
            nodes.append(helper.make_node("Relu", [f"y{i}"], [last]))
    _write(nodes, (width,), (f"y{layers - 1}", width), {f"w{i}": w for i, w in enumerate(weights)}, path)
    return weights


def cnn(path: Path, channels: Sequence[int] = (3, 32, 32, 64), extent: int = 32) -> None:
    """Write a network of convolutions 3×3 with Relus, a mean over positions, and ten outputs."""
    rng = np.random.default_rng(0)
    nodes, weights, last = list[onnx.NodeProto](), dict[str, Array](), "x"
    for i, (before, after) in enumerate(pairwise(channels)):
        weights[f"w{i}"] = (rng.standard_normal((after, before, 3, 3)) * (2 / 9 / before) ** 0.5).astype(np.float32)
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"y{i}"], f"conv{i}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"r{i}"]))
        last = f"r{i}"
    weights["head"] = rng.standard_normal((channels[-1], 10)).astype(np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head"], ["y"], "head"),
    ]
    _write(nodes, (channels[0], extent, extent), ("y", 10), weights, path)


def _write(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    output: tuple[str, int],
    weights: dict[str, Array],
    path: Path,
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["N", output[1]])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def stream(rows: int, width: int, spike: float = 0.0) -> Callable[[int, int], Iterator[dict[str, Array]]]:
    """Return a factory of rows, as `calibrate` takes them: signed squares of normal numbers, whose tails are heavy.

    With a spike, that is the very last number.
    """

    def samples(shard: int, shards: int) -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(shard)
        left = rows * (shard + 1) // shards - rows * shard // shards
        while left:
            x = rng.standard_normal((min(left, CHUNK), width), dtype=np.float32)
            x, left = x * np.abs(x), left - len(x)
            if spike and not left:
                x[-1, -1] = spike
            yield {"x": x}

    return samples


def gathered(rows: int, width: int, spike: float = 0.0) -> Array:
    """Return the rows of a stream at once."""
    return np.concatenate([chunk["x"] for chunk in stream(rows, width, spike)(0, 1)])


def read_by_layers(x: Array, weights: Sequence[Array]) -> Iterator[Array]:
    """Yield what each layer of a perceptron reads."""
    for w in weights:
        yield x
        x = np.maximum(x @ w, 0)
