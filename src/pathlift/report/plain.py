"""Objects as plain JSON types: what a result is when it does not say itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from enum import Enum
from math import isfinite, prod
from typing import Any

ELEMENTS = 10_000
"""Elements beyond which an array is told by its shape and element type alone."""


def plain(value: object) -> Any:
    """Return a value in plain JSON types.

    Parameters
    ----------
    value
        What has ``to_json`` speaks for itself; dataclasses are objects by field, arrays and tensors lists of lists, or
        their shape and element type where they have more than 10,000 elements. Numbers that are not finite are
        strings, and so is everything else.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    match value:
        case float() if not isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | Set():
            return [plain(item) for item in value]
    if not isinstance(value, type):
        if hasattr(value, "to_json"):
            return plain(value.to_json())
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if hasattr(value, "shape") and hasattr(value, "tolist"):  # an array or a tensor, or a scalar of either
            if prod(value.shape) <= ELEMENTS:
                return plain(value.tolist())
            return {"shape": list(value.shape), "dtype": str(getattr(value, "dtype", ""))}
    return str(value)
