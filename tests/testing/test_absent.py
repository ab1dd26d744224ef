"""Tests that lack an optional package: which failures are skipped."""

from __future__ import annotations

import pytest

from pathlift.testing import absent


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("E   ModuleNotFoundError: No module named 'torch'", "needs torch"),
        ("No module named 'torch.nn'", "needs torch"),
        ("PL1415 this needs torch, which is not installed hint: pip install 'pathlift[torch]'", "needs torch"),
        ("No module named 'torchvision'", ""),
        ("No module named 'pandas'", ""),
        ("assert 1 == 2", ""),
    ],
)
def test_reasons(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "ABSENT", absent.pattern(["onnxscript", "torch"]))
    assert absent.reason(text) == why


def test_nothing_is_skipped_where_nothing_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "ABSENT", absent.pattern([]))
    assert not absent.reason("No module named 'torch'")
    assert not absent.reason("")
