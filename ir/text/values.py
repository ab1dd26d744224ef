"""Values of parameters: in the text, as numbers or bytes, in a file that it names, or from the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.text.cursor import Cursor
from pathlift.ir.text.literals import read_array
from pathlift.ir.text.raw import from_raw, raw_size
from pathlift.ir.types import Array, Param, TensorType

Fill = Callable[[str, TensorType], Array]
Stored = Callable[[str, TensorType, str, int], Param]


@dataclass(frozen=True)
class Values:
    """Where values come from that a text does not hold.

    Parameters
    ----------
    params, fill, stored
        As `parse_graph` takes them.
    """

    params: Mapping[str, Param | Array]
    fill: Fill | None
    stored: Stored | None

    def read(self, cursor: Cursor, name: str, said: Mapping[str, Any], declared: TensorType, start: int) -> Param:
        """Return the tensor that the attributes of a line, at `start`, say.

        Raises
        ------
        TextError
            If they say none of the declared type, or it cannot be had.
        """
        if "value" in said:
            return _literal(cursor, said["value"], declared, start)
        if not said:
            return self._given(cursor, name, declared, start)
        if declared.dtype is None or declared.dtype == np.dtype(object) or not _is_static(declared):
            raise cursor.error("0604", f"the type of {name!r} does not say how many bytes it takes", start)
        if "data" in said:
            return _raw(cursor, said["data"], declared, start)
        if self.stored is None or "file" not in said:
            what = "refers to a file" if "file" in said else "has an offset and no file"
            hint = "pathlift.load(path) reads it with its files"
            raise cursor.error("0605", f"the text {what} for {name!r}", start, hint=hint)
        return self.stored(name, declared, said["file"], said.get("offset", 0))

    def _given(self, cursor: Cursor, name: str, declared: TensorType, start: int) -> Param:
        value = self.params.get(name)
        if value is None and self.fill is not None:
            value = self.fill(name, declared)
        if value is None:
            hint = f"pass params={{{name!r}: array}}, or fill; a .plir file has all of them"
            raise cursor.error("0605", f"the text has no values for {name!r}", start, hint=hint)
        return value if isinstance(value, Param) else Param.of(np.asarray(value))


def _literal(cursor: Cursor, literal: Any, declared: TensorType, start: int) -> Param:
    try:
        array = read_array(literal, declared.dtype, declared.shape if _is_static(declared) else None)  # type: ignore[arg-type]
    except ValueError as error:
        raise cursor.error("0604", f"the values are not those of a parameter: {error}", start) from None
    return Param.of(array)


def _raw(cursor: Cursor, data: Any, declared: TensorType, start: int) -> Param:
    dtype: Any = declared.dtype
    shape: Any = declared.shape
    needed = raw_size(dtype, shape)
    if not isinstance(data, bytes) or len(data) != needed:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else f"of type {type(data).__name__}"
        raise cursor.error("0604", f"the data is {found}, and {declared} takes {needed} bytes", start)
    return Param.of(from_raw(data, dtype, shape))


def _is_static(type_: TensorType) -> bool:
    return type_.shape is not None and all(isinstance(d, int) for d in type_.shape)


def fits(actual: TensorType, declared: TensorType) -> bool:
    """Whether a tensor is of the type that its line declares, as far as it does."""
    if declared.dtype not in (None, actual.dtype):
        return False
    if declared.shape is None or actual.shape is None:
        return True
    return len(actual.shape) == len(declared.shape) and all(
        a == d or not isinstance(d, int) for a, d in zip(actual.shape, declared.shape, strict=True)
    )
