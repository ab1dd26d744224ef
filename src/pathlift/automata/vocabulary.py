"""Vocabularies: the bytes that each token stands for, out of a list of strings or a tokenizer's file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pathlift.ir.errors import UsageError

_HINT = "a list of strings by id, or a tokenizer.json"
_LIMIT = 2**24  # tokens
_SPACE = "\u2581"  # what SentencePiece writes for a space


@dataclass(frozen=True)
class Vocabulary:
    """Tokens as bytes.

    Parameters
    ----------
    tokens
        By id; None for those that are no text, which are in no string.
    strip
        Whether the tokenizer takes a space off the start of a string.
    said
        How tokens were read, one sentence each, where that is not as they are written.
    """

    tokens: tuple[bytes | None, ...]
    strip: bool = False
    said: tuple[str, ...] = ()

    def shown(self, token: int) -> str:
        """Return a token as text; what is no UTF-8 as its bytes."""
        text = self.tokens[token]
        return f"<{token}>" if text is None else text.decode("utf-8", "backslashreplace")

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens in a row, without those that are none."""
        found = b"".join(self.tokens[t] or b"" for t in tokens).decode("utf-8", "backslashreplace")
        return found.removeprefix(" ") if self.strip else found

    def without(self, special: Sequence[int | None]) -> Vocabulary:
        """Return a vocabulary in which tokens are no text: those that begin, end or hide."""
        gone = {t for t in special if t is not None}
        return Vocabulary(tuple(None if i in gone else t for i, t in enumerate(self.tokens)), self.strip, self.said)


def read_vocabulary(source: Any) -> Vocabulary:
    """Return the vocabulary of a file, or of what it would hold.

    Parameters
    ----------
    source
        A path; or a list of strings by id (null or empty: no text), ids by string, or a ``tokenizer.json``, as an
        object. Of the latter, BPE, WordPiece and Unigram are read; byte-level vocabularies are decoded to bytes.

    Raises
    ------
    UsageError
        If it cannot be read, or is no vocabulary.
    """
    if isinstance(source, str | os.PathLike):
        source = _from_file(source)
    if isinstance(source, Mapping) and isinstance(source.get("model"), Mapping):
        return _of_tokenizer(source)
    pieces = _by_id(source)
    if _is_byte_level(pieces):
        return Vocabulary(_bytes_of(pieces), said=("the vocabulary is byte-level: tokens are decoded to bytes",))
    return Vocabulary(tuple(_encoded(p) if p else None for p in pieces))


def _from_file(path: str | os.PathLike[str]) -> Any:
    shown = repr(os.fspath(path))
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise UsageError("0470", f"there is no file {shown}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("1583", f"the vocabulary cannot be read from {shown}: {error}", hint=_HINT) from error


def _by_id(source: Any) -> list[str | None]:
    """Strings by id, of a list or of ids by string; also Unigram's pairs of a string and its score."""
    if isinstance(source, Mapping):
        ids = source.values()
        if not source or not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < _LIMIT for i in ids):
            raise UsageError("1583", "the vocabulary is an object whose values are no ids", hint=_HINT)
        found: list[str | None] = [None] * (max(ids) + 1)
        for text, i in source.items():
            if found[i] is not None:
                raise UsageError(
                    "1583", f"the vocabulary has two tokens of id {i}: {found[i]!r} and {text!r}", hint=_HINT
                )
            found[i] = text
        return found
    if not isinstance(source, Sequence) or isinstance(source, str | bytes) or not source:
        raise UsageError("1583", "the vocabulary is neither a list nor an object", hint=_HINT)
    found = [p[0] if isinstance(p, Sequence) and not isinstance(p, str) and len(p) == 2 else p for p in source]
    for i, piece in enumerate(found):
        if piece is not None and not isinstance(piece, str):
            raise UsageError(
                "1583", f"token {i} of the vocabulary is a {type(piece).__name__}, not a string", hint=_HINT
            )
    return found


def _of_tokenizer(file: Mapping[str, Any]) -> Vocabulary:
    model = file["model"]
    pieces = _by_id(model.get("vocab"))
    special: set[int] = set()
    literal: dict[int, str] = {}
    for added in file.get("added_tokens") or []:
        if not isinstance(added, Mapping) or not isinstance(added.get("id"), int) or not 0 <= added["id"] < _LIMIT:
            raise UsageError("1583", "the vocabulary's added tokens have no ids", hint=_HINT)
        pieces += [None] * (added["id"] + 1 - len(pieces))
        if added.get("special"):
            special.add(added["id"])
        elif isinstance(added.get("content"), str):
            literal[added["id"]] = added["content"]
    kinds = _kinds(file.get("decoder")) | _kinds(file.get("pre_tokenizer"))
    said: list[str] = []
    strip = False
    if "ByteLevel" in kinds or _is_byte_level(pieces):
        tokens = _bytes_of(pieces)
        said.append("the vocabulary is byte-level: tokens are decoded to bytes")
    elif model.get("type") == "WordPiece" or "WordPiece" in kinds:
        mark = model.get("continuing_subword_prefix") or "##"
        words = (None if not p else p.removeprefix(mark) if p.startswith(mark) else f" {p}" for p in pieces)
        tokens, strip = tuple(_encoded(w) if w else None for w in words), True
        said.append(f"the vocabulary is of WordPiece: a space stands before tokens without {mark}, but the first")
    else:
        tokens = tuple(_encoded(p.replace(_SPACE, " ")) if p else None for p in pieces)
        if any(p and _SPACE in p for p in pieces):
            strip = "Metaspace" in kinds or "Strip" in kinds or "Prepend" in _kinds(file.get("normalizer"))
            said.append(
                f"{_SPACE} in the vocabulary is a space" + (", which the start of a string is without" if strip else "")
            )
        if model.get("byte_fallback") or "ByteFallback" in kinds:
            single = [re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", p or "") for p in pieces]
            tokens = tuple(bytes([int(m[1], 16)]) if m else t for m, t in zip(single, tokens, strict=True))
            said.append("tokens <0x…> of the vocabulary are bytes")
    marked = (None if i in special else _encoded(literal[i]) if i in literal else t for i, t in enumerate(tokens))
    return Vocabulary(tuple(marked), strip, tuple(said))


def _kinds(part: Any) -> set[str]:
    """The types of a tokenizer's component and of those that it is a sequence of."""
    if not isinstance(part, Mapping):
        return set()
    inner = [x for key in ("decoders", "pretokenizers", "normalizers") for x in part.get(key) or []]
    return {str(part.get("type"))}.union(*map(_kinds, inner))


def _alphabet() -> dict[str, int]:
    """The characters that byte-level vocabularies write for bytes (GPT-2): printable ones for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


ALPHABET = _alphabet()


def _is_byte_level(pieces: Sequence[str | None]) -> bool:
    """Whether a space is written as byte-level vocabularies do, and, in at least 99 of 100 tokens, all else is, too.

    Their tokens for what is no text may have spaces.
    """
    texts = [p for p in pieces if p]
    odd = sum(not set(p) <= ALPHABET.keys() for p in texts)
    return odd * 100 <= len(texts) and any(ord(c) >= 0x100 and c in ALPHABET for p in texts for c in p)


def _bytes_of(pieces: Sequence[str | None]) -> tuple[bytes | None, ...]:
    return tuple(bytes(ALPHABET[c] for c in p) if p and set(p) <= ALPHABET.keys() else None for p in pieces)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
