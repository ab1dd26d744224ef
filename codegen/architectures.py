"""Architectures of NVIDIA's graphics cards that kernels are compiled for."""

from __future__ import annotations

from dataclasses import dataclass

from pathlift.ir.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """What a kernel may use on a multiprocessor.

    Parameters
    ----------
    name
        As compilers spell it. Kernels are compiled for the variant with all of an architecture's own instructions,
        ``sm_90a`` for ``sm_90``, which Triton sees to.
    capability
        Its compute capability, 90 for 9.0.
    shared
        Bytes of shared memory that one block of threads may use at most (CUDA C++ Programming Guide, "Technical
        Specifications per Compute Capability": 163, 99 and 227 KiB).
    """

    name: str
    capability: int
    shared: int


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("sm_80", 80, 166_912),
        Architecture("sm_86", 86, 101_376),
        Architecture("sm_89", 89, 101_376),
        Architecture("sm_90", 90, 232_448),
        Architecture("sm_100", 100, 232_448),
        Architecture("sm_120", 120, 101_376),
    )
}
"""Architectures by name: Ampere, its consumer cards, Ada, Hopper, Blackwell, and its consumer cards."""


def architecture(name: str) -> Architecture:
    """Return an architecture.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UsageError("1442", f"there is no architecture {name!r}", hint=", ".join(ARCHITECTURES)) from None
