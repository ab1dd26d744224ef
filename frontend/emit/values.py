"""Types as ONNX writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from pathlift.frontend.other_types import type_proto
from pathlift.frontend.provenance import metadata
from pathlift.ir.graph import Origin
from pathlift.ir.types import TensorType, ValueType, named


def onnx_dtype(dtype: np.dtype[Any]) -> int:
    """Return the ONNX element type of a numpy dtype."""
    return int(TensorProto.STRING if dtype == np.object_ else helper.np_dtype_to_tensor_dtype(dtype))


def value_info(name: str, type_: ValueType, origin: Origin = Origin()) -> ValueInfoProto:
    """Describe a value: its name, what is known of its type, and what its origin says about it."""
    info = ValueInfoProto(name=name, doc_string=origin.doc)
    if isinstance(type_, TensorType):
        # Even without an element type this says that it is a tensor, which is all that ONNX insists on.
        dtype = TensorProto.UNDEFINED if type_.dtype is None else onnx_dtype(type_.dtype)
        shape = None if type_.shape is None else tuple(map(named, type_.shape))
        info.type.CopyFrom(helper.make_tensor_type_proto(dtype, shape))
    else:
        info.type.CopyFrom(type_proto(type_.text))
    helper.set_model_props(info, metadata(origin))
    return info
