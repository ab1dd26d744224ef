"""Token models as files have them: what they read is filled in, what they return is checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from pathlift.ir.errors import InvalidModelError, PathliftError, UnsupportedError, UsageError
from pathlift.models.language import logits as room
from pathlift.models.language.logits import TokenModel, chunks
from pathlift.models.session import Session
from pathlift.runtime.ports import Port
from pathlift.testing.onnx_models import info, model, node
from pathlift.testing.token_models import bigram_model

pytest.importorskip("onnxruntime")
INT, SIZE = TensorProto.INT64, 5
TABLE = np.random.default_rng(0).normal(size=(SIZE, SIZE))


def opened(proto: ModelProto, **options: Any) -> TokenModel:
    return TokenModel(Session(proto, threads=1), SIZE, **options)


def echo(names: dict[str, tuple[Any, ...]], tokens: str = "input_ids") -> ModelProto:
    """A model whose logits of a token are the values of its other inputs there, and its own."""
    casts = [node("Cast", name, f"{name}.f", to=1) for name in [tokens, *names]]
    rows = [node("Unsqueeze", f"{name}.f axis", f"{name}.u") for name in [tokens, *names]]
    filled = " ".join(f"{name}.u" for name in [tokens, *names])
    axis = node("Constant", "", "axis", value_ints=[2])
    inputs = [info(tokens, ["N", "T"], INT), *(info(n, s, INT) for n, s in names.items())]
    outputs = [info("logits", ["N", "T", 1 + len(names)])]
    return model([axis, *casts, *rows, node("Concat", filled, "logits", axis=2)], inputs, outputs)


def test_batches_and_widths_that_a_file_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, ends = np.random.default_rng(1).integers(0, SIZE, (7, 4)), np.full(7, 4)
    expected = TABLE[tokens]
    assert np.allclose(opened(bigram_model(TABLE)).run(tokens, ends), expected, atol=1e-5)
    fixed = opened(bigram_model(TABLE, N=3, T=6))
    assert (fixed.batch(4), fixed.width) == (3, 6)
    assert np.allclose(fixed.run(tokens, ends), expected, atol=1e-5)
    monkeypatch.setattr(room, "_ELEMENTS", 2 * 4 * SIZE)
    small = opened(bigram_model(TABLE))
    assert small.batch(4) == 2
    assert np.allclose(small.run(tokens, ends), expected, atol=1e-5)
    with pytest.raises(UsageError, match=r"PL1587.*7 tokens, the model takes 6"):
        fixed.run(np.zeros((1, 7), np.int64), np.array([7]))


def test_what_is_missing_is_filled_in() -> None:
    shape = ("N", "T")
    proto = echo({"attention_mask": shape, "position_ids": shape, "token_type_ids": shape, "given": shape})
    tokens, given = np.array([[3, 4, 1], [2, 1, 1]]), np.array([[7, 8, 9], [4, 5, 6]])
    found = TokenModel(Session(proto, threads=1), SIZE).run(tokens, np.array([3, 2]), {"given": given})
    assert found[1].T.tolist() == [[2, 1, 1], [1, 1, 0], [0, 1, 2], [0, 0, 0], [4, 5, 6]]
    assert found[0].T[1].tolist() == [1, 1, 1]
    with pytest.raises(UsageError, match=r"PL1587.*'given'"):
        TokenModel(Session(proto, threads=1), SIZE).run(tokens, np.array([3, 2]))


def test_half_precision_is_summed_in_float64() -> None:
    """Sums in float16 would be infinite from 65,504 on."""
    table = np.zeros((3, 70_000), np.float16)
    proto = model(
        [node("Gather", "table tokens", "logits")], [info("tokens", ["N", "T"], INT)],
        [info("logits", ["N", "T", 70_000], TensorProto.FLOAT16)], [_tensor(table)],
    )  # fmt: skip
    from pathlift.models.language.split import split

    z = TokenModel(Session(proto, threads=1), 70_000).run(np.array([[0]]), np.array([1]))[0].astype(np.float64)
    allowed = np.arange(70_000)[None] < 35_000
    assert split(z, allowed, np.array([0])).support[0] == pytest.approx(np.log(2), abs=1e-12)


def _tensor(table: np.ndarray) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(table, "table")


class Answers:
    """A session that gives one answer."""

    inputs = (Port("tokens", np.dtype(np.int64), ("N", "T")),)
    outputs = (Port("logits", np.dtype(np.float32), None),)

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        del feeds
        return {"logits": self.logits}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers(value: float) -> None:
    logits = np.zeros((2, 2, SIZE))
    logits[1, 0, 2] = -np.inf
    session: Any = Answers(logits)
    tokens, ends = np.zeros((2, 2), np.int64), np.array([2, 2])
    assert TokenModel(session, SIZE).run(tokens, ends)[1, 0, 2] == -np.inf
    logits[1, 1, 3] = value
    with pytest.raises(InvalidModelError, match=r"PL0187.*token 3 at position 1"):
        TokenModel(session, SIZE).run(tokens, ends)


@pytest.mark.parametrize(
    ("shape", "error", "code"),
    [
        ((2, 2, SIZE + 1), UsageError, "PL1584"),
        ((2, SIZE), UnsupportedError, "PL0326"),
        ((2, 1, SIZE), UnsupportedError, "PL0326"),
    ],
)
def test_sizes_that_show_when_it_is_run(shape: tuple[int, ...], error: type[PathliftError], code: str) -> None:
    session: Any = Answers(np.zeros(shape))
    with pytest.raises(error, match=code):
        TokenModel(session, SIZE).run(np.zeros((2, 2), np.int64), np.array([2, 2]))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            [info("ids", ["N", "T"], INT), info("past_key_values.0", ["N", 2, "P", 8])],
            "past_key_values.0.*hands a state",
        ),
        ([info("ids", ["N", "T"], INT), info("cache", ["N", "T"], INT)], "cache"),
        ([info("x", ["N", "T"])], "one input of whole numbers"),
        ([info("a", ["N", "T"], INT), info("b", ["N", "T"], INT)], "one input of whole numbers"),
    ],
)
def test_no_token_models(inputs: list[Any], said: str) -> None:
    nodes = [node("Cast", i.name, f"{i.name}.y", to=1) for i in inputs]
    axis = node("Constant", "", "axis", value_ints=[-1])
    proto = model(
        [axis, *nodes, node("Unsqueeze", f"{inputs[0].name}.y axis", "logits")], inputs, [info("logits", ["N", "T", 1])]
    )
    with pytest.raises(UnsupportedError, match=f"PL0326.*{said}"):
        TokenModel(Session(proto, threads=1), 1)


def test_outputs() -> None:
    proto = bigram_model(TABLE)
    with pytest.raises(UsageError, match=r"PL1584.*5 tokens, the vocabulary has 6"):
        TokenModel(Session(proto, threads=1), 6)
    with pytest.raises(UsageError, match=r"PL1588.*no output 'odd'"):
        opened(proto, output="odd")
    proto.graph.output.append(info("h", ["N", "T", SIZE]))
    assert np.allclose(opened(proto).run(np.array([[1]]), np.array([1])), TABLE[1], atol=1e-5)  # the one named logits
    proto.graph.node[1].output[0] = proto.graph.output[0].name = "y"
    with pytest.raises(UsageError, match=r"PL1588.*several outputs may be the logits: y, h"):
        opened(proto)
    assert np.allclose(opened(proto, output="y").run(np.array([[1]]), np.array([1])), TABLE[1], atol=1e-5)
    flat = model([node("Cast", "ids", "y", to=1)], [info("ids", ["N", "T"], INT)], [info("y", ["N", "T"])])
    with pytest.raises(UnsupportedError, match=r"PL0326.*no output"):
        opened(flat)


def test_chunks() -> None:
    assert [list(range(10))[part] for part in chunks(10, room._ELEMENTS // 8)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(chunks(0, 5)) == []
