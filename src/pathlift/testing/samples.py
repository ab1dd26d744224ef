"""One or more small graphs per op, with fixed weights: what laws that range over all ops run on.

>>> from pathlift.testing.samples import sample
>>> [node.op for _, node in sample("Conv/grouped").nx.nodes(data="node")]
['Input', 'Param', 'Conv']
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import inf
from typing import Any
from zlib import crc32

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import DTYPES, Array, TensorType

Shape = Sequence[int | str]
_WINDOW: dict[str, Any] = {"kernel": (2, 3), "strides": (2, 2), "pads": (0, 1, 1, 0), "dilations": (1, 1)}
# A last window that would start in the end padding: ceil_mode does not count it.
_DROPPED: dict[str, Any] = {"kernel": (2,), "strides": (3,), "pads": (1, 1), "dilations": (1,), "ceil_mode": True}
_CONV: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
_IMAGE: Shape = ("N", 4, 5, 6)
_MATRIX: Shape = ("N", 6)

_Params = list[tuple[int, ...] | Array | None]
_Row = tuple[list[Shape], _Params, dict[str, Any]]
TABLE: dict[str, _Row] = {
    # name[/variant]: shapes of the activations, shapes or values of the parameters (None for one that is left out),
    # attributes; the operands are the first activation, the parameters, and the other activations
    "Gemm": ([_MATRIX], [(6, 3), (3,)], {}),
    "Gemm/transposed": ([("N", 2, 4)], [(3, 4)], {"trans_w": True}),
    "Einsum": ([("N", 3, 4)], [(5, 3)], {"equation": "bij,oi->boj"}),
    "Einsum/batched": ([("N", 3, 4)], [(3, 4, 2)], {"equation": "bij,ijk->bik"}),
    "KSLinear": ([("N", 12)], [(2, 3, 4, 2)], {"pattern": (2, 4, 2, 3)}),
    "KSLinear/bias": ([("N", 2, 6)], [(1, 2, 2, 3), (4,)], {"pattern": (1, 2, 3, 2)}),
    "KSLinear/blocks": ([_MATRIX], [(3, 1, 1, 2), (3,)], {"pattern": (3, 1, 2, 1), "activation": "Relu"}),
    "KSLinear/feature_major": (
        [(6, 3)],
        [(1, 2, 2, 3), (4,)],
        {"pattern": (1, 2, 3, 2), "feature_major": True, "activation": "Relu"},
    ),
    "KSLinear/feature_major_blocks": ([(6, 3)], [(3, 1, 1, 2)], {"pattern": (3, 1, 2, 1), "feature_major": True}),
    "KSLinear/gelu": ([_MATRIX], [(3, 1, 1, 2), (3,)], {"pattern": (3, 1, 2, 1), "activation": "Gelu"}),
    "KSLinear/residual": (
        [("N", 2, 6), ("N", 2, 4)],
        [(1, 2, 2, 3), (4,)],
        {"pattern": (1, 2, 3, 2), "activation": "Relu"},
    ),
    "KSLinear/residual_feature_major": (
        [(6, 3), (4, 3)],
        [(1, 2, 2, 3), None],
        {"pattern": (1, 2, 3, 2), "feature_major": True},
    ),
    "KSLinear/residual_constant": (
        [(2, 6)],
        [(3, 1, 1, 2), None, (2, 3)],
        {"pattern": (3, 1, 2, 1)},
    ),
    "Conv": ([_IMAGE], [(3, 4, 3, 3), (3,)], _CONV),
    "Conv/grouped": ([_IMAGE], [(6, 2, 3, 2)], {**_CONV, "strides": (2, 1), "groups": 2}),
    "Conv/depthwise": ([_IMAGE], [(4, 1, 3, 3), (4,)], {**_CONV, "dilations": (2, 1), "groups": 4}),
    "Conv/asymmetric": ([_IMAGE], [(2, 4, 3, 3)], {**_CONV, "pads": (0, 2, 1, 0)}),
    "Conv/1d": ([("N", 2, 7)], [(3, 2, 3), (3,)], {"strides": (2,), "pads": (1, 0), "dilations": (2,)}),
    "Conv/3d": (
        [("N", 1, 3, 4, 3)],
        [(2, 1, 2, 3, 1)],
        {"strides": (1, 2, 1), "pads": (0, 1, 0, 1, 1, 0), "dilations": (1, 1, 1)},
    ),
    "ConvTranspose": ([_IMAGE], [(4, 3, 3, 2), (3,)], {**_CONV, "strides": (2, 2), "output_padding": (1, 0)}),
    "ConvTranspose/grouped": (
        [_IMAGE],
        [(4, 2, 2, 2)],
        {**_CONV, "pads": (0, 1, 1, 0), "groups": 2, "dilations": (2, 1), "output_padding": (0, 0)},
    ),
    "Add": ([_IMAGE, _IMAGE], [], {}),
    "Add/constant": ([_IMAGE], [(4, 1, 1)], {}),
    "Sub": ([_IMAGE, ("N", 4, 1, 1)], [], {}),
    "Sum": ([_MATRIX, _MATRIX, ("N", 1)], [], {}),
    "Neg": ([_MATRIX], [], {}),
    "Mul": ([_IMAGE], [(4, 1, 1)], {}),
    "Mul/broadcast": ([("N", 4, 1, 1)], [(1, 4, 2, 3)], {}),
    "Div": ([_MATRIX], [np.array([1, -2, 4, 0.5, -0.25, 8], np.float32)], {}),
    "BatchNormalization": ([_IMAGE], [(4,), (4,), (4,), np.array([0.5, 1, 2, 4], np.float32)], {}),
    "AveragePool": ([_IMAGE], [], _WINDOW),
    "AveragePool/ceil": ([_IMAGE], [], {**_WINDOW, "ceil_mode": True}),
    "AveragePool/include_pad": ([_IMAGE], [], {**_WINDOW, "ceil_mode": True, "count_include_pad": True}),
    "AveragePool/dropped_window": ([("N", 2, 4)], [], {**_DROPPED, "count_include_pad": True}),
    "ReduceMean": ([_IMAGE], [], {"axes": (2, 3)}),
    "ReduceSum": ([_IMAGE], [], {"axes": (-1,), "keepdims": False}),
    "Resize": ([_IMAGE], [], {"axes": (2, 3), "scales": (2.0, 2.0)}),
    "Resize/linear": ([_IMAGE], [], {"axes": (2, 3), "sizes": (8, 9), "mode": "linear"}),
    "Resize/align_corners": (
        [_IMAGE],
        [],
        {"axes": (2, 3), "sizes": (7, 4), "mode": "linear", "coordinates": "align_corners"},
    ),
    "Resize/cubic": ([_IMAGE], [], {"axes": (2, 3), "scales": (2.0, 1.5), "mode": "cubic"}),
    "Relu": ([_IMAGE], [], {}),
    "LeakyRelu": ([_MATRIX], [], {"alpha": -1.5}),
    "LeakyRelu/rising": ([_MATRIX], [], {"alpha": 0.25}),
    "PRelu": ([_IMAGE], [(4, 1, 1)], {}),
    "Abs": ([_MATRIX], [], {}),
    "Clip": ([_MATRIX], [], {"low": 0.0, "high": 6.0}),
    "Clip/relu": ([_MATRIX], [], {"low": 0.0, "high": inf}),
    "Clip/offset": ([_MATRIX], [], {"low": 0.5, "high": 1.0}),
    "Tanh": ([_MATRIX], [], {}),
    "Softsign": ([_MATRIX], [], {}),
    "Elu": ([_MATRIX], [], {"alpha": 2.0}),
    "Elu/falling": ([_MATRIX], [], {"alpha": -0.5}),
    "Sigmoid": ([_MATRIX], [], {}),
    "HardSigmoid": ([_MATRIX], [], {"alpha": 0.25}),
    "HardSigmoid/falling": ([_MATRIX], [], {"alpha": -0.5, "beta": 2.0}),
    "HardSwish": ([_MATRIX], [], {}),
    "Softplus": ([_MATRIX], [], {}),
    "Erf": ([_MATRIX], [], {}),
    "Gelu": ([_MATRIX], [], {}),
    "Gelu/tanh": ([_MATRIX], [], {"tanh": True}),
    # Its scale is close to √2/10: no fraction lies on a rounding boundary.
    "FakeQuantize": (
        [_MATRIX],
        [],
        {"scale": 0.1414213627576828, "zero_point": 3, "dtype": "u8", "low": 0, "high": 255},
    ),
    "MaxPool": ([_IMAGE], [], _WINDOW),
    "MaxPool/ceil": ([_IMAGE], [], {**_WINDOW, "ceil_mode": True}),
    "MaxPool/1d": ([("N", 2, 7)], [], {"kernel": (3,), "strides": (1,), "pads": (0, 0), "dilations": (2,)}),
    "MaxPool/dropped_window": ([("N", 2, 4)], [], _DROPPED),
    "ReduceMax": ([_IMAGE], [], {"axes": (1,)}),
    "ReduceMin": ([_IMAGE], [], {"axes": (2, 3), "keepdims": False}),
    "TopK": ([_MATRIX], [], {"k": 2}),
    "TopK/sort": ([_IMAGE], [], {"axis": 1, "k": 4, "largest": False}),
    "Max": ([_IMAGE, ("N", 4, 1, 6)], [], {}),
    "Max/constant": ([_MATRIX], [(6,)], {}),
    "Min": ([_MATRIX, _MATRIX, _MATRIX], [], {}),
    "Identity": ([_MATRIX], [], {}),
    "Cast": ([_MATRIX], [], {"to": "f64"}),
    "Reshape": ([_IMAGE], [], {"shape": (0, 2, -1)}),
    "Flatten": ([_IMAGE], [], {}),
    "Transpose": ([_IMAGE], [], {"perm": (0, 2, 3, 1)}),
    "Squeeze": ([("N", 1, 3, 1)], [], {"axes": (1, -1)}),
    "Unsqueeze": ([_MATRIX], [], {"axes": (1, -1)}),
    "Slice": ([_IMAGE], [], {"axes": (1, 3), "starts": (1, 0), "ends": (2**31, 5), "steps": (1, 2)}),
    "Slice/backwards": ([_MATRIX], [], {"axes": (1,), "starts": (-1,), "ends": (-(2**31),), "steps": (-2,)}),
    "Slice/nothing": ([_MATRIX], [], {"axes": (1,), "starts": (0,), "ends": (0,), "steps": (1,)}),
    "Gather": ([_IMAGE], [], {"axis": 1, "indices": (3, 0, 0)}),
    "Split": ([_IMAGE], [], {"axis": 1, "parts": (1, 3)}),
    "Concat": ([_IMAGE, ("N", 1, 5, 6)], [], {"axis": 1}),
    "Pad": ([_IMAGE], [], {"pads": (0, 0, 1, 2, 0, 0, 0, -1)}),
    "Pad/value": ([_IMAGE], [], {"pads": (0, 0, 1, 0, 0, 0, 0, 1), "value": -0.5}),
    "Pad/crop": ([_IMAGE], [], {"pads": (0, -1, 0, 0, 0, 0, -2, -1)}),
    "Pad/nothing": ([("N", 0)], [], {"pads": (0, 0, 0, 2), "value": -0.0}),
    "Expand": ([("N", 1, 3)], [], {"shape": (4, 1)}),
    "Tile": ([_IMAGE], [], {"repeats": (1, 2, 1, 1)}),
    "Softmax": ([_MATRIX], [], {}),
    "LogSoftmax": ([_IMAGE], [], {"axis": 1}),
    "Product": ([_IMAGE, ("N", 4, 1, 1)], [], {}),
}


def samples() -> dict[str, Graph]:
    """Return all samples, by op, or by op and variant (``"Conv/grouped"``)."""
    return {name: sample(name) for name in (*TABLE, "Opaque")}


@functools.cache
def sample(name: str) -> Graph:
    """Return one sample.

    Raises
    ------
    KeyError
        If there is none of this name.
    """
    return _opaque() if name == "Opaque" else _build(name, *TABLE[name])


def _build(name: str, inputs: list[Shape], params: _Params, attrs: dict[str, Any]) -> Graph:
    rng, b = np.random.default_rng(crc32(name.encode())), Builder()
    first, *rest = [b.input(f"x{i}" if i else "x", shape) for i, shape in enumerate(inputs)]
    operands: list[Value | None] = [first]
    for i, p in enumerate(params):
        if p is None:
            operands.append(None)
            continue
        # Short decimals read well in the text form; no value is 0, and no two are the same in size.
        values = (
            p if isinstance(p, np.ndarray) else ((rng.permutation(np.prod(p)) + 1) / 8).astype(np.float32).reshape(p)
        )
        signs = np.float32(1) if isinstance(p, np.ndarray) else rng.choice(np.array([-1, 1], np.float32), values.shape)
        operands.append(b.param(values * signs, f"w{i}"))
    names = [f"y{i}" for i in range(len(attrs["parts"]))] if name == "Split" else ["y"]
    return b.finish(*b.node(name.split("/")[0], *operands, *rest, names=names, **attrs))


def _opaque() -> Graph:
    from onnx import helper

    b = Builder()
    x = b.input("x", _MATRIX)
    proto = helper.make_node("CumSum", ["x", "axis"], ["y"]).SerializeToString(deterministic=True)
    type_ = TensorType(DTYPES["f32"], tuple(_MATRIX))
    axis = b.param(np.array(1, np.int64), "axis")
    attrs: dict[str, Any] = {"op_type": "CumSum", "version": 18, "reason": "CumSum has no rule here", "proto": proto}
    return b.finish(*b.node("Opaque", x, axis, names=["y"], types=[type_], **attrs))
