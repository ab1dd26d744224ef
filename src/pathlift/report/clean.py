"""Text that a model's author cannot steer: names without whatever moves cursors, reorders text or breaks lines."""

from __future__ import annotations

import re
from typing import Any

# Whole escape sequences go, not only the ESC that introduces them: the rest would be left as litter.
SEQUENCES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)")
_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# The other control characters, and the marks that reorder the text around them.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def sanitize(text: str) -> str:
    """Return `text` as one line that cannot move a cursor, change a colour, forge a line or fail to encode."""
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _BREAKS.sub(" ", SEQUENCES.sub("", text))))


def clean(value: Any) -> Any:
    """Return a JSON value with every string in it sanitized, keys included."""
    match value:
        case str():
            return sanitize(value)
        case dict():
            return {sanitize(key): clean(item) for key, item in value.items()}
        case list() | tuple():
            return [clean(item) for item in value]
        case _:
            return value
