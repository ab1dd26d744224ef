"""Value types of the IR: element types, shapes whose dimensions may be symbolic, and parameters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.quoting import SYMBOL, plain, quote
from pathlift.ir.rows import Rows, blocks

Dim = int | str | None
"""A known extent, a symbolic one (``"N"``), or an unknown one. See `unnamed` for symbols without a name."""
Dims = tuple[Dim, ...]
Ints = tuple[int, ...]
Array = NDArray[Any]

_SHORT_NAMES: dict[str, Any] = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "f8e4m3fn": ml_dtypes.float8_e4m3fn, "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8e5m2": ml_dtypes.float8_e5m2, "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8e8m0": ml_dtypes.float8_e8m0fnu, "f4e2m1": ml_dtypes.float4_e2m1fn,
    "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8, "i4": ml_dtypes.int4, "i2": ml_dtypes.int2,
    "u64": np.uint64, "u32": np.uint32, "u16": np.uint16, "u8": np.uint8, "u4": ml_dtypes.uint4, "u2": ml_dtypes.uint2,
    "bool": np.bool_, "c64": np.complex64, "c128": np.complex128, "str": np.object_,
}  # fmt: skip
DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(scalar) for name, scalar in _SHORT_NAMES.items()}
"""Element types by the short name that the text form uses."""
DTYPE_NAMES: dict[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}


def is_float(dtype: np.dtype[Any] | None) -> bool:
    """Whether values of `dtype` are read as real numbers (f64 … f4e2m1)."""
    return dtype is not None and DTYPE_NAMES[dtype].startswith(("f", "bf"))


def float_limits(dtype: np.dtype[Any]) -> Any:
    """Return the limits (``eps``, ``max``, ``smallest_normal`` …) of a format that `is_float`."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]  # ml_dtypes has no types for it


_NAMELESS = ("", "None", "-1")


def unnamed(name: str, axis: int) -> str:
    """Return the symbol of an extent of an input that has no name: it is like no other, and shown as ``?``."""
    return f"?{name}.{axis}"


def named(dim: Dim) -> Dim:
    """Return an extent as a file names it, ``None`` if it does not: exporters write ``?``, ``None`` and ``-1`` too."""
    return None if isinstance(dim, str) and (dim.startswith("?") or dim in _NAMELESS) else dim


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor; ``None`` where it is not known.

    Parameters
    ----------
    dtype
        A numpy dtype (``ml_dtypes`` for bf16, fp8, int4 …).
    shape
        One `Dim` per axis; ``None`` if not even the rank is known.
    """

    dtype: np.dtype[Any] | None
    shape: Dims | None

    def __str__(self) -> str:
        return self.spelled(d for d in self.shape or () if named(d) is None)

    def spelled(self, nameless: Iterable[Dim] = ()) -> str:
        """Return the text form, with ``?`` for these extents, and the symbols of all others spelled out."""
        hidden = {None, *nameless}
        dtype = "?" if self.dtype is None else DTYPE_NAMES[self.dtype]
        dims = "..." if self.shape is None else ", ".join("?" if d in hidden else _dim_text(d) for d in self.shape)
        return f"{dtype}[{dims}]"

    @property
    def rank(self) -> int:
        """The number of axes.

        Raises
        ------
        UnsupportedError
            If the rank is unknown.
        """
        if self.shape is None:
            raise UnsupportedError("0301", "the rank of an input is not known")
        return len(self.shape)


def _dim_text(dim: Dim) -> str:
    return plain(dim, SYMBOL) if isinstance(dim, str) else str(dim)


_OTHER = re.compile(r"[A-Za-z0-9_(),.? \[\]-]+")


@dataclass(frozen=True, slots=True)
class OtherType:
    """A value that is not a dense tensor (sequence, optional, map, sparse tensor): carried, never analysed."""

    text: str

    def __str__(self) -> str:
        return f"<{self.text}>" if _OTHER.fullmatch(self.text) else f"<{quote(self.text)}>"


ValueType = TensorType | OtherType
UNKNOWN = TensorType(None, None)


@dataclass(frozen=True, eq=False)
class Param:
    """A constant tensor of the model. Two uses of one `Param` object are tied; equality is identity.

    Parameters
    ----------
    dtype, shape
        As stored in the file.
    load
        Returns the values, shape `shape` and dtype `dtype`; called at most once per `numpy` cache, so that weights
        in external files are read only when something needs them.
    part
        Returns the values of some rows, where they can be computed without the others.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    load: Callable[[], Array] = field(repr=False)
    part: Callable[[Rows], Array] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, values: Array | Sequence[Any] | float, dtype: str | None = None) -> Param:
        """Wrap values; Python floats become f32 unless `dtype` (a short name) says otherwise."""
        array = np.asarray(values)
        if dtype is not None:
            array = array.astype(DTYPES[dtype])
        elif not isinstance(values, np.ndarray | np.generic) and array.dtype == np.float64:
            array = array.astype(np.float32)
        return cls(array.dtype, array.shape, lambda: array)

    @classmethod
    def by_rows(cls, dtype: np.dtype[Any], shape: tuple[int, ...], part: Callable[[Rows], Array]) -> Param:
        """Return a parameter whose values are computed when they are asked for, a block of rows at a time."""

        def load() -> Array:
            values = np.empty(shape, dtype)
            for rows in blocks(shape):
                values[rows] = part(rows)
            return values

        return cls(dtype, shape, load, part)

    def __reduce__(self) -> tuple[Callable[..., Param], tuple[Any, ...]]:
        """Go to another process with the values, wherever these come from here."""
        return Param.of, (self.numpy(),)

    def numpy(self) -> Array:
        """Return the values; treat them as read-only."""
        return self.load()

    def rows(self, rows: Rows) -> Array:
        """Return some of the values, of which no more are computed; treat them as read-only."""
        return np.asarray(self.load()[rows]) if self.part is None else self.part(rows)

    def every(self, stride: int) -> Array:
        """Return every so many elements, in the order of rows, without holding all of them."""
        taken, start = [np.zeros(0, self.dtype)], 0
        for rows in blocks(self.shape):
            values = self.rows(rows).reshape(-1)
            taken.append(values[-start % stride :: stride].copy())  # a view would keep the block
            start += values.size
        return np.concatenate(taken)

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def type(self) -> TensorType:
        """The parameter's `TensorType`."""
        return TensorType(self.dtype, self.shape)

    @functools.cached_property
    def non_finite(self) -> int:
        """How many values are NaN or infinite."""
        if not is_float(self.dtype):
            return 0
        return self.size - sum(int(np.count_nonzero(np.isfinite(self.rows(rows)))) for rows in blocks(self.shape))


def not_finite(name: str, values: Array) -> InvalidModelError:
    """Return the error that a tensor holds NaN or infinite values; says which, and how many."""
    nan = int(np.count_nonzero(np.isnan(values)))
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    kind = "infinite" if not nan else "NaN" if bad == nan else "NaN or infinite"
    return InvalidModelError("0180", f"tensor {name!r}: {bad} of {values.size} values are {kind}")
