"""Execution of opaque nodes: a one-node ONNX model in ONNX Runtime, or in ONNX's reference evaluator without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pathlift.ir.types import DTYPE_NAMES, Array, TensorType, is_float

if TYPE_CHECKING:
    from pathlift.ir.graph import Node


def execute(node: Node, inputs: Sequence[Any]) -> list[Any]:
    """Execute one opaque node on torch tensors, numpy arrays or Python sequences.

    Real-valued inputs are rounded to the type that the node's ONNX signature knows (f32 unless it is recorded
    otherwise), since ONNX kernels rarely exist for float64.

    Parameters
    ----------
    node
        An ``Opaque`` node; attribute ``proto`` holds its NodeProto, ``captures`` the outer names that its
        subgraphs read, which are the last inputs.
    inputs
        One per input slot, ``None`` where left out.

    Returns
    -------
    list
        One numpy array (or Python sequence) per output.
    """
    import onnx
    from onnx import helper

    proto = onnx.NodeProto.FromString(node.attrs["proto"])
    captures: tuple[str, ...] = node.attrs.get("captures", ())  # type: ignore[assignment]  # an attribute has the type that its op gives it
    names = list(proto.input) + list(captures)
    arrays = {name: as_numpy(x) for name, x in zip(names, inputs, strict=False) if name and x is not None}
    real = next((t.dtype for t in node.types if isinstance(t, TensorType) and is_float(t.dtype)), np.dtype(np.float32))
    feeds = {n: a.astype(real) if isinstance(a, np.ndarray) and is_float(a.dtype) else a for n, a in arrays.items()}
    # Shapes and sizes as constants: inference inside ONNX Runtime is wrong about some operators otherwise (Resize).
    shapes = {n: feeds.pop(n) for n, a in list(feeds.items()) if getattr(a, "dtype", None) == np.int64 and a.ndim < 2}
    graph = helper.make_graph(
        [proto],
        "opaque",
        [_signature(name, value) for name, value in feeds.items()],
        [_signature(name, None, t) for name, t in zip(proto.output, node.types, strict=False) if name],
        [onnx.numpy_helper.from_array(array, name) for name, array in shapes.items()],
    )
    version = int(node.attrs.get("version", 0)) or onnx.defs.onnx_opset_version()  # type: ignore[arg-type]  # an attribute has the type that its op gives it
    domain = str(node.attrs.get("domain", ""))
    opsets = [helper.make_opsetid("", version if not domain else onnx.defs.onnx_opset_version())]
    if domain:
        opsets.append(helper.make_opsetid(domain, version))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    results = iter(_run(model, feeds))
    return [next(results) if name else None for name in proto.output]


def as_numpy(x: Any) -> Any:
    """Convert a torch tensor to a numpy array; leave everything else as it is."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else x


def _run(model: Any, feeds: dict[str, Any]) -> list[Any]:
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(model).run(None, feeds))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _signature(name: str, value: Any, declared: Any = None) -> Any:
    """Describe a value to ONNX: an array by its dtype and rank, a sequence by its first element."""
    from onnx import helper

    if isinstance(value, np.ndarray):
        return helper.make_tensor_value_info(name, _onnx_dtype(value), [None] * value.ndim)
    if isinstance(value, list):
        element = helper.make_tensor_type_proto(_onnx_dtype(np.asarray(value[0])) if value else 1, None)
        return helper.make_value_info(name, helper.make_sequence_type_proto(element))
    if isinstance(declared, TensorType) and declared.dtype is not None:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(declared.dtype), None)
    return helper.make_empty_tensor_value_info(name)


def _onnx_dtype(array: Array) -> int:
    from onnx import TensorProto, helper

    if DTYPE_NAMES.get(array.dtype, "str") == "str":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))
