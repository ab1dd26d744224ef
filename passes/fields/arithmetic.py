"""Products in the precision they are in, whatever the process has set for training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pathlift.ir.errors import UsageError

_lock = threading.Lock()
_inside = 0
_restore: Callable[[], None]


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
    if (torch.full((), 5e-324, dtype=torch.float64, device="cpu") * 1.0).item() == 0:
        hint = "torch.set_flush_denormal(False)"
        raise UsageError("0432", "torch flushes subnormal numbers to zero, and weights with them", hint=hint)
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
    global _inside, _restore
    with _lock:
        if not _inside:
            _restore = _full_precision()
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            _restore()


def _full_precision() -> Callable[[], None]:
    """Set products and convolutions, on every device; return what sets them back."""
    if not hasattr(torch.backends, "fp32_precision"):  # before torch 2.9
        products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False

        def restore_all() -> None:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions

        return restore_all
    b: Any = torch.backends
    places = (b.mkldnn.matmul, b.mkldnn.conv, b.cuda.matmul, b.cudnn.conv)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "ieee"

    def restore() -> None:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision

    return restore
