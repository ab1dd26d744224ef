"""The wire format written by hand is what protobuf itself writes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from onnx import ModelProto, TensorProto

from pathlift.frontend.wire import Chunk, MessagePart, field, fields, join, part, varint


def written(message: MessagePart) -> bytes:
    file = io.BytesIO()
    file.writelines(message.chunks())
    assert len(file.getvalue()) == message.length
    return file.getvalue()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**31 - 1, 2**32, 2**63 - 1])
def test_varint(number: int) -> None:
    tag, *encoded = ModelProto(model_version=number).SerializeToString()
    assert tag == ModelProto.MODEL_VERSION_FIELD_NUMBER << 3
    assert varint(number) == bytes(encoded)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_fields(size: int) -> None:
    text = part(b"x" * size)
    assert (
        written(field(TensorProto.RAW_DATA_FIELD_NUMBER, text)) == TensorProto(raw_data=b"x" * size).SerializeToString()
    )
    model = ModelProto()
    model.functions.add(name="x" * size)  # a tag of two bytes, and a message in a message
    assert written(field(ModelProto.FUNCTIONS_FIELD_NUMBER, field(1, text))) == model.SerializeToString()


def test_the_content_of_a_field_is_joined() -> None:
    assert written(field(1, part(b"ab"), part(b""), part(b"c"))) == written(field(1, part(b"abc")))


def test_bytes_are_made_when_they_are_written_and_one_part_at_a_time() -> None:
    events: list[str] = []

    def chunks(name: str) -> Iterator[Chunk]:
        events.append(f"make {name}")
        yield b"."
        events.append(f"free {name}")

    message = field(5, join(MessagePart(1, lambda: chunks("a")), field(9, MessagePart(1, lambda: chunks("b")))))
    assert message.length == 2 + 1 + 2 + 1
    assert events == []
    written(message)
    assert events == ["make a", "free a", "make b", "free b"]


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0d\x01\x02\x03", b"\x0b", b"\x08\x80", b"\x80" * 11, b"\x0a"])
def test_what_is_no_message_is_said_to_be_none(data: bytes) -> None:
    """A field beyond the end (of bytes, of a fixed size), one of a group, and numbers that do not end."""
    with pytest.raises(ValueError, match=r"field|number"):
        list(fields(data, 0, len(data)))
