"""Docstrings as help: what a NumPy docstring says of each parameter, in one sentence."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

_HEADER = re.compile(r"^(\S.*)\n-{3,}$", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*)((?:\n(?:[ ].*)?)*)", re.MULTILINE)
# A sentence ends where the next one starts; "3.5" and "a.onnx" end none.
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z‖`])")


def summary(docstring: str | None) -> str:
    """Return a docstring's first line; empty if there is none."""
    return next(iter(inspect.cleandoc(docstring or "").splitlines()), "")


def description(docstring: str | None) -> str:
    """Return a docstring up to its first section, without the marks around code."""
    return _HEADER.split(inspect.cleandoc(docstring or ""))[0].strip().replace("`", "")


def parameter_help(docstring: str | None) -> Mapping[str, str]:
    """Return the first sentence about each parameter, without the marks around code.

    Parameters
    ----------
    docstring
        In NumPy style: its sections *Parameters* and *Attributes* are read. Names with commas between them share a
        text.
    """
    _, *parts = _HEADER.split(inspect.cleandoc(docstring or ""))
    return {
        name.strip(" *"): _SENTENCE.split(" ".join(text.split()))[0].replace("`", "")
        for title, body in zip(parts[::2], parts[1::2], strict=True)
        if title in ("Parameters", "Attributes")
        for names, text in _ENTRY.findall(body)
        for name in names.partition(" : ")[0].split(",")
    }
