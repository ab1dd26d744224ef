"""The Numeric algebra: reference execution on torch tensors, in float64 unless asked otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from pathlift.ir import dims as D
from pathlift.ir.algebras.protocol import Algebra
from pathlift.ir.errors import ExecutionError
from pathlift.ir.foreign import foreign
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, View
from pathlift.ir.primitives.derived import NormScale
from pathlift.ir.types import Array, Param, ValueType

Tensor = torch.Tensor


class Numeric(Algebra[Any]):
    """Execute. Values are torch tensors; what is no tensor (a sequence) passes through opaque nodes as it is.

    Parameters
    ----------
    dtype
        All real numbers are held in it; integers and booleans keep their own type.
    device
        Where tensors live.
    """

    name: ClassVar[str] = "execution"

    def __init__(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        self.dtype, self.device = dtype, torch.device(device)

    def tensor(self, array: Array) -> Tensor:
        """Convert an array; real numbers become `dtype`."""
        return as_tensor(array, self.dtype, self.device)

    def param(self, p: Param) -> Tensor:
        return self.tensor(p.numpy())

    def derive(self, f: NormScale, *params: Tensor) -> Tensor:
        result: Tensor = f(*params)
        return result

    def linear(self, f: LinearMap, x: Tensor, w: Tensor | None = None) -> Tensor:
        return f(x, w)

    def add(self, x: Tensor, y: Tensor, axis: int | None = None, *, alike: bool = False) -> Tensor:
        if alike:  # extents that were symbols are known by now
            D.alike(tuple(x.shape), tuple(y.shape))
        return x + along(y, axis, x.ndim)

    def scale(self, x: Tensor, c: Tensor | float, axis: int | None = None, *, reciprocal: bool = False) -> Tensor:
        factor = along(c, axis, x.ndim) if isinstance(c, Tensor) else c
        return x / factor if reciprocal else x * factor

    def gate(self, x: Tensor, f: Activation, *params: Tensor) -> Tensor:
        result: Tensor = f.torch(x, *params)
        return result

    def select(self, x: Tensor, s: OrderStatistic) -> Tensor:
        return s(x)

    def move(self, xs: Sequence[Tensor], v: View) -> Tensor:
        return v(*xs)

    def apply(self, f: Nonlinear, xs: Sequence[Any], types: Sequence[ValueType]) -> tuple[Any, ...]:
        if f.execute is not None:
            result = f.execute(*xs)
            return result if isinstance(result, tuple) else (result,)
        from pathlift.ir.algebras.opaque import execute

        where = f"node {f.node.label!r} ({f.node.attrs['op_type']!s})"
        with foreign(f"run {where}", lambda said: ExecutionError("0901", f"{where}: {said}"), programs=True):
            return tuple(self.tensor(y) if hasattr(y, "dtype") else y for y in execute(f.node, xs))


def as_tensor(array: Array, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """Convert an array to a tensor, which may share its memory: treat it as read-only.

    Real numbers (fp16, bf16, fp8 …) become `dtype`, exactly; without one, float32 and float64 stay and others become
    float64. What is no real number keeps its own type.
    """
    import numpy as np

    from pathlift.ir.types import DTYPE_NAMES, is_float

    if is_float(array.dtype):
        array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    else:
        dtype = None
        if DTYPE_NAMES.get(array.dtype, "str") in ("i4", "u4", "i2", "u2"):
            array = array.astype(np.int8 if DTYPE_NAMES[array.dtype].startswith("i") else np.uint8)
    if 0 not in array.strides:  # what repeats one element stays one
        array = np.asarray(array, order="C")
    if not array.flags.writeable:
        with warnings.catch_warnings():  # nothing writes to it
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(array).to(dtype=dtype, device=device)
    return torch.from_numpy(array).to(dtype=dtype, device=device)


def along(vector: Tensor, axis: int | None, rank: int) -> Tensor:
    """View a vector so that it broadcasts along `axis` of a tensor of this rank."""
    if axis is None:
        return vector
    return vector.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
