"""The page of networks: its summary follows from its rows, and its rows from the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_page", DOCS / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text() -> str:
    return (DOCS / "coverage.md").read_text(encoding="utf-8")


def test_summary_follows_from_the_rows(coverage: ModuleType, text: str) -> None:
    assert coverage.page(coverage.read_rows(text)) == text


def test_all_of_torchvision_is_there(text: str) -> None:
    assert re.search(r"\*\*torchvision, all\*\* \| 121 \|", text)


@pytest.mark.parametrize(
    "name", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("maxmin_mlp", "gpt2_tiny"))]
)
def test_rows_are_current(coverage: ModuleType, text: str, name: str) -> None:
    (network,) = (network for network in coverage.zoo_networks() if network.name == name)
    assert coverage.read_rows(text)[network.section, name] == coverage.row(network)
