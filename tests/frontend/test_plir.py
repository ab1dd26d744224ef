"""Text files: weights beside them, what they may name, and what tells them from ONNX."""

from __future__ import annotations

import base64
import os
import random
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from pathlift.frontend.load import load
from pathlift.frontend.plir import is_text, load_text, save_text, whole_text
from pathlift.frontend.save import to_onnx
from pathlift.ir.compare import graphs_equal
from pathlift.ir.errors import InvalidModelError, PathliftError, TextError, UnsafeModelError
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.text import parse_graph
from pathlift.ir.types import DTYPES
from pathlift.testing import samples
from pathlift.testing.onnx_models import external

MLP = """
%x = Input : f32[N, 90]
%w = Param : f32[90, 2]
%b = Param {value=[0.5, -0.0]} : f32[2]
%t = Param {same=%w} : f32[90, 2]
%y = Gemm(%x, %w, %b)
%z = Gemm(%x, %t)
return %y, %z
"""


def mlp() -> Graph:
    return parse_graph(MLP, {"w": np.arange(180, dtype=np.float32).reshape(90, 2) / 7})


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text with a file of weights beside it, in a folder of their own."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_text(mlp(), folder / "m.plir")
    return folder / "m.plir"


def test_large_weights_lie_beside_the_text(text: Path) -> None:
    lines = text.read_text().splitlines()
    assert lines[1] == '%w = Param {file="m.plir.data", offset=0} : f32[90, 2]'
    assert lines[2] == "%b = Param {value=[0.5, -0.0]} : f32[2]"
    assert text.with_name("m.plir.data").stat().st_size == 720
    assert graphs_equal(load(text), mlp()) == ""


def test_one_file_holds_all_if_asked(tmp_path: Path) -> None:
    save_text(mlp(), tmp_path / "m.plir", whole=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.plir"]
    assert (tmp_path / "m.plir").read_text() == whole_text(mlp())
    assert graphs_equal(load((tmp_path / "m.plir").read_bytes()), mlp()) == ""


@pytest.mark.parametrize("name", DTYPES)
def test_every_element_type_comes_back(tmp_path: Path, name: str) -> None:
    codes = np.random.default_rng(1).integers(0, 2, 77)
    values = codes.astype(DTYPES[name]) if name != "str" else np.array([f"{c}\n" for c in codes], object)
    graph = parse_graph(f"%w = Param : {name}[7, 11]\nreturn %w", {"w": values.reshape(7, 11)})
    save_text(graph, tmp_path / "m.plir")
    assert (tmp_path / "m.plir.data").exists() == (name != "str")
    assert graphs_equal(load(tmp_path / "m.plir"), graph) == ""


def test_weights_are_read_when_they_are_asked_for(text: Path) -> None:
    graph = load(text)
    value = graph["w"].value
    assert value is not None
    text.with_name("m.plir.data").write_bytes(b"\0" * 719)
    with pytest.raises(InvalidModelError, match="got shorter"):
        value.numpy()


@pytest.mark.parametrize(
    ("file", "code"), [("../secret", "PL0201"), ("/etc/passwd", "PL0201"), ("link", "PL0202"), ("hard", "PL0203"),
                       ("none", "PL0131"), (".", "PL0131"), ("short", "PL0132")],
)  # fmt: skip
def test_texts_name_only_their_own_files(text: Path, file: str, code: str) -> None:
    folder = text.parent
    secret = folder.parent / "secret"
    secret.write_bytes(b"\0" * 720)
    (folder / "link").symlink_to(secret)
    os.link(secret, folder / "hard")
    (folder / "short").write_bytes(b"\0" * 719)
    text.write_text(text.read_text().replace("m.plir.data", file))
    with pytest.raises(PathliftError) as caught:
        load(text)
    assert caught.value.code == code


def test_a_stream_of_text_names_no_files_and_a_limit_holds(text: Path) -> None:
    with pytest.raises(UnsafeModelError, match="has no folder"):
        load(text.read_bytes())
    assert graphs_equal(load(text.read_bytes(), base_dir=text.parent), mlp()) == ""
    with pytest.raises(UnsafeModelError, match="takes 720 bytes, above the limit of 719"):
        load_text(text.read_bytes(), text.parent, 719)
    text.write_text(text.read_text().replace("offset=0", "offset=-1"))
    with pytest.raises(InvalidModelError, match="not a byte count"):
        load(text)


def test_texts_and_models_are_told_apart() -> None:
    for graph in samples().values():
        assert is_text(whole_text(graph).encode())
        assert not is_text(to_onnx(graph).SerializeToString())
    assert is_text(b"\n# a remark\n  %x = Input\nreturn %x")
    assert not is_text(b"")


def test_what_a_name_says_is_text_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "m.plir").write_bytes(b"ops")
    with pytest.raises(TextError, match="line 1"):
        load(tmp_path / "m.plir")
    with pytest.raises(TextError, match="byte 12 of the text is not UTF-8"):
        load(b"%x = Input\n#\xff")


def embedded(proto: bytes) -> bytes:
    said = f'{{op_type="CumSum", version=18, reason="r", proto=b64"{base64.b64encode(proto).decode()}"}}'
    return f"%x = Input : f32[2]\n%y = Opaque(%x) {said}\nreturn %y".encode()


def test_messages_in_a_text_reach_for_no_file() -> None:
    held = external(TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT), "/etc/passwd")
    node = helper.make_node("CumSum", ["x"], ["y"], value=held)
    with pytest.raises(UnsafeModelError, match="'/etc/passwd', but the model has no folder"):
        load(embedded(node.SerializeToString()))
    with pytest.raises(InvalidModelError, match="cannot read a node or function in the text"):
        load(embedded(b"CumSum"))
    with pytest.raises(InvalidModelError, match="cannot read a node or function in the text"):
        load(b'graph "g" {functions=[b64"AAAA"]}\n%x = Input\nreturn %x')


def test_there_are_only_so_many_opsets() -> None:
    with pytest.raises(TextError, match="there is no opset 1000"):
        load(b'graph "g" {opset=1000}\n%x = Input\nreturn %x')
    with pytest.raises(TextError, match="there is no opset 18000"):
        load(embedded(b"").replace(b"version=18", b"version=18000"))


def test_mutated_texts_end_in_a_coded_error_or_a_model() -> None:
    chance = random.Random(0)
    texts = [whole_text(graph).encode() for name, graph in samples().items() if len(graph) > 1][::5]
    words = [b"-1", b"%x", b"[]", b'"', b"99999999999", b"inf", b"{", b"f32[0]", b"_", b'b64"AAAA"', b"\n", b"?"]
    reached = 0
    for _ in range(300):
        data = bytearray(chance.choice(texts))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            if chance.random() < 0.5:  # another number, name or letter: what is well-formed stays so
                data[at] = chance.choice(b"0123456789xyw")
            else:
                data[at : at + chance.randint(0, 6)] = chance.choice(words)
        with warnings.catch_warnings(action="ignore"), suppress(PathliftError):
            to_onnx(load_text(bytes(data), None, MEMORY_LIMIT)).SerializeToString()
            reached += 1
    assert reached > 10
