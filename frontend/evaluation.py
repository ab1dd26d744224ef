"""Evaluation of single nodes by ONNX's reference evaluator: which ones can be, what they cost, and the results.

A node without randomness and without subgraphs makes a constant of constants, whatever its operator. How much work
that is must be known before any of it is done: operators that are quick (a few passes over operands and results) may
handle whole weights, all others what is small.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx.defs import OpSchema, SchemaError, get_schema

from pathlift.ir.types import Array, TensorType, is_float

# Of a size that inference tells beforehand, and quick in the reference evaluator, which knows all their versions.
QUICK = frozenset(
    """
    Abs Add And ArgMax ArgMin Cast CastLike Ceil Clip Concat ConstantOfShape Cos CumSum DepthToSpace DequantizeLinear
    Div Einsum Equal Erf Exp Expand EyeLike Flatten Floor Gather Gemm Greater GreaterOrEqual
    Identity IsInf IsNaN Less LessOrEqual Log MatMul Max Mean Min Mod Mul Neg Not Or Pad Pow QuantizeLinear Range
    Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape Round
    Shape Sigmoid Sign Sin Size Slice SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh
    Tile Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905
)
RANDOM = frozenset(
    "Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()  # noqa: SIM905
)
# What they cost depends on the contents of a string.
UNBOUNDED = frozenset(["ImageDecoder", "RegexFullMatch"])
# Of which the evaluator is wrong: about what is as near as something else, norms of zero, scales under align_corners,
# logarithms of exponentials that over- or underflow.
WRONG = frozenset(["GridSample", "LpNormalization", "ReduceLogSumExp", "Resize", "SoftmaxCrossEntropyLoss"])
# The extents of what they return are data, but never more than there are elements (times the rank).
SELECTING = frozenset(["Compress", "NonZero", "Unique"])
# Operands of which only the type, or the shape, is read.
UNREAD = {("CastLike", 1): "type", ("EyeLike", 0): "shape"}
MOST_WORK = 1 << 22
"""Elements, times elements or whatever an attribute counts: what is no more is little work for every operator."""


def is_pure(proto: onnx.NodeProto, version: int) -> bool:
    """Whether the reference evaluator computes what a node means, at any cost: the same for the same operands."""
    if proto.op_type in RANDOM | UNBOUNDED | WRONG or any(a.HasField("g") or a.graphs for a in proto.attribute):
        return False
    return proto.op_type in QUICK or _is_current(proto.op_type, version)


@functools.cache
def _is_current(op_type: str, version: int) -> bool:
    """Whether an operator's version looks like the newest: the evaluator may know no other."""
    try:
        schema, newest = get_schema(op_type, version), get_schema(op_type)
    except SchemaError:
        return False
    return _signature(schema) == _signature(newest)


def _signature(schema: OpSchema) -> tuple[Any, ...]:
    attributes = {n: (a.type, a.required, a.default_value.SerializeToString()) for n, a in schema.attributes.items()}
    formals = [[(f.name, f.option) for f in side] for side in (schema.inputs, schema.outputs)]
    return schema.deprecated, attributes, formals


def is_little_work(proto: onnx.NodeProto, types: Sequence[TensorType]) -> bool:
    """Whether a node is quickly evaluated, whatever it does; `types` are those of its operands and results."""
    if proto.op_type in QUICK and not (proto.op_type == "Einsum" and len(proto.input) > 2):
        return True
    most = max((prod(d for d in t.shape or () if isinstance(d, int)) for t in types), default=1)
    counts = max((prod(max(abs(v), 1) for v in (a.i, *a.ints)) for a in proto.attribute), default=1)
    return most * max(most, counts) <= MOST_WORK


def is_ordinary(array: Array | None) -> bool:
    """Whether the squares of all numbers are finite and normal: the evaluator need not be right about others."""
    if array is None or not is_float(array.dtype):
        return True
    with np.errstate(all="ignore"):
        sizes = np.abs(array.astype(np.float64))
    return bool((((sizes > 2.0**-60) & (sizes < 2.0**60)) | (sizes == 0)).all())


def evaluate(proto: onnx.NodeProto, arrays: Sequence[Array | None], version: int) -> list[Any]:
    """Execute one node by ONNX's reference evaluator."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if proto.op_type == "DequantizeLinear":
        version = max(version, 19)  # the evaluator has no older one; it means the same there
    if proto.op_type == "OneHot":
        arrays = [None if a is None else a.astype(np.int64) for a in arrays[:2]] + list(arrays[2:])  # so says ONNX
    feeds = {name: a for name, a in zip(proto.input, arrays, strict=False) if name and a is not None}
    inputs = [helper.make_tensor_value_info(n, _element(a), a.shape) for n, a in feeds.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    graph = helper.make_graph([proto], "fold", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=10)
    results = iter(ReferenceEvaluator(model).run(None, feeds))
    return [next(results) if name else None for name in proto.output]


def _element(array: Array) -> int:
    if array.dtype == np.object_:
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
