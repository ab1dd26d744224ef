"""Architectures, and the cards that schedules are chosen for."""

from __future__ import annotations

import pytest

from pathlift.codegen.architectures import CARDS, architecture, card_of
from pathlift.ir.errors import UsageError


@pytest.mark.parametrize(
    ("arch", "device", "card"),
    [
        ("sm_90", "", "h100"),
        ("sm_80", "", "a100"),
        ("sm_90", "h200", "h200"),
        ("sm_90", "a100", "a100"),
        ("sm_120", "h100", "h100"),
    ],
)
def test_cards(arch: str, device: str, card: str) -> None:
    assert card_of(arch, device).name == card


@pytest.mark.parametrize(
    ("arch", "device", "code"),
    [
        ("sm_75", "", "PL1442"),
        ("sm_120", "", "PL1445"),
        ("sm_80", "h100", "PL1445"),
        ("sm_90", "cpu", "PL1437"),
    ],
)
def test_no_card(arch: str, device: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        card_of(arch, device)
    assert caught.value.code == code


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_the_shared_memory_of_its_architecture(name: str) -> None:
    assert CARDS[name].shared_memory == architecture(CARDS[name].arch).shared
    assert CARDS[name].capability == architecture(CARDS[name].arch).capability
