"""The model-local function that a Kronecker-sparse linear map is in an ONNX file, for any runtime.

One generic body serves every pattern. It runs as one batched matrix product, with the transpositions that were found
fastest in ONNX Runtime on one and on several threads, which also settles the `If` when it loads the model: interleaved
features are brought to the front; blocks (d = 1) are products of rows as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import onnx_ir
from onnx import FunctionProto, GraphProto, NodeProto, helper

DOMAIN, VERSION = "pathlift", 1
ROWS, FEATURES = "KSLinear", "KSLinearFeatureMajor"
"""Names of the functions: features are the last axis, or the first one of a matrix."""
FUNCTION_NAMES = (ROWS, FEATURES)

_ROWS = """
<domain: "pathlift", opset_import: ["": 13]>
KSLinear <abcd> (X, K) => (Y) {
  abcd = Constant <value_ints: ints = @abcd> ()
  any = Constant <value_ints = [-1]> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  three = Constant <value_ints = [3]> ()
  a = Gather (abcd, zero)
  b = Gather (abcd, one)
  c = Gather (abcd, two)
  d = Gather (abcd, three)
  ad = Mul (a, d)
  rows = Mul (ad, b)
  block_shape = Concat <axis = 0> (ad, b, c)
  blocks = Reshape (K, block_shape)
  is_one = Equal (d, one)
  is_block_diagonal = Squeeze (is_one)
  y = If (is_block_diagonal) <
    then_branch = block_diagonal () => (block_y) {
      weights = Transpose <perm = [0, 2, 1]> (blocks)
      split = Concat <axis = 0> (any, ad, c)
      block_x = Reshape (X, split)
      block_batch = Transpose <perm = [1, 0, 2]> (block_x)
      block_product = MatMul (block_batch, weights)
      block_together = Transpose <perm = [1, 0, 2]> (block_product)
      block_flat = Concat <axis = 0> (any, rows)
      block_y = Reshape (block_together, block_flat)
    },
    else_branch = interleaved () => (y_rows) {
      ac = Mul (a, c)
      cols = Mul (ac, d)
      flat = Concat <axis = 0> (any, cols)
      x_flat = Reshape (X, flat)
      x_features = Transpose <perm = [1, 0]> (x_flat)
      split_apart = Concat <axis = 0> (a, c, d, any)
      x_apart = Reshape (x_features, split_apart)
      x_swapped = Transpose <perm = [0, 2, 1, 3]> (x_apart)
      split_features = Concat <axis = 0> (ad, c, any)
      x = Reshape (x_swapped, split_features)
      product = MatMul (blocks, x)
      join = Concat <axis = 0> (a, d, b, any)
      y_joined = Reshape (product, join)
      y_apart = Transpose <perm = [0, 2, 1, 3]> (y_joined)
      y_flat = Concat <axis = 0> (rows, any)
      y_features = Reshape (y_apart, y_flat)
      y_rows = Transpose <perm = [1, 0]> (y_features)
    }
  >
  shape = Shape (X)
  rank = Shape (shape)
  has_two = Equal (rank, two)
  is_matrix = Squeeze (has_two)
  Y = If (is_matrix) <
    then_branch = of_a_matrix () => (y_same) {
      y_same = Identity (y)
    },
    else_branch = of_any_rank () => (y_shaped) {
      lead = Slice (shape, zero, any)
      out_shape = Concat <axis = 0> (lead, rows)
      y_shaped = Reshape (y, out_shape)
    }
  >
}
"""
_FEATURES = """
<domain: "pathlift", opset_import: ["": 13]>
KSLinearFeatureMajor <abcd> (X, K) => (Y) {
  abcd = Constant <value_ints: ints = @abcd> ()
  any = Constant <value_ints = [-1]> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  three = Constant <value_ints = [3]> ()
  a = Gather (abcd, zero)
  b = Gather (abcd, one)
  c = Gather (abcd, two)
  d = Gather (abcd, three)
  ad = Mul (a, d)
  rows = Mul (ad, b)
  block_shape = Concat <axis = 0> (ad, b, c)
  blocks = Reshape (K, block_shape)
  split = Concat <axis = 0> (ad, c, any)
  is_one = Equal (d, one)
  is_block_diagonal = Squeeze (is_one)
  y = If (is_block_diagonal) <
    then_branch = block_diagonal () => (block_y) {
      block_x = Reshape (X, split)
      block_y = MatMul (blocks, block_x)
    },
    else_branch = interleaved () => (y_apart) {
      split_apart = Concat <axis = 0> (a, c, d, any)
      x_apart = Reshape (X, split_apart)
      x_swapped = Transpose <perm = [0, 2, 1, 3]> (x_apart)
      x = Reshape (x_swapped, split)
      product = MatMul (blocks, x)
      join = Concat <axis = 0> (a, d, b, any)
      y_joined = Reshape (product, join)
      y_apart = Transpose <perm = [0, 2, 1, 3]> (y_joined)
    }
  >
  out_shape = Concat <axis = 0> (rows, any)
  Y = Reshape (y, out_shape)
}
"""


def ks_function(name: str, opset: int) -> FunctionProto:
    """Return the function of this name, for a model of this opset (13 or newer)."""
    function = FunctionProto()
    function.CopyFrom(_parsed()[name])
    function.opset_import[0].version = opset
    return function


def define_functions(model: onnx_ir.Model) -> None:
    """Add the functions that a model calls, in place."""
    for name in sorted({n.op_type for n in model.graph if n.domain == DOMAIN and n.op_type in FUNCTION_NAMES}):
        model.opset_imports[DOMAIN] = VERSION
        function = ks_function(name, model.opset_imports[""])
        model.functions[(DOMAIN, name, "")] = onnx_ir.serde.deserialize_function(function)


def is_ks_function(function: FunctionProto) -> bool:
    """Whether a function of a file is ours: of the same name, and with the same body but for names and comments."""
    own = _parsed().get(function.name) if function.domain == DOMAIN and not function.overload else None
    return own is not None and _canonical(function) == _canonical(own)


@functools.cache
def _parsed() -> dict[str, FunctionProto]:
    from onnx import parser

    return {name: parser.parse_function(text) for name, text in ((ROWS, _ROWS), (FEATURES, _FEATURES))}


def _canonical(function: FunctionProto) -> Any:
    numbers: dict[str, int] = {}
    inputs = _numbered(function.input, numbers)
    nodes = _nodes(function.node, numbers)
    return inputs, list(function.attribute), nodes, _numbered(function.output, numbers)


def _nodes(nodes: Iterable[NodeProto], numbers: dict[str, int]) -> list[Any]:
    return [
        (
            node.domain,
            node.op_type,
            _numbered(node.input, numbers),
            {a.name: a.ref_attr_name or _value(helper.get_attribute_value(a), numbers) for a in node.attribute},
            _numbered(node.output, numbers),
        )
        for node in nodes
    ]


def _value(value: Any, numbers: dict[str, int]) -> Any:
    if isinstance(value, GraphProto):
        return _nodes(value.node, numbers), _numbered((o.name for o in value.output), numbers)
    return value


def _numbered(names: Iterable[str], numbers: dict[str, int]) -> list[int]:
    """Replace names by numbers, in the order of their first occurrence."""
    return [numbers.setdefault(name, len(numbers)) for name in names]
