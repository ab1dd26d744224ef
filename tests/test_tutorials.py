"""Tutorials say what happens: their blocks run, one after another, and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "least"), [("tutorial_pass.md", 11), ("search.md", 7)])
def test_blocks_print_what_is_shown(page: str, least: int) -> None:
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    printed = None
    blocks = _BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    for number, (kind, text) in enumerate(blocks):
        if kind == "text":
            assert printed == text, f"block {number} prints\n{printed}"
            printed = None
            continue
        assert not printed, f"what block {number - 1} prints is not shown:\n{printed}"
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            exec(compile(text, f"block {number}", "exec", dont_inherit=True), namespace)
        printed = stdout.getvalue()
