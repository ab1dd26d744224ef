"""Models in ONNX Runtime."""

from __future__ import annotations

from typing import Any


def onnxruntime_session(source: str | bytes) -> Any:
    """Open a model in ONNX Runtime as it is written: one thread, no graph optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
