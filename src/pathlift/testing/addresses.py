"""Addresses that kernels read and write in the interpreter: those outside of operands are seen even without harm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor


@contextlib.contextmanager
def confined(operands: Iterable[Tensor]) -> Iterator[None]:
    """Refuse accesses, within the context, to what is in none of these contiguous tensors."""
    from triton.runtime.interpreter import interpreter_builder as builder

    spans = [(x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()) for x in operands]

    def watched(name: str, place_of_mask: int) -> Callable[..., Any]:
        method = getattr(builder, name)

        def access(*args: Any, **named: Any) -> Any:
            mask = np.broadcast_to(np.asarray(args[place_of_mask].data).astype(bool), args[0].data.shape)
            addresses = args[0].data[mask]
            inside = np.zeros(addresses.shape, bool)
            for first, end in spans:
                inside |= (addresses >= first) & (addresses < end)
            assert inside.all(), f"{name}: {np.count_nonzero(~inside)} addresses lie outside of all operands"
            return method(*args, **named)

        return access

    with contextlib.ExitStack() as stack:
        for name, place in (("create_masked_load", 1), ("create_masked_store", 2)):
            setattr(builder, name, watched(name, place))
            stack.callback(delattr, builder, name)  # which uncovers the method of the class
        yield
