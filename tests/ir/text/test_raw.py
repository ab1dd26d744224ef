"""Bytes of tensors: every element type comes back to the last bit, and bytes that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from pathlift.ir.errors import TextError
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.text.raw import from_raw, raw_size, to_raw
from pathlift.ir.types import DTYPES, Array, Param

RAW = [name for name in DTYPES if name != "str"]


def patterns(name: str, size: int = 7) -> Array:
    """All the bits that elements of a type may have, an odd number of them."""
    dtype = DTYPES[name]
    data = np.random.default_rng(0).integers(0, 256, raw_size(dtype, (size,)), np.uint8)
    data[-1] &= 0x03  # what is beyond the last element is zero
    return from_raw(data.tobytes(), dtype, (size,))


@pytest.mark.parametrize("name", RAW)
def test_bytes_come_back(name: str) -> None:
    array = patterns(name)
    data = to_raw(array)
    assert len(data) == raw_size(array.dtype, array.shape)
    again = from_raw(data, array.dtype, (7, 1))
    assert again.dtype == array.dtype
    assert again.reshape(-1).tobytes() == array.tobytes()


@pytest.mark.parametrize("name", [n for n in RAW if n not in ("i2", "u2")])
def test_bytes_are_those_of_onnx(name: str) -> None:
    array = patterns(name)
    assert to_raw(array) == numpy_helper.from_array(array).raw_data


@pytest.mark.parametrize(("name", "codes"), [("i4", [-8, 7, -1]), ("u4", [15, 0, 9]), ("i2", [-2, 1, -1])])
def test_small_integers_are_packed_low_bits_first(name: str, codes: list[int]) -> None:
    array = np.array(codes).astype(DTYPES[name])
    bits = int(name[1:])
    number = sum((code & ((1 << bits) - 1)) << (bits * i) for i, code in enumerate(codes))
    data = to_raw(array)
    assert int.from_bytes(data, "little") == number
    assert from_raw(data, array.dtype, (3,)).astype(int).tolist() == codes


@pytest.mark.parametrize("name", RAW)
def test_text_holds_bytes(name: str) -> None:
    array = patterns(name)
    text = f"%w = Param : {name}[7]\nreturn %w"
    printed = print_graph(parse_graph(text, {"w": array}), max_inline=3, place=lambda _, p: {"data": to_raw(p.numpy())})
    assert 'data=b64"' in printed
    value = parse_graph(printed)["w"].value
    assert isinstance(value, Param)
    assert value.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('%w = Param {data=b64"AAAA"} : f32[2]', "the data is 3 bytes, and f32[2] takes 8 bytes"),
        ('%w = Param {data=b64""} : f32[N]', "does not say how many bytes it takes"),
        ('%w = Param {data=b64""} : str[2]', "does not say how many bytes it takes"),
        ("%w = Param {data=1} : f32[2]", "the data is of type int"),
        ('%w = Param {file="w.bin"} : f32[2]', "the text refers to a file for 'w'"),
        ("%w = Param {offset=1} : f32[2]", "has an offset and no file"),
        ('%w = Param {data=b64"", file="w"} : f32[2]', "a Param with 'file' here"),
        ('%w = Param {file="w", value=1.0} : f32[2]', "a Param with 'value' here"),
    ],
)
def test_refused(line: str, said: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_graph(f"{line}\nreturn %w")
    assert said in caught.value.message
