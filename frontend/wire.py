"""Protobuf's wire format, as far as it takes to write a message in parts, and to find the parts of one.

A message is its fields one after the other, in any order, and a message of some of them followed by one of the others
is the message of all. So what is small is serialized by the library and what is large is appended to it; only the
length of a field has to be known before its bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

DELIMITED = 2
"""The kind of fields that hold bytes, a string or a message."""
_VARINT, _FIXED = 0, {1: 8, 5: 4}  # the other kinds, and their bytes
Chunk = bytes | memoryview


@dataclass(frozen=True)
class MessagePart:
    """Bytes that do not exist before they are written.

    Parameters
    ----------
    length
        How many there are.
    chunks
        Makes them, a few at a time; each chunk is valid until the next one is asked for. Write them by
        `io.IOBase.writelines`, which holds no chunk longer than that.
    """

    length: int
    chunks: Callable[[], Iterable[Chunk]]


def part(data: Chunk) -> MessagePart:
    """Return bytes that exist already as a part."""
    return MessagePart(len(data), lambda: (data,))


def join(*parts: MessagePart) -> MessagePart:
    """Return parts one after the other."""

    def chunks() -> Iterator[Chunk]:
        for each in parts:
            yield from each.chunks()

    return MessagePart(sum(each.length for each in parts), chunks)


def field(number: int, *content: MessagePart) -> MessagePart:
    """Return a field of type bytes, string or message."""
    body = join(*content)
    return join(part(varint(number << 3 | DELIMITED) + varint(body.length)), body)


def varint(number: int) -> bytes:
    """Encode a natural number: seven bits per byte, the lowest first, the eighth says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class WireField(NamedTuple):
    """Where in a message a field is: from `start`, its content from `content`, up to `end`."""

    number: int
    kind: int
    start: int
    content: int
    end: int


def fields(data: bytes | memoryview, start: int, end: int) -> Iterator[WireField]:
    """Yield the fields of the message that some bytes are.

    Raises
    ------
    ValueError
        If they are none, or one in the deprecated format of groups.
    """
    while start < end:
        tag, content = _read_varint(data, start, end)
        number, kind = tag >> 3, tag & 7
        if kind == DELIMITED:
            length, content = _read_varint(data, content, end)
            after = content + length
        elif kind == _VARINT:
            _, after = _read_varint(data, content, end)
        elif kind in _FIXED:
            after = content + _FIXED[kind]
        else:
            raise ValueError("a field of unknown kind")
        if after > end:
            raise ValueError("a field beyond the end of its message")
        yield WireField(number, kind, start, content, after)
        start = after


def _read_varint(data: bytes | memoryview, start: int, end: int) -> tuple[int, int]:
    """Return a number, and the offset behind it."""
    number = 0
    for i, byte in enumerate(data[start : min(end, start + 10)]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, start + i + 1
    raise ValueError("a number that does not end")
