"""Names and strings in the text form: bare where they are plain, else quoted, control characters always escaped."""

from __future__ import annotations

import re

PLAIN = re.compile(r"[A-Za-z0-9_./:-]+")
"""What may stand without quotes: ONNX's usual names (``gpu_0/conv1:0``)."""
SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A symbolic dimension that may stand without quotes."""
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPE = re.compile(r'\\(?:(["\\nrt])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)')


def quote(text: str) -> str:
    r"""Return `text` in double quotes; what is not printable is escaped: ``\n``, ``\x1b``, ``\u202e``."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in text) + '"'


def _escape(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unquote(text: str) -> str:
    """Return what `quote` was given.

    Raises
    ------
    ValueError
        If an escape is unknown.
    """
    return _ESCAPE.sub(_unescape, text[1:-1]) if "\\" in text else text[1:-1]


def _unescape(match: re.Match[str]) -> str:
    plain, *codes = match.groups()
    if plain:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(plain, plain)
    code = next((c for c in codes if c), None)
    if code is None:
        raise ValueError("unknown escape")
    return chr(int(code, 16))


def plain(text: str, pattern: re.Pattern[str] = PLAIN) -> str:
    """Return `text` as it is if it matches `pattern`, else quoted."""
    return text if pattern.fullmatch(text) else quote(text)
