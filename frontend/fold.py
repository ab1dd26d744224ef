"""Constant folding: what nodes compute from constants alone, small results at once and weight-sized ones on demand.

Whatever the operator, its result is a constant unless it is random (`pathlift.frontend.evaluation`). Every size is
checked in Python integers before anything of that size exists; what only repeats a value (``ConstantOfShape``,
``Expand``) stays a zero-stride view. Types follow from ONNX's own type inference, and a value that is computed later
must agree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir

from pathlift.frontend.evaluation import QUICK, SELECTING, evaluate, is_little_work, is_ordinary, is_pure
from pathlift.frontend.protos import describe, foreign
from pathlift.frontend.types import infer_types
from pathlift.ir.errors import InvalidModelError, UnsafeModelError
from pathlift.ir.graph import Origin
from pathlift.ir.spelling import Wording
from pathlift.ir.types import DTYPE_NAMES, Array, Param, TensorType

SMALL = 1 << 16
"""Results up to this many bytes, of operands no larger, are computed at once."""
MAX_DEPTH = 64  # of results waiting for each other: bounds the recursion when the last one is asked for


@dataclass(frozen=True, eq=False)
class Constant:
    """A value known without running the model.

    Parameters
    ----------
    name
        The ONNX value's.
    param
        The tensor.
    origin
        Provenance of the initializer, or of the node that computes it.
    transpose_of
        The matrix that this one is the transpose of: a linear layer reads that one, and so stays tied to it.
    depth
        How many results wait for each other before this one can be computed.
    wording
        The node that computes it from other constants, if it is to be saved as that.
    """

    name: str
    param: Param
    origin: Origin = Origin()
    transpose_of: Constant | None = None
    depth: int = 0
    wording: Wording | None = None

    @property
    def small(self) -> bool:
        """Whether it is cheap to look at."""
        return nbytes(self.param.type) <= SMALL

    def numpy(self) -> Array:
        """Return the values."""
        return self.param.numpy()

    def ints(self) -> list[int]:
        """Return the values as Python integers."""
        return [int(v) for v in self.numpy().reshape(-1)]


def nbytes(type_: TensorType) -> int:
    """Bytes of a tensor, unknown extents counted as one; of known extents a zero does not hide the others."""
    itemsize = 4 if type_.dtype is None else type_.dtype.itemsize
    return prod(max(d, 1) for d in type_.shape or () if isinstance(d, int)) * itemsize


def check_size(type_: TensorType, where: str, memory_limit: int) -> None:
    """Raise unless a tensor of this type fits the limit.

    Raises
    ------
    UnsafeModelError
        If it does not.
    """
    if (size := nbytes(type_)) > memory_limit:
        raise UnsafeModelError(
            "0221",
            f"{where}: a result {type_} needs {size} bytes, above the limit of {memory_limit}",
            hint="raise --memory-limit if this is meant",
        )


def computed(type_: TensorType, compute: Callable[[], Array], where: str) -> Param:
    """Return a parameter whose values are computed when first asked for, and kept."""
    assert type_.dtype is not None
    assert type_.shape is not None
    expected = type_
    kept: list[Array] = []

    def load() -> Array:
        if not kept:
            with foreign(f"compute {where}"), np.errstate(all="ignore"):
                array = np.asarray(compute())
                if array.dtype.kind in "iu" and expected.dtype is not None and expected.dtype.kind in "iu":
                    array = array.astype(expected.dtype, copy=False)  # numpy sums narrow integers in wide ones
            if array.dtype != expected.dtype or array.shape != expected.shape:
                raise InvalidModelError(
                    "0151", f"{where}: a constant {expected} turns out as {array.dtype}{array.shape}"
                )
            kept.append(array)
        return kept[0]

    return Param(type_.dtype, tuple(d for d in type_.shape if isinstance(d, int)), load)


def fold(
    proto: onnx.NodeProto, inputs: Sequence[Constant | None], version: int, origin: Origin, memory_limit: int
) -> list[Constant] | None:
    """Return what a node makes of constants, one per output; ``None`` if that is not known beforehand.

    Parameters
    ----------
    proto
        The node, of ONNX's default domain.
    inputs
        Its operands; ``None`` where one is left out.
    version
        Its opset.
    origin
        Its provenance.
    memory_limit
        Bytes that no result may exceed.

    Raises
    ------
    UnsafeModelError
        If a result would be larger.
    """
    if not is_pure(proto, version):
        return None
    known = [c.param.type if c is not None else None for c in inputs]
    data = {name: c.numpy() for name, c in zip(proto.input, inputs, strict=False) if c is not None and c.small}
    types = infer_types(proto, known, version, data)
    small = all(c is None or c.small for c in inputs)
    if types is None or not is_little_work(proto, [*types, *filter(None, known)]):
        return None
    if proto.op_type not in QUICK and not all(is_ordinary(a) for a in data.values()):
        return None
    if proto.op_type in SELECTING and small:
        return _selected(proto, inputs, version, types, origin)
    if not all(_static(t) for t in types):
        return None
    where = describe(proto)
    for t in types:
        check_size(t, where, memory_limit)
    evaluation = _Evaluation(proto, [None if c is None else c.param for c in inputs], version, types)
    eager = proto.op_type not in QUICK or (small and all(nbytes(t) <= SMALL for t in types))
    depth = 0 if eager else 1 + max((c.depth for c in inputs if c is not None), default=0)
    base = inputs[0] if proto.op_type == "Transpose" and known[0] is not None and _reverses(proto, known[0]) else None
    results = []
    for i, (name, t) in enumerate(zip(proto.output, types, strict=True)):
        param = computed(t, partial(evaluation.output, i), where)
        if eager or depth > MAX_DEPTH:
            try:
                param.numpy()
            except InvalidModelError:  # the evaluator is wrong about the node, or the node is wrong itself
                return None
        results.append(Constant(name, param, origin, base, 0 if depth > MAX_DEPTH else depth))
    return results


def _selected(
    proto: onnx.NodeProto, inputs: Sequence[Constant | None], version: int, types: Sequence[TensorType], origin: Origin
) -> list[Constant] | None:
    """Return what a node picks of small constants; how much that is, only the values tell."""
    try:
        with foreign(f"compute {describe(proto)}"):
            found = evaluate(proto, [None if c is None else c.numpy() for c in inputs], version)
    except InvalidModelError:
        return None
    arrays = [np.asarray(a) for a in found]
    if any(name and a.dtype != t.dtype for name, a, t in zip(proto.output, arrays, types, strict=True)):
        return None
    return [Constant(name, Param.of(a), origin) for name, a in zip(proto.output, arrays, strict=True)]


def _static(t: TensorType | None) -> bool:
    return t is not None and t.dtype in DTYPE_NAMES and t.shape is not None and all(isinstance(d, int) for d in t.shape)


def _reverses(proto: onnx.NodeProto, type_: TensorType) -> bool:
    perm = next((list(a.ints) for a in proto.attribute if a.name == "perm"), [1, 0])
    return type_.rank == 2 and perm == [1, 0]


class _Evaluation:
    """One node's outputs, computed together when the first of them is asked for."""

    def __init__(
        self, proto: onnx.NodeProto, params: Sequence[Param | None], version: int, types: Sequence[TensorType]
    ) -> None:
        self.proto, self.params, self.version, self.types = proto, params, version, types
        self._outputs: list[Any] | None = None

    def output(self, index: int) -> Array:
        if self._outputs is None:
            self._outputs = self._run()
            self.params = ()
        return np.asarray(self._outputs[index])

    def _run(self) -> list[Any]:
        shape = tuple(d for d in self.types[0].shape or () if isinstance(d, int))
        arrays = [None if p is None else p.numpy() for p in self.params]
        first = arrays[0]
        match self.proto.op_type:
            case "Identity":
                return [first]
            case "Reshape" | "Flatten":
                assert first is not None
                return [first.reshape(shape)]
            case "Unsqueeze":
                assert first is not None
                given = next((tuple(a.ints) for a in self.proto.attribute), None)  # an attribute before opset 13
                axes = arrays[1].tolist() if given is None and arrays[1] is not None else given or ()
                return [np.expand_dims(first, tuple(axes))]
            case "Expand":
                assert first is not None
                return [np.broadcast_to(first, shape)]
            case "ConstantOfShape":
                fill = next((onnx_ir.from_proto(a.t).numpy() for a in self.proto.attribute), np.zeros(1, np.float32))
                return [np.broadcast_to(fill.reshape(-1)[:1].reshape(()), shape)]
        return evaluate(self.proto, arrays, self.version)
