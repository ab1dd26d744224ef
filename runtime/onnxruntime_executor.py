"""Models in ONNX Runtime: all of its optimizations, and no copy of what goes in and comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pathlift.ir.errors import RuntimeFailureError, UsageError
from pathlift.ir.types import Array
from pathlift.runtime.ports import Port

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {
    "float16": np.float16, "float": np.float32, "double": np.float64, "bool": np.bool_,
    **{f"{sign}int{bits}": getattr(np, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


class OnnxRuntimeExecutor:
    """One ONNX Runtime session.

    Parameters
    ----------
    source
        A file, or its bytes.
    device
        ``cpu`` or ``cuda``.
    threads
        Of one op; all cores by default.

    Raises
    ------
    UsageError
        If ONNX Runtime, or its provider for the device, is not installed.
    RuntimeFailureError
        If it cannot load the model.
    """

    def __init__(self, source: str | bytes, *, device: str = "cpu", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError("0495", "running needs ONNX Runtime", hint="pip install 'pathlift[cpu]'") from error
        kind = device.partition(":")[0]
        provider = PROVIDERS.get(kind)
        if provider is None or provider not in onnxruntime.get_available_providers():
            raise UsageError("0496", f"this ONNX Runtime has no {device!r}", hint="pip install 'pathlift[gpu]'")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=[provider])
        except Exception as error:
            raise RuntimeFailureError("0902", f"ONNX Runtime cannot load the model: {_reason(error)}") from error
        if provider not in self._session.get_providers():  # it falls back to the CPU without a word
            raise UsageError("0496", f"ONNX Runtime cannot use {device!r} here", hint="is a CUDA device visible?")
        self._onnxruntime = onnxruntime
        self.inputs = tuple(map(_port, self._session.get_inputs()))
        self.outputs = tuple(map(_port, self._session.get_outputs()))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays that fit; returns arrays in memory of ONNX Runtime's.

        Raises
        ------
        RuntimeFailureError
            If the model fails on them.
        """
        binding = self._session.io_binding()
        held = {name: np.ascontiguousarray(x) for name, x in feeds.items()}
        for name, x in held.items():
            binding.bind_ortvalue_input(name, self._onnxruntime.OrtValue.ortvalue_from_numpy(x))
        for port in self.outputs:
            binding.bind_output(port.name)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise RuntimeFailureError("0903", f"the model fails on these inputs: {_reason(error)}") from error
        results = binding.get_outputs()
        return {port.name: value.numpy() for port, value in zip(self.outputs, results, strict=True)}


def _port(info: Any) -> Port:
    kind = str(info.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if isinstance(d, int | str) else None for d in info.shape or ())
    return Port(info.name, np.dtype(_TYPES[kind]) if kind in _TYPES else None, shape)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).replace(os.getcwd(), "")
    return text.removeprefix("[ONNXRuntimeError] : ")[:300]
