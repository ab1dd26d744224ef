"""The real-size ImageNet models that the ``onnx`` package bundles without weights, given random ones.

They are old files (opset 9, IR 3, initializers among the inputs), written by other exporters than torch's: in the
bundle, `ConstantOfShape` stands for each weight; here an initializer of the same name does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.backend.test
from onnx import helper, numpy_helper

LIGHT_NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
HEAVY_LIGHT = frozenset({"bvlc_alexnet", "vgg19", "zfnet512"})  # 240 to 570 MB of weights


def light(name: str, *, seed: int = 0) -> onnx.ModelProto:
    """Load a bundled model and fill its weights: He-normal; positive scales and variances; small biases.

    Parameters
    ----------
    name
        One of `LIGHT_NAMES`; those in `HEAVY_LIGHT` have hundreds of megabytes of weights.
    seed
        Fixes the weights.
    """
    folder = Path(onnx.backend.test.__file__).parent / "data" / "light"
    model = onnx.load(folder / f"light_{name}.onnx")
    graph, rng = model.graph, np.random.default_rng(seed)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    fillers = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    shapes = {node.output[0]: numpy_helper.to_array(stored[node.input[0]]).tolist() for node in fillers}
    replaced = {node.input[0] for node in fillers}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            shapes[tensor.name] = list(tensor.dims)
            replaced.add(tensor.name)
    roles = _roles(graph)

    inputs = [value for value in graph.input if value.name not in replaced]
    tensors = [tensor for tensor in graph.initializer if tensor.name not in replaced]
    for weight, shape in shapes.items():
        inputs.append(helper.make_tensor_value_info(weight, onnx.TensorProto.FLOAT, shape))
        tensors.append(numpy_helper.from_array(_draw(rng, roles.get(weight, "bias"), shape), weight))
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    for field, items in ((graph.input, inputs), (graph.initializer, tensors), (graph.node, nodes)):
        del field[:]
        field.extend(items)
    return model


def _roles(graph: onnx.GraphProto) -> dict[str, str]:
    """Tell weights and scales from the rest by who reads them, through the reshapes in between."""
    roles: dict[str, str] = {}
    for node in reversed(graph.node):
        for slot, value in enumerate(node.input):
            if node.op_type in {"Conv", "Gemm"} and slot == 1:
                roles[value] = "weight"
            elif node.op_type == "Mul" or (node.op_type == "BatchNormalization" and slot == 1):
                roles[value] = "scale"
            elif node.op_type == "BatchNormalization" and slot == 4:
                roles[value] = "variance"
            elif node.op_type in {"Unsqueeze", "Reshape"} and slot == 0 and node.output[0] in roles:
                roles[value] = roles[node.output[0]]
    return roles


def _draw(rng: np.random.Generator, role: str, shape: list[int]) -> npt.NDArray[np.float32]:
    if role == "variance":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if role == "scale":  # below one on average: made-up statistics do not keep the residual sums from growing
        return rng.uniform(0.25, 0.75, shape).astype(np.float32)
    scale = np.sqrt(2 / np.prod(shape[1:])) if role == "weight" else 0.02
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
