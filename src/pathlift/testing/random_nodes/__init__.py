"""Random nodes of every operator that has a lowering, with all attributes of its schema at every opset."""

from __future__ import annotations

import importlib

import numpy as np
import onnx

from pathlift.ir.types import Array
from pathlift.testing.random_nodes.draws import MAKERS, Rng

for _family in ("pointwise", "rearranging", "windows"):
    importlib.import_module(f"pathlift.testing.random_nodes.{_family}")

__all__ = ["MAKERS", "attributes_of", "opsets", "random_model"]


def schemas(op_type: str, oldest: int = 7) -> list[onnx.defs.OpSchema]:
    """Return all versions of an operator that files from opset `oldest` on may hold."""
    history = [s for s in onnx.defs.get_all_schemas_with_history() if (s.name, s.domain) == (op_type, "")]
    found = sorted(history, key=lambda s: s.since_version)
    ends = [*(s.since_version for s in found[1:]), oldest + 1000]
    return [s for s, end in zip(found, ends, strict=True) if end > oldest and not s.deprecated]


def opsets(op_type: str, oldest: int = 7) -> list[int]:
    """Return the opsets at which an operator changed."""
    return [max(s.since_version, oldest) for s in schemas(op_type, oldest)]


def attributes_of(op_type: str) -> set[str]:
    """Return the attributes that an operator has at any opset."""
    return {name for schema in schemas(op_type) for name in schema.attributes}


def random_model(op_type: str, opset: int, rng: Rng) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a model of one node, which ONNX may forbid, and values for its inputs; any attribute may be left out."""
    case = MAKERS[op_type](rng, opset)
    known = onnx.defs.get_schema(op_type, opset).attributes
    kept = {
        name: value
        for name, value in case.attributes.items()
        if name in known and (known[name].required or rng.integers(4))
    }
    names = ["" if x is None else f"x{i}" for i, x in enumerate(case.operands)]
    given = {name: np.asarray(x) for name, x in zip(names, case.operands, strict=True) if x is not None}
    fed = list(given) if rng.integers(12) == 0 else [names[case.slot]]
    node = onnx.helper.make_node(op_type, names, list(case.outputs), name="it", **kept)
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [_declared(rng, name, given[name]) for name in fed],
        [onnx.helper.make_empty_tensor_value_info(name) for name in case.outputs if name.startswith("y")],
        [onnx.numpy_helper.from_array(x, name) for name, x in given.items() if name not in fed],
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), {name: given[name] for name in fed}


def _declared(rng: Rng, name: str, x: Array) -> onnx.ValueInfoProto:
    shape: list[int | str | None] = list(x.shape)
    match (int(rng.integers(4)), shape):
        case (0, [_, *rest]):
            shape = ["N", *rest]
        case (1, _):
            shape = [None] * len(shape)
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), shape)
