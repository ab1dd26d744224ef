"""The files that the commands of README.md read, made in the current folder: ``make examples``.

`int8.onnx` keeps the weights of digits.onnx as 8-bit integers, `vit.onnx` is a vision transformer with random weights.
`digits.npz` holds the images it was trained on, `train.npz` these with their labels, `val.npz` those that were held
out, `test.npz` the first six of them, `one.npz` and `x.npy` the first. `lists.onnx` says lists of digits token by
token; `lists.int4.onnx` and `lists.pruned.onnx` are it in 4 bits and without 90 % of its weights, `lists.json` its
vocabulary, and `lists.npz` lists. The split is that of `train_digits.py`: 75 % for training, stratified, seed 0. Needs
scikit-learn, whose bundled digits these are.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pathlift.testing import token_models, zoo

HERE = Path(__file__).parent
TESTED = 6


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Weights of convolutions and linear layers; biases and batch norms are vectors."""
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer if len(w.dims) > 1 and w.data_type == 1}


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


def lists() -> None:
    """Write a token model, copies of it, its vocabulary, and what it says."""
    model = token_models.bigram_model(token_models.list_logits())
    onnx.save(model, "lists.onnx")
    onnx.save(token_models.rounded(model, 4), "lists.int4.onnx")
    onnx.save(token_models.pruned(model, 0.9), "lists.pruned.onnx")
    Path("lists.json").write_text(json.dumps(token_models.VOCABULARY), encoding="utf-8")
    np.savez("lists.npz", tokens=token_models.list_strings(600))


def main() -> None:
    train, test, known, labels = (part.numpy() for part in runpy.run_path(str(HERE / "train_digits.py"))["digits"]())
    onnx.save(int8(onnx.load(HERE / "digits.onnx")), "int8.onnx")
    onnx.save(zoo.export("vit_s16"), "vit.onnx")
    np.savez("digits.npz", image=train)
    np.savez("train.npz", image=train, y=known)
    np.savez("val.npz", image=test, y=labels)
    np.savez("test.npz", image=test[:TESTED], y=labels[:TESTED])
    np.savez("one.npz", image=test[:1])
    np.save("x.npy", test[:1])
    lists()
    print("wrote int8.onnx, vit.onnx, digits.npz, train.npz, val.npz, test.npz, one.npz, x.npy, lists.*")


if __name__ == "__main__":
    main()
