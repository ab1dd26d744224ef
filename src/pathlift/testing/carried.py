"""ONNX nodes whose programs certificates know, one or more for each operator that is carried as it is, and Softmax.

>>> from pathlift.testing.carried import carried
>>> carried("LRN").model.graph.node[0].op_type
'LRN'
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pathlift.frontend.load import load
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.testing.perturbations import with_parameters


class Carried(NamedTuple):
    """A model of one node.

    Parameters
    ----------
    model
        In float64, or in float32 where ONNX Runtime, or its reference, knows the operator in no other format.
    low, high
        Where its inputs are such that the operator has values.
    """

    model: onnx.ModelProto
    low: float
    high: float


_X = (2, 4, 3)
_IMAGE = (1, 4, 3, 2)
_Row = tuple[list[tuple[int, ...] | Array | None], dict[str, Any], tuple[float, float]]
_ANY = (-2.0, 2.0)
_POSITIVE = (0.25, 3.0)


def _i(*values: int) -> Array:
    return np.array(values, np.int64)


def _f(*shape: int) -> Array:
    n = int(np.prod(shape))
    return ((np.arange(n) % 7 - 3.25) / 4).reshape(shape)


TABLE: dict[str, _Row] = {
    # op_type[/variant]: inputs by shape, parameters by value; attributes; where inputs are
    "Exp": ([_X], {}, _ANY),
    "Sqrt": ([_X], {}, _POSITIVE),
    "Log": ([_X], {}, _POSITIVE),
    "Reciprocal": ([_X], {}, _POSITIVE),
    "Reciprocal/negative": ([_X], {}, (-2.0, -0.5)),
    "Sin": ([_X], {}, (-4.0, 4.0)),
    "Cos": ([_X], {}, (-4.0, 4.0)),
    "Floor": ([_X], {}, _ANY),
    "Ceil": ([_X], {}, _ANY),
    "Round": ([_X], {}, _ANY),
    "Sign": ([_X], {}, _ANY),
    "Mod": ([_X, np.array(0.75)], {"fmod": 1}, _ANY),
    "Div": ([_X, (4, 1)], {}, _POSITIVE),
    "Div/constant": ([np.array(2.0), _X], {}, _POSITIVE),
    "Pow/cube": ([_X, np.array(3.0)], {}, _ANY),
    "Pow/even": ([_X, np.array(4.0)], {}, _ANY),
    "Pow/inverse": ([_X, np.array(-2.0)], {}, _POSITIVE),
    "Pow/inverse negative": ([_X, np.array(-3.0)], {}, (-2.0, -0.5)),
    "Pow/root": ([_X, np.array(0.75)], {}, _POSITIVE),
    "Pow/inverse root": ([_X, np.array(-1.5)], {}, _POSITIVE),
    "Pow/computed": ([_X, _X], {}, _POSITIVE),
    "MatMul": ([(2, 3, 4), (2, 4, 2)], {}, _ANY),
    "MatMul/broadcast": ([(2, 1, 3, 4), (3, 4, 2)], {}, _ANY),
    "MatMul/thin": ([(3, 1), (1,)], {}, _ANY),
    "Einsum": ([(2, 3, 4), (2, 5, 4)], {"equation": "bij,bkj->bik"}, _ANY),
    "PRelu": ([_X, _X], {}, _ANY),
    "ReduceL1": ([_X, _i(1)], {}, _ANY),
    "ReduceL1/flat": ([_X, _i(0, -1)], {"keepdims": 0}, _ANY),
    "ReduceL2": ([_X, _i(1, 2)], {}, _ANY),
    "ReduceL2/all": ([_X], {"keepdims": 0}, _ANY),
    "ReduceSumSquare": ([_X, _i(-1)], {}, _ANY),
    "ReduceLogSum": ([_X, _i(1)], {}, _POSITIVE),
    "ReduceLogSumExp": ([_X, _i(1, 2)], {"keepdims": 0}, _ANY),
    "ReduceProd": ([_X, _i(1)], {}, _ANY),
    "LayerNormalization": ([_X, _f(3), _f(3)], {"epsilon": 0.01}, _ANY),
    "LayerNormalization/axes": ([_X, _f(4, 3)], {"axis": 1, "epsilon": 0.125}, _ANY),
    "RMSNormalization": ([_X, _f(3)], {"epsilon": 0.01}, _ANY),
    "RMSNormalization/axes": ([_X, _f(4, 3)], {"axis": -2, "epsilon": 0.01}, _ANY),
    "InstanceNormalization": ([_IMAGE, _f(4), _f(4)], {"epsilon": 0.01}, _ANY),
    "GroupNormalization": ([_IMAGE, _f(4), _f(4)], {"num_groups": 2, "epsilon": 0.01}, _ANY),
    "MeanVarianceNormalization": ([_IMAGE], {"axes": [0, 2, 3]}, _ANY),
    "LpNormalization": ([_X], {"axis": 1}, _POSITIVE),
    "LpNormalization/taxicab": ([_X], {"p": 1}, _POSITIVE),
    "LRN": ([_IMAGE], {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5}, _ANY),
    "CumSum": ([_X, np.array(1)], {}, _ANY),
    "CumSum/before": ([_X, np.array(-1)], {"exclusive": 1, "reverse": 1}, _ANY),
    "GatherElements": ([_X, np.array([[[0, 1, -1]], [[3, 2, 0]]])], {"axis": 1}, _ANY),
    "ScatterElements": ([_X, np.array([[[0, 1, 2]], [[3, 2, -4]]]), (2, 1, 3)], {"axis": 1}, _ANY),
    "Where": ([_f(4, 3) > 0, _X, (4, 1)], {}, _ANY),
    "LSTM": ([(3, 1, 2), _f(1, 12, 2), _f(1, 12, 3), _f(1, 24)], {"hidden_size": 3}, _ANY),
    "LSTM/both": (
        [(3, 2, 2), _f(2, 8, 2), _f(2, 8, 2), None, None, _f(2, 2, 2), _f(2, 2, 2)],
        {"hidden_size": 2, "direction": "bidirectional", "input_forget": 0},
        _ANY,
    ),
    "GRU": ([(3, 1, 2), _f(1, 9, 2), _f(1, 9, 3), _f(1, 18)], {"hidden_size": 3}, _ANY),
    "GRU/torch": (
        [(3, 2, 2), _f(1, 6, 2), _f(1, 6, 2), _f(1, 12), None, _f(1, 2, 2)],
        {"hidden_size": 2, "linear_before_reset": 1},
        _ANY,
    ),
    "RNN": ([(3, 1, 2), _f(1, 3, 2), _f(1, 3, 3), _f(1, 6)], {"hidden_size": 3}, _ANY),
    "RNN/both": (
        [(3, 2, 2), _f(2, 2, 2), _f(2, 2, 2), None, None, _f(2, 2, 2)],
        {"hidden_size": 2, "direction": "bidirectional", "activations": ["Relu", "Relu"]},
        _ANY,
    ),
    "GridSample": ([(2, 2, 3, 4), (2, 2, 3, 2)], {}, (-1.5, 1.5)),
    "GridSample/border": ([(1, 2, 3, 4), (1, 2, 2, 2)], {"padding_mode": "border", "align_corners": 1}, (-1.5, 1.5)),
    "GridSample/constant": ([(1, 2, 3, 4), _f(1, 2, 3, 2)], {"align_corners": 1}, _ANY),
    "Attention": ([(1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 2)], {"is_causal": 1}, _ANY),
    "Attention/shared": (
        [(2, 3, 8), (2, 4, 4), (2, 4, 4), _f(3, 4)],
        {"q_num_heads": 4, "kv_num_heads": 2, "scale": 0.5, "softcap": 2.0},
        _ANY,
    ),
    "Softmax": ([_X], {"axis": 1}, _ANY),
    "Softmax/long": ([(2, 40)], {}, _ANY),
    "Softmax/one": ([(3, 1)], {}, _ANY),
    "LogSoftmax": ([_X], {"axis": 1}, _ANY),
    "LogSoftmax/long": ([(40, 2)], {"axis": 0}, _ANY),
    "LogSoftmax/one": ([(3, 1)], {}, _ANY),
    "Swish": ([_X], {"alpha": 0.5}, _ANY),
}
OPSETS = {"RMSNormalization": 23, "Attention": 23, "Swish": 24}
OUTPUTS = {"LSTM": 3, "GRU": 2, "RNN": 2}
SINGLE = frozenset(["GRU", "RNN", "GroupNormalization", "MeanVarianceNormalization", "LRN"])
"""Operators that are held against ONNX Runtime, in float32: the reference is wrong about them, or fails."""

HALF = frozenset(["GridSample", "Attention"])
"""Operators of which the reference computes some part in float32, whatever it is given."""


@functools.cache
def carried(name: str, *, weighted: bool = False) -> Carried:
    """Return one of them.

    Parameters
    ----------
    name
        Of the table.
    weighted
        Whether its inputs are multiplied by parameters ``w0``, ``w1`` … first, which are 1.

    Raises
    ------
    KeyError
        If there is none of this name.
    """
    inputs, attributes, (low, high) = TABLE[name]
    op_type = name.split("/")[0]
    names = ["" if given is None else f"v{i}" for i, given in enumerate(inputs)]
    single = op_type in SINGLE
    format_, floats = (onnx.TensorProto.FLOAT, np.float32) if single else (onnx.TensorProto.DOUBLE, np.float64)
    arrays = {n: a for n, a in zip(names, inputs, strict=True) if isinstance(a, np.ndarray)}
    arrays = {n: a.astype(floats) if a.dtype == np.float64 else a for n, a in arrays.items()}
    outputs = [f"y{i}" for i in range(OUTPUTS.get(op_type, 1))]
    shapes = {n: s for n, s in zip(names, inputs, strict=True) if isinstance(s, tuple)}
    read = [f"{n}w" if weighted and n in shapes else n for n in names]
    nodes = [helper.make_node(op_type, read, outputs, **attributes)]
    if weighted:
        arrays |= {f"w{i}": np.ones(shape, floats) for i, shape in enumerate(shapes.values())}
        nodes = [helper.make_node("Mul", [n, f"w{i}"], [f"{n}w"]) for i, n in enumerate(shapes)] + nodes
    graph = helper.make_graph(
        nodes,
        "carried",
        [helper.make_tensor_value_info(n, format_, list(s)) for n, s in shapes.items()],
        [helper.make_tensor_value_info(n, format_, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSETS.get(op_type, 21))], ir_version=10)
    return Carried(model, low, high)


def reference(name: str, feeds: Mapping[str, Array]) -> tuple[list[Array], float]:
    """Return what ONNX says that one of them computes, and how far that may be off, relative to the size."""
    model = carried(name).model
    if name.split("/")[0] not in SINGLE:
        off = 1e-6 if name.split("/")[0] in HALF else 1e-9
        return list(ReferenceEvaluator(model).run(None, dict(feeds))), off
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {n: x.astype(np.float32) for n, x in feeds.items()})), 1e-5


def pair_of(name: str, rng: np.random.Generator, *, apart: float = 0.25) -> tuple[Graph, Graph]:
    """Return a node behind a product with ones, and one behind a product with numbers beside 1."""
    graph = load(carried(name, weighted=True).model)
    keys = [key for key in graph.params if graph[key].names[0].startswith("w")]
    values = {key: graph[key].value for key in keys}
    moved = {key: 1 + apart * rng.uniform(-1, 1, v.shape) for key, v in values.items() if v is not None}
    return graph, with_parameters(graph, moved)
