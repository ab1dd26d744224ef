"""GatherND and ScatterND at constant places: the axes that the indices name become one, and that one is picked from.

PyTorch's advanced indexing, windows of adaptive pools and assignments to slices are exported this way.
"""

from __future__ import annotations

from math import prod

import numpy as np

from pathlift.frontend.fold import Constant
from pathlift.frontend.lower.families.indexing import DYNAMIC_INDICES, MAX_INDICES
from pathlift.frontend.lower.families.structure import reshape_target
from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.graph import Value
from pathlift.ir.types import Dims, Ints


@lowering("GatherND", takes="movable")
def gather_nd(node: OnnxNode) -> Operand:
    """Elements, or whole sub-tensors, at constant places."""
    if node.integer("batch_dims"):
        raise Refusal("places within a batch")
    x, places = node.input(0), node.constant(1, DYNAMIC_INDICES)
    dims, shape = node.dims(x), places.param.shape
    named, rest = dims[: shape[-1]], dims[shape[-1] :]
    return _pick(node, _rows(node, x, named, rest), _flat(places, named), (*shape[:-1], *rest))


@lowering("ScatterND", takes="movable")
def scatter_nd(node: OnnxNode) -> Operand:
    """Replacements at constant places are picked from both tensors, joined; a whole axis is replaced as such."""
    if node.text("reduction", "none") != "none":
        raise Refusal(f"reduction {node.text('reduction', 'none')}")
    x, updates = node.input(0), node.input(2)
    dims = node.dims(x)
    if _is_whole_axis(node, dims) and node.dims(updates) == dims:
        return updates
    places = node.constant(1, DYNAMIC_INDICES)
    shape = places.param.shape
    if not places.param.size:
        return x
    named, rest = dims[: shape[-1]], dims[shape[-1] :]
    indices = _flat(places, named)
    if len(set(indices)) != len(indices):
        raise Refusal("a place that is replaced twice")
    before, after = _rows(node, x, named, rest), _rows(node, updates, shape[:-1], rest)
    picked = list(range(_count(named)))
    for i, index in enumerate(indices):
        picked[index] = len(picked) + i
    return _pick(node, _joined(node, before, after), tuple(picked), dims)


def _count(dims: Dims) -> int:
    if not all(isinstance(d, int) for d in dims):
        raise Refusal("places along an unknown extent", GIVE_SHAPE)
    return prod(d for d in dims if isinstance(d, int))


def _flat(places: Constant, named: Dims) -> Ints:
    """Return the places as row-major indices into the axes that they name."""
    if max(places.param.size, _count(named)) > MAX_INDICES:
        raise Refusal(f"more than {MAX_INDICES} indices")
    extents = np.array(named, np.int64)
    columns = places.numpy().reshape(-1, len(named))
    columns = np.where(columns < 0, columns + extents, columns)
    return tuple(np.asarray(np.ravel_multi_index(tuple(columns.T), tuple(extents))).tolist())


def _rows(node: OnnxNode, x: Operand, named: Dims, rest: Dims) -> Operand:
    """Return `x` with the axes that the places name taken together."""
    target = reshape_target((_count(named), *rest), kept=0)
    return node.reshaped(x, target) if isinstance(x, Constant) else node.emit("Reshape", x, shape=target)


def _joined(node: OnnxNode, x: Operand, y: Operand) -> Operand:
    """Return the rows of both."""
    if not isinstance(x, Constant) or not isinstance(y, Constant):
        return node.emit("Concat", x, y, axis=0)
    (n, *rest), (m, *_) = x.param.shape, y.param.shape
    return node.derive(x, "joined", lambda rows: np.concatenate([rows, y.numpy()]), (n + m, *rest), y.param)


def _pick(node: OnnxNode, rows: Operand, indices: Ints, shape: Dims) -> Operand:
    """Return some of the rows, in this shape."""
    target = reshape_target(shape, kept=0)
    if isinstance(rows, Constant):
        return node.derive(rows, "picked", lambda a: a[list(indices)].reshape(target), target, indices)
    return node.result("Reshape", node.emit("Gather", rows, axis=0, indices=indices), shape=target)


def _is_whole_axis(node: OnnxNode, dims: Dims) -> bool:
    """Whether the places are 0, 1, …, n − 1, one to a row, where the symbol n is the first extent."""
    places = node.input(1)
    rows = node.lowerer.rows.get(places) if isinstance(places, Value) else None
    return rows is not None and (rows.count, rows.step, rows.first.tolist()) == (dims[0], 1, [0])
