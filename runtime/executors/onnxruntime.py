"""Models in ONNX Runtime: all of its optimizations, and no copy of what goes in and comes out."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.foreign import loading, running
from pathlift.ir.types import Array, named
from pathlift.runtime.ports import BFLOAT16, Port, as_numpy

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("f2"), "float": np.dtype("f4"), "double": np.dtype("f8"), "bfloat16": BFLOAT16,
    **{name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
}  # fmt: skip
_BFLOAT16 = 16  # ONNX's number


class OnnxRuntimeExecutor:
    """One ONNX Runtime session.

    Parameters
    ----------
    source
        A file, or its bytes.
    device
        ``cpu``, ``cuda``, ``cuda:1`` ….
    threads
        Of one op; all cores by default.

    Raises
    ------
    UsageError
        If ONNX Runtime, or its provider for the device, is not installed.
    PathliftError
        If it cannot load the model.
    """

    remarks: tuple[str, ...] = ()

    def __init__(self, source: str | bytes, *, device: str = "cpu", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError("0495", "running needs ONNX Runtime", hint="pip install 'pathlift[cpu]'") from error
        matched = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", device)
        provider = _PROVIDERS[matched[1]] if matched else None
        if matched is None or provider not in onnxruntime.get_available_providers():
            raise UsageError("0496", f"this ONNX Runtime has no {device!r}", hint="pip install 'pathlift[gpu]'")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.force_spinning_stop", "1")  # else they slow down what comes next
        if threads is not None:
            options.intra_op_num_threads = threads
        settings = {"device_id": int(matched[2] or 0)} if matched[1] == "cuda" else {}
        with loading():
            self._session = onnxruntime.InferenceSession(source, options, providers=[(provider, settings)])
        if provider not in self._session.get_providers():  # it falls back to the CPU without a word
            raise UsageError("0496", f"ONNX Runtime cannot use {device!r} here", hint="is a CUDA device visible?")
        self._values = onnxruntime.OrtValue
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))
        # Sequences and maps come as Python's own.
        self._others = any(not info.type.startswith("tensor(") for info in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """Run on arrays or tensors that fit; returns arrays in memory of ONNX Runtime's.

        Raises
        ------
        PathliftError
            If the model fails on them.
        """
        held = {name: np.asarray(as_numpy(x), order="C") for name, x in feeds.items()}
        ports = {port.name: port for port in self.outputs}  # a name may be listed twice: it is one value
        with running():
            if self._others:
                return dict(zip((port.name for port in self.outputs), self._session.run(None, held), strict=True))
            binding = self._session.io_binding()
            for name, x in held.items():
                binding.bind_ortvalue_input(name, self._value(x))
            for name in ports:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
        return dict(zip(ports, map(_array, binding.get_outputs()), strict=True))

    def _value(self, x: Array) -> Any:
        if x.dtype == BFLOAT16:
            return self._values.ortvalue_from_numpy_with_onnx_type(x.view(np.uint16), _BFLOAT16)
        return self._values.ortvalue_from_numpy(x)


def _array(value: Any) -> Array:
    """View a value's memory; `OrtValue.numpy` copies it in some versions, and does not know bfloat16."""
    dtype, shape = _TYPES.get(_element(value.data_type())), tuple(value.shape())
    if dtype is None or not prod(shape):
        array: Array = np.empty(shape, dtype) if dtype is not None else value.numpy()
        return array
    buffer = (ctypes.c_char * (prod(shape) * dtype.itemsize)).from_address(value.data_ptr())
    buffer.owner = value  # lives as long as the array
    return np.frombuffer(buffer, dtype).reshape(shape)


def _port(info: Any) -> Port:
    shape = tuple(named(d) if isinstance(d, int | str) else None for d in info.shape or ())
    return Port(info.name, _TYPES.get(_element(info.type)), shape)


def _element(kind: str) -> str:
    return kind.removeprefix("tensor(").removesuffix(")")
