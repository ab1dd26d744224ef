"""Steps as JSON: arrays as compressed bytes."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pathlift.ir.errors import InvalidModelError
from pathlift.passes.certificates.search import Step

MOST_BYTES = 2**31
"""Of one array; more is not unpacked."""
_DTYPES = ("float64", "int64", "bool")


def encode(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as plain JSON types."""
    return [
        {"method": step.method, "parameters": {name: _packed(x) for name, x in step.parameters.items()}}
        for step in steps
    ]


def decode(steps: Any) -> list[Step]:
    """Return the steps that `encode` wrote.

    Raises
    ------
    InvalidModelError
        If they are none.
    """
    try:
        return [Step(str(s["method"]), {str(n): _unpacked(x) for n, x in dict(s["parameters"]).items()}) for s in steps]
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, zlib.error) as error:
        raise InvalidModelError("0192", f"the certificate's steps cannot be read: {error}") from error


def _packed(x: torch.Tensor) -> dict[str, Any]:
    array = np.ascontiguousarray(x.detach().cpu().numpy())
    if array.dtype.name not in _DTYPES:
        array = array.astype(np.float64)
    data = base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data}


def _unpacked(x: Mapping[str, Any]) -> torch.Tensor:
    dtype, shape = str(x["dtype"]), tuple(int(n) for n in x["shape"])
    if dtype not in _DTYPES or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype} and shape {list(shape)}")
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if size > MOST_BYTES:
        raise ValueError(f"an array of {size} bytes")
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(x["data"], validate=True), max(1, size + 1))
    if len(data) != size:
        raise ValueError(f"an array of {len(data)} bytes that says {size}")
    array = np.frombuffer(data, dtype).reshape(shape).copy()
    if not np.isfinite(array).all():  # no search ends with one, and a NaN compares as whatever suits a forger
        raise ValueError("a parameter is not finite")
    return torch.from_numpy(array)
