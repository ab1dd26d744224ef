"""Literals of the text form: attribute values, and the values of small parameters, exact to the last bit."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pathlift.ir.quoting import quote
from pathlift.ir.types import DTYPE_NAMES, Array, TensorType, is_float

Literal = Any
"""A bool, int, float, str or bytes, or a list of literals."""


def literal_text(value: object) -> str:
    """Print an attribute value, a mapping, or a nested list of them."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bytes):
        return f'b64"{base64.b64encode(value).decode()}"'
    if isinstance(value, TensorType):
        return str(value)
    if isinstance(value, Mapping):
        return pairs_text(value.items())
    assert isinstance(value, list | tuple), value
    return "[" + ", ".join(map(literal_text, value)) + "]"


def pairs_text(pairs: Iterable[tuple[str, object]]) -> str:
    """Print a mapping; its keys are quoted."""
    return "{" + ", ".join(f"{quote(k)}={literal_text(v)}" for k, v in pairs) + "}"


def array_text(array: Array) -> str:
    """Print an array as nested lists; complex numbers have one more axis, of real and imaginary parts."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1)
    integers = DTYPE_NAMES[array.dtype][0] in "iu"
    element = _real_text if is_float(array.dtype) else (lambda v: str(int(v))) if integers else literal_text
    return _nested([element(v) for v in array.reshape(-1)], array.shape)


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return texts[0]
    step = len(texts) // shape[0] if shape[0] else 0
    return "[" + ", ".join(_nested(texts[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])) + "]"


def _real_text(value: Any) -> str:
    """Return the shortest decimal that reads back as the same number of the same type."""
    native = value.dtype.type in (np.float16, np.float32, np.float64)
    # numpy prints its own formats' shortest decimal; for the small ones, ever more digits are tried.
    candidates = [str(value)] if native else [repr(float(f"{float(value):.{n}g}")) for n in range(1, 10)]
    with np.errstate(all="ignore"):
        # Reading rounds twice (to float64 first); where that shows, all digits are written.
        right = (c for c in candidates if np.float64(c).astype(value.dtype) == value)
        return next(right, repr(float(value)))


def read_array(literal: Literal, dtype: np.dtype[Any] | None, shape: tuple[int, ...] | None) -> Array:
    """Return the array of a literal; without `dtype`, reals are f32 and integers i64.

    Parameters
    ----------
    literal
        A scalar, or nested lists of one depth.
    dtype
        The declared element type.
    shape
        The declared shape; it decides the shape of an array without elements.

    Raises
    ------
    ValueError
        If it is ragged, mixed, or not exactly a value of `dtype` (an integer out of range, a real that overflows).
    """
    flat, extents = _flatten(literal)
    kinds = {type(v) for v in flat}
    if dtype is None:
        dtype = np.dtype(np.float32)
        for kind, default in ((bool, np.bool_), (int, np.int64), (str, np.object_), (bytes, np.object_)):
            if kinds and kinds <= {kind}:
                dtype = np.dtype(default)
    name = DTYPE_NAMES[dtype]
    allowed: set[type] = {int} if name[0] in "iu" else {int, float}
    if name in ("bool", "str"):
        allowed = {bool} if name == "bool" else {str, bytes}
    if not kinds <= allowed:
        found = ", ".join(sorted(k.__name__ for k in kinds - allowed))
        raise ValueError(f"{name} cannot hold {found}")
    if dtype.kind == "c":
        array = _reals(flat, np.dtype(np.float32 if name == "c64" else np.float64))
        if flat and (not extents or extents[-1] != 2):
            raise ValueError(f"{name} needs pairs of a real and an imaginary part")
        array, extents = array.view(dtype), extents[:-1]
    elif is_float(dtype):
        array = _reals(flat, dtype)
    elif name[0] in "iu":
        array = _integers(flat, dtype)
    else:
        array = np.empty(len(flat), dtype)
        array[:] = flat
    if array.size == 0 and shape is not None and 0 in shape:
        extents = shape
    return array.reshape(extents)


def _flatten(literal: Literal) -> tuple[list[Any], tuple[int, ...]]:
    level, extents = [literal], []
    while level and any(isinstance(v, list) for v in level):
        if not all(isinstance(v, list) and len(v) == len(level[0]) for v in level):
            raise ValueError("its rows differ in length")
        extents.append(len(level[0]))
        level = [v for row in level for v in row]
    return level, tuple(extents)


def _reals(flat: list[Any], dtype: np.dtype[Any]) -> Array:
    try:
        wide = np.array([float(v) for v in flat], np.float64)
    except OverflowError:
        raise ValueError(f"a value is out of range for {DTYPE_NAMES[dtype]}") from None
    with np.errstate(all="ignore"):
        array = wide.astype(dtype)
    back = array.astype(np.float64)
    if not np.array_equal(np.isfinite(back), np.isfinite(wide)) or not np.array_equal(np.isnan(back), np.isnan(wide)):
        raise ValueError(f"a value is out of range for {DTYPE_NAMES[dtype]}")
    return array


def _integers(flat: list[int], dtype: np.dtype[Any]) -> Array:
    name = DTYPE_NAMES[dtype]
    bits = int(name[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name[0] == "i" else (0, (1 << bits) - 1)
    for v in flat:
        if not low <= v <= high:
            raise ValueError(f"{v} is out of range for {name}")
    wide = np.array(flat, np.uint64 if name == "u64" else np.int64)
    return wide.astype(dtype)
