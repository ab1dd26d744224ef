"""Products in the precision they are in, whatever the process has set for training."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pathlift.ir.errors import UsageError

_lock = threading.Lock()
_inside = 0
_before = ""


@contextmanager
def exact_arithmetic(device: torch.device, dtype: torch.dtype, *, gradients: bool = False) -> Iterator[None]:
    """Compute without reduced precision, autocast or inference mode within the block.

    Parameters
    ----------
    device, dtype
        Of what is computed.
    gradients
        Whether autograd records.

    Raises
    ------
    UsageError
        If the process has settings that cannot be put aside.
    """
    if (torch.full((), 5e-324, dtype=torch.float64) * 1.0).item() == 0:
        hint = "torch.set_flush_denormal(False)"
        raise UsageError("0431", "torch flushes subnormal numbers to zero, and weights with them", hint=hint)
    narrow = dtype == torch.float32
    if narrow:
        _enter()
    try:
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(gradients),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        if narrow:
            _leave()


def _enter() -> None:
    """Set float32 products to full precision; the first of several threads to come remembers what was before."""
    global _inside, _before
    with _lock:
        if not _inside:
            try:
                _before = torch.get_float32_matmul_precision()
            except RuntimeError:
                message = "torch.backends sets another precision for float32 products"
                raise UsageError("0430", message, hint="dtype float64, or fp32_precision = 'ieee'") from None
            torch.set_float32_matmul_precision("highest")
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            torch.set_float32_matmul_precision(_before)
