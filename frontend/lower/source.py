"""Provenance: what the file says about the model, its values and its nodes, kept for the way back out."""

from __future__ import annotations

import functools
from types import MappingProxyType

import onnx_ir

from pathlift.frontend.ks_function import is_ks_function
from pathlift.frontend.protos import foreign
from pathlift.frontend.provenance import origin
from pathlift.frontend.types import numpy_dtype
from pathlift.ir.graph import ModelInfo, Origin
from pathlift.ir.types import Array, Param


def node_origin(node: onnx_ir.Node) -> Origin:
    """Return what the user said about a node."""
    return origin(node.name, node.doc_string, node.metadata_props)


def value_origin(value: onnx_ir.Value) -> Origin:
    """Return what the user said about an input or an initializer, and about the tensor that it has."""
    said, tensor = origin(None, value.doc_string, value.metadata_props), value.const_value
    return said if tensor is None else said.merged(origin(None, tensor.doc_string, tensor.metadata_props))


def param_of(tensor: onnx_ir.TensorProtocol, name: str) -> Param:
    """Return a stored tensor as a parameter, which is read when something asks for its values."""
    where = f"tensor {name!r}"
    dtype = numpy_dtype(tensor.dtype, where)

    @functools.cache  # reading a tensor out of its message copies it, every time
    def load() -> Array:
        with foreign(f"read {where}"):
            return tensor.numpy()

    return Param(dtype, tuple(d for d in tensor.shape if isinstance(d, int)), load)


def info_of(model: onnx_ir.Model) -> ModelInfo:
    """Return what the file says about the model as a whole."""
    properties = {
        "producer_name": model.producer_name,
        "producer_version": model.producer_version,
        "domain": model.domain,
        "model_version": model.model_version,
        "doc_string": model.doc_string,
    }
    functions = map(onnx_ir.to_proto, model.functions.values())
    return ModelInfo(
        name=model.graph.name or "graph",
        doc=model.graph.doc_string or "",
        ir_version=model.ir_version,
        opsets=MappingProxyType(dict(model.opset_imports)),
        properties=MappingProxyType({k: str(v) for k, v in properties.items() if v}),
        metadata=MappingProxyType(dict(model.metadata_props)),
        graph_metadata=MappingProxyType(dict(model.graph.metadata_props)),
        functions=tuple(f.SerializeToString(deterministic=True) for f in functions if not is_ks_function(f)),
    )
