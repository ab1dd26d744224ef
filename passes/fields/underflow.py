"""What becomes of terms too small for the format: rounded down, or up, as the caller asks, and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch


@dataclass
class Underflow:
    """How values too small for their channel's exponent are rounded, and whether there were any."""

    up: bool
    happened: bool = False


_UNDERFLOW: ContextVar[Underflow] = ContextVar("underflow")


@contextmanager
def underflow(*, up: bool) -> Iterator[Underflow]:
    """Round what underflows up (or down to zero) within the block, and record whether anything did."""
    record = Underflow(up)
    token = _UNDERFLOW.set(record)
    try:
        yield record
    finally:
        _UNDERFLOW.reset(token)


def floored(values: torch.Tensor, small: torch.Tensor, least: float) -> torch.Tensor:
    """Round `values` up to `least`, or down to zero, where `small`."""
    if not bool(small.any()):
        return values
    return torch.where(small, least if rounded_up() else 0.0, values)


def rounded_up() -> bool:
    """Record that a value is not accurate where it matters, and return whether it is to be rounded up."""
    record = _UNDERFLOW.get(None) or Underflow(up=True)
    record.happened = True
    return record.up
