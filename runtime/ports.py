"""Ports of a session: what it reads and returns, and the check of what it is given."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_CPU = 1  # DLPack's number


class Port(NamedTuple):
    """An input or output.

    Parameters
    ----------
    name
        As in the model.
    dtype
        Element type, as NumPy or ``ml_dtypes`` has it; ``None`` if it is not known, or no number.
    shape
        Extents: numbers, symbols, or ``None``. ``None`` for an unknown rank.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        shape = "…" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or '?'}[{shape}]"


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor."""
    torch = sys.modules.get("torch")  # where nobody imported it, there are none
    return torch is not None and isinstance(value, torch.Tensor)


def as_feed(value: Any, name: str) -> Any:
    """Return what a session is given as a plain NumPy array or a dense torch tensor.

    Neither arrays, tensors nor DLPack are copied, but for arrays in another byte order, and views that conjugate or
    negate what they look at.

    Raises
    ------
    UsageError
        If it is no dense array.
    """
    message = f"input {name!r}: a {type(value).__name__} is no array of numbers"
    if isinstance(value, np.ma.MaskedArray):
        raise UsageError("1421", f"input {name!r}: a masked array has elements without a value", hint="fill them")
    if isinstance(value, np.ndarray):  # of a subclass, perhaps, whose operators mean something else
        return np.asarray(value, value.dtype.newbyteorder("="))
    try:
        if is_tensor(value):
            return _dense(value, name)
        if hasattr(value, "__dlpack__"):
            return _from_dlpack(value)
        array = np.asarray(value)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError("0491", message) from error
    if array.dtype.kind not in "fiub":
        raise UsageError("0491", message)
    return array


def _dense(tensor: Any, name: str) -> Any:
    """A tensor without its history, whose elements lie in memory as they are."""
    layout = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    if layout != "strided" or tensor.device.type == "meta":
        kind = "without data" if tensor.device.type == "meta" else f"of layout {layout}"
        raise UsageError("1422", f"input {name!r}: a tensor {kind}", hint="give a dense one")
    np.dtype(_name(tensor))
    return tensor.detach().resolve_conj().resolve_neg()


def as_numpy(x: Any) -> Array:
    """Return a tensor as a NumPy array, without a copy if it is on the CPU; arrays stay as they are."""
    if is_tensor(x):
        import torch

        x = x.detach().cpu()
        x = x.view(torch.int16).numpy().view(BFLOAT16) if x.dtype == torch.bfloat16 else x.numpy()
    array: Array = x
    return array


def as_tensor(y: Any) -> Any:
    """Return a NumPy array as a tensor in the same memory; tensors, and arrays of text, stay as they are."""
    if is_tensor(y) or (y.dtype.kind not in "fiub" and y.dtype != BFLOAT16):
        return y
    import torch

    return torch.from_numpy(y.view(np.int16)).view(torch.bfloat16) if y.dtype == BFLOAT16 else torch.from_numpy(y)


def check_feeds(inputs: Sequence[Port], feeds: Mapping[str, Any]) -> None:
    """Check names, element types and shapes, and that a symbol stands for one number.

    Raises
    ------
    UsageError
        If something does not fit; names the input, what it takes and what it got.
    """
    names = [port.name for port in inputs]
    for name in feeds:
        if name not in names:
            raise UsageError("0416", f"there is no input {name!r}", hint=f"inputs: {', '.join(names)}")
    symbols: dict[str, tuple[int, str]] = {}
    for port in inputs:
        if port.name not in feeds:
            raise UsageError("0405", f"input {port.name!r} is not fed", hint=f"inputs: {', '.join(names)}")
        _check(port, feeds[port.name], symbols)


def _check(port: Port, x: Any, symbols: dict[str, tuple[int, str]]) -> None:
    dtype = np.dtype(_name(x)) if is_tensor(x) else x.dtype
    if port.dtype is not None and dtype != port.dtype:
        hint = f"convert it to {port.dtype.name}"
        raise UsageError("0417", f"input {port.name!r} takes {port}, got {dtype}", hint=hint)
    if port.shape is None:
        return
    got = list(x.shape)
    message, hint = f"input {port.name!r} takes {port}, got {got}", "every symbol stands for one number"
    if len(port.shape) != len(got):
        raise UsageError("0418", f"{message}: {len(got)} axes", hint=f"{len(port.shape)} axes are needed")
    for axis, (expected, n) in enumerate(zip(port.shape, got, strict=True)):
        if isinstance(expected, int) and expected != n:
            raise UsageError("0418", f"{message}: axis {axis} is {n}", hint=f"it must be {expected}")
        if isinstance(expected, str):
            known, where = symbols.setdefault(expected, (n, port.name))
            if known != n:
                raise UsageError("0418", f"{message}: {expected} is {known} in {where!r}", hint=hint)


def _name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _from_dlpack(value: Any) -> Any:
    if value.__dlpack_device__()[0] == _CPU:
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError):  # NumPy does not know bfloat16
            pass
    from torch.utils.dlpack import from_dlpack

    return from_dlpack(value)
