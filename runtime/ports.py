"""What a session reads and returns, and the check of what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array


class Port(NamedTuple):
    """An input or output.

    Parameters
    ----------
    name
        As in the model.
    dtype
        Element type, as NumPy has it; ``None`` if it is not known, or no number.
    shape
        Extents: numbers, symbols, or ``None``. ``None`` for an unknown rank.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        shape = "…" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or '?'}[{shape}]"


def as_array(value: Any, name: str) -> Array:
    """Return an array or a tensor of any library as a NumPy array, without a copy where its memory can be read.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        if hasattr(value, "detach"):
            value = value.detach()
        if hasattr(value, "cpu"):
            value = value.cpu()
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError):  # bfloat16, for one
            pass
    try:
        array = np.asarray(value)
    except Exception as error:
        raise UsageError("0491", f"input {name!r}: a {type(value).__name__} is no array") from error
    if array.dtype.kind not in "fiub":
        raise UsageError("0491", f"input {name!r}: a {type(value).__name__} is no array of numbers")
    return array


def check_feeds(inputs: Sequence[Port], feeds: Mapping[str, Array]) -> None:
    """Check names, element types and shapes, and that a symbol stands for one number.

    Raises
    ------
    UsageError
        If something does not fit; names the input, what it takes and what it got.
    """
    names = [port.name for port in inputs]
    for name in feeds:
        if name not in names:
            raise UsageError("0492", f"there is no input {name!r}", hint=f"inputs: {', '.join(names)}")
    symbols: dict[str, tuple[int, str]] = {}
    for port in inputs:
        if port.name not in feeds:
            raise UsageError("0405", f"input {port.name!r} is not fed", hint=f"inputs: {', '.join(names)}")
        _check(port, feeds[port.name], symbols)


def _check(port: Port, array: Array, symbols: dict[str, tuple[int, str]]) -> None:
    if port.dtype is not None and array.dtype != port.dtype:
        hint = f"x.astype({port.dtype.name!r}) converts it"
        raise UsageError("0493", f"input {port.name!r} takes {port}, got {array.dtype}", hint=hint)
    if port.shape is None:
        return
    got = list(array.shape)
    if len(port.shape) != array.ndim:
        raise UsageError("0494", f"input {port.name!r} takes {port}, got {got}: {array.ndim} axes")
    for axis, (expected, n) in enumerate(zip(port.shape, array.shape, strict=True)):
        if isinstance(expected, int) and expected != n:
            raise UsageError("0494", f"input {port.name!r} takes {port}, got {got}: axis {axis} is {n}")
        if isinstance(expected, str):
            known, where = symbols.setdefault(expected, (n, port.name))
            if known != n:
                raise UsageError(
                    "0494", f"input {port.name!r} takes {port}, got {got}: {expected} is {known} in {where!r}"
                )
