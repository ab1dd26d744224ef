"""Graphics cards as generated kernels see them: the one that a tensor is on, and whether kernels run there."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
from typing import Any

import torch

from pathlift.codegen.architectures import CARDS
from pathlift.codegen.schedule import ITEMSIZE
from pathlift.ir.cost import GraphicsCard
from pathlift.ir.errors import UsageError

OLDEST = (8, 0)
"""The compute capability from which on kernels are generated."""
_SCALED = ("flops", "half_flops", "tf32_flops", "bandwidth", "cache_bandwidth")


@functools.cache
def interpreting() -> bool:
    """Whether Triton interprets kernels, on CPU tensors: ``TRITON_INTERPRET=1`` at the first use."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def usable(x: torch.Tensor) -> bool:
    """Whether generated kernels take a tensor: see `obstacle`."""
    return not obstacle(x.device, x.dtype)


def obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Return why generated kernels do not take such tensors; empty if they do.

    They take float32, float16 and bfloat16 on CUDA devices of compute capability 8.0 and above, where Triton is
    installed; where it interprets, they take the first two on the CPU.
    """
    name = dtype_name(dtype)
    if name not in ITEMSIZE:
        return f"kernels do not compute in {name}"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if interpreting():
        if device.type != "cpu":
            return "Triton interprets kernels on the CPU only"
        return "Triton's interpreter is wrong about bfloat16" if name == "bfloat16" else ""
    if device.type != "cuda":
        return f"there are no kernels for {device.type}"
    return _too_old(_properties(device))


def card(device: torch.device, dtype: torch.dtype = torch.float32) -> GraphicsCard:
    """Return a device's roofline, for tensors of some type there.

    Cards that `pathlift.ir.cost.DEVICES` holds are known by name. Others, and slices of those, are guessed: the
    nearest known one of their generation, scaled by the number of multiprocessors.

    Raises
    ------
    UsageError
        If generated kernels do not take such tensors.
    """
    if reason := obstacle(device, dtype):
        hint = "layers run as plain torch operations there; or name another device: cpu, cuda"
        raise UsageError("1447", f"generated kernels do not run on {device}: {reason}", hint=hint)
    return _interpreter() if interpreting() else _scaled(_properties(device))


def dtype_name(dtype: torch.dtype) -> str:
    """Return a type's name without torch's."""
    return str(dtype).removeprefix("torch.")


def _properties(device: torch.device) -> Any:
    """What torch says of a device; ``cuda`` is the current one."""
    return torch.cuda.get_device_properties(torch.cuda.current_device() if device.index is None else device.index)


def _too_old(properties: Any) -> str:
    if torch.version.hip is not None:
        return "kernels are generated for NVIDIA's cards"
    found = properties.major, properties.minor
    return "" if found >= OLDEST else f"compute capability {found[0]}.{found[1]} is below {OLDEST[0]}.{OLDEST[1]}"


def _scaled(properties: Any) -> GraphicsCard:
    known = re.search(r"\b(h100|h200|a100)\b", properties.name.lower())
    like = CARDS[known[1] if known else "h100" if properties.major >= 9 else "a100"]
    share = properties.multi_processor_count / like.multiprocessors  # below 1 for slices of a card, and smaller ones
    shared = getattr(properties, "shared_memory_per_block_optin", like.shared_memory)
    arch = f"sm_{properties.major}{properties.minor}"
    if known and share == 1 and shared == like.shared_memory:
        return like
    return dataclasses.replace(
        like,
        name=properties.name,
        arch=arch,
        multiprocessors=properties.multi_processor_count,
        shared_memory=shared,
        **{name: getattr(like, name) * share for name in _SCALED},
    )


@functools.cache
def _interpreter() -> GraphicsCard:
    """A card of one multiprocessor, which is not filled by many programs: the interpreter runs one after another."""
    return dataclasses.replace(CARDS["a100"], name="interpreter", multiprocessors=1)
