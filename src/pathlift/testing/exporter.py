"""Torch's exporter, made quick for tests: its table of translations is made once."""

from __future__ import annotations

import functools
from typing import Any

import torch

_export = torch.onnx.export


@functools.cache
def _keep_torchlib() -> None:
    """Let the table be made at the first export alone: at every export anew, it is two thirds of the time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    make = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(*arguments: Any, **named: Any) -> ONNXRegistry:
        known = make(*arguments, **named)
        copy = ONNXRegistry()
        copy.__dict__.update(known.__dict__, functions={op: [*found] for op, found in known.functions.items()})
        return copy

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[method-assign]  # its own name


@functools.wraps(_export)
def _export_quickly(*arguments: Any, **named: Any) -> Any:
    _keep_torchlib()
    return _export(*arguments, **named)


def keep_translations() -> None:
    """Let all exports of this process share one table."""
    torch.onnx.export = _export_quickly
