"""Smaller copies of digits.onnx, and samples, in the current folder: ``python examples/smaller_digits.py``.

`int8.onnx` keeps its weights as 8-bit integers, `pruned.onnx` lacks the half of them that is smallest. `digits.npz`
holds the training images, `test.npz` six that were held out, with their labels, `one.npz` the first of those. Needs
scikit-learn, whose bundled digits these are.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

HERE = Path(__file__).parent
PRUNED, TESTED = 0.5, 6


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Weights of convolutions and linear layers; biases and batch norms are vectors."""
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer if len(w.dims) > 1 and w.data_type == 1}


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Set the smallest weights of all layers together to zero."""
    least = np.quantile(np.concatenate([np.abs(w).ravel() for w in weights(model).values()]), PRUNED)
    for tensor in model.graph.initializer:
        if (w := weights(model).get(tensor.name)) is not None:
            tensor.CopyFrom(numpy_helper.from_array(np.where(np.abs(w) > least, w, np.float32(0)), tensor.name))
    return model


def int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep every weight as a multiple of a step, one step per tensor."""
    graph, found = model.graph, weights(model)
    kept = [tensor for tensor in graph.initializer if tensor.name not in found]
    nodes = []
    for name, w in found.items():
        step = np.float32(np.abs(w).max() / 127)
        kept.append(numpy_helper.from_array(np.round(w / step).astype(np.int8), f"{name}.int8"))
        kept.append(numpy_helper.from_array(step, f"{name}.step"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.step"], [name]))
    nodes += graph.node
    for field, values in ((graph.initializer, kept), (graph.node, nodes)):
        del field[:]
        field.extend(values)
    return model


def main() -> None:
    train, test, _, labels = (part.numpy() for part in runpy.run_path(str(HERE / "train_digits.py"))["digits"]())
    for name, change in (("int8.onnx", int8), ("pruned.onnx", pruned)):
        onnx.save(change(onnx.load(HERE / "digits.onnx")), name)
    np.savez("digits.npz", image=train)
    np.savez("test.npz", image=test[:TESTED], y=labels[:TESTED])
    np.savez("one.npz", image=test[:1])
    print("wrote int8.onnx, pruned.onnx, digits.npz, test.npz, one.npz")


if __name__ == "__main__":
    main()
