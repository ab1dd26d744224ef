"""Architectures that kernels are compiled for, and the graphics cards that their schedules are chosen for."""

from __future__ import annotations

from dataclasses import dataclass

from pathlift.ir.cost import DEVICES, GraphicsCard
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
CARDS = {name: card for name, card in DEVICES.items() if isinstance(card, GraphicsCard)}
"""Graphics cards by name, among the devices that costs are predicted for."""


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


def card_named(name: str) -> GraphicsCard:
    """Return a graphics card by name.

    Raises
    ------
    UsageError
        If there is none.
    """
    try:
        return CARDS[name]
    except KeyError:
        hint = ", ".join(CARDS)
        raise UsageError("1437", f"{name!r} is no graphics card that kernels are chosen for", hint=hint) from None


def card_of(arch: str, device: str = "") -> GraphicsCard:
    """Return the card that schedules are chosen for.

    Parameters
    ----------
    arch
        What is compiled for.
    device
        A card's name; by default the first one of this architecture.

    Raises
    ------
    UsageError
        If there is no such architecture; no such card, or none of this architecture; or the card is a newer one.
    """
    target = architecture(arch)
    name = device or next((card.name for card in CARDS.values() if card.arch == arch), "")
    why = "none of this architecture is known"
    if name:
        card = card_named(name)
        if card.capability <= target.capability:
            return card
        why = f"{name} is one of {card.arch}, which has other instructions"
    hint = "device=a100 for example, a card whose architecture is no newer"
    raise UsageError("1445", f"no graphics card to choose kernels of {arch} for: {why}", hint=hint)
