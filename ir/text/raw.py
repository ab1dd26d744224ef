"""Raw bytes of tensors, as ONNX lays them out: little-endian, rows first, what is under a byte low bits first."""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import numpy as np

from pathlift.ir.types import DTYPE_NAMES, Array

_PACKED = {"i4": 4, "u4": 4, "f4e2m1": 4, "i2": 2, "u2": 2}


def raw_size(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the bytes that a tensor takes; strings have none."""
    return -(-prod(shape) * _PACKED.get(DTYPE_NAMES[dtype], 8 * dtype.itemsize) // 8)


def to_raw(array: Array) -> bytes:
    """Return the bytes of a tensor, which is not of strings."""
    bits = _PACKED.get(DTYPE_NAMES[array.dtype])
    if bits is None:
        return _swapped(np.ascontiguousarray(array)).tobytes()
    per_byte = 8 // bits
    codes = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    codes = np.pad(codes, (0, -codes.size % per_byte)).reshape(-1, per_byte)
    packed: Array = np.bitwise_or.reduce(codes << _shifts(bits), axis=1).astype(np.uint8)
    return packed.tobytes()


def from_raw(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Return the tensor of bytes, of which there are `raw_size`."""
    bits = _PACKED.get(DTYPE_NAMES[dtype])
    if bits is None and dtype == np.bool_:
        return np.not_equal(np.frombuffer(data, np.uint8).reshape(shape), 0)
    if bits is None:
        return _swapped(np.frombuffer(data, dtype)).reshape(shape)
    codes = (np.frombuffer(data, np.uint8)[:, None] >> _shifts(bits)) & ((1 << bits) - 1)
    codes = codes.reshape(-1)[: prod(shape)]
    if DTYPE_NAMES[dtype][0] == "i":  # two's complement of as many bits
        return ((codes ^ (1 << (bits - 1))).astype(np.int8) - (1 << (bits - 1))).astype(dtype).reshape(shape)
    if DTYPE_NAMES[dtype][0] == "u":
        return codes.astype(dtype).reshape(shape)
    return codes.astype(np.uint8).view(dtype).reshape(shape)


def _shifts(bits: int) -> Array:
    return np.arange(0, 8, bits, dtype=np.uint8)


def _swapped(array: Array) -> Array:
    return array if sys.byteorder == "little" else array.byteswap()
