"""`audit language` at its edges: what is infinite, what is too little, and weights that overflow or are not there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

import pathlift
from pathlift.ir.errors import InvalidModelError, UsageError
from pathlift.report.language import text as language_text
from pathlift.testing.onnx_models import info, model, node
from pathlift.testing.token_models import BOS, EOS, LISTS, VOCABULARY, list_logits, list_strings

pytest.importorskip("interegular")
pytest.importorskip("onnxruntime")
LANGUAGE: dict[str, Any] = {"regex": LISTS, "vocab": VOCABULARY, "bos": BOS, "eos": EOS}
STRINGS = list_strings(60)


def looked_up(logits: np.ndarray[Any, Any]) -> Any:
    """A model whose logits are a row of a table: exactly, infinite ones as well."""
    return model(
        [node("Gather", "w tokens", "logits")],
        [info("tokens", ["N", "T"], TensorProto.INT64)],
        [info("logits", ["N", "T", logits.shape[1]])],
        [numpy_helper.from_array(logits.astype(np.float32), "w")],
    )


def audited(*models: Any, **options: Any) -> Any:
    given = {**LANGUAGE, "data": {"tokens": STRINGS}, "generate": 10, **options}
    found = pathlift.audit_language(*models, **given)
    json.dumps(found.to_json(), allow_nan=False)
    return found


def excluding() -> np.ndarray[Any, Any]:
    """Logits that exclude a token which stands in the data."""
    logits = list_logits()
    row = next(row for row in STRINGS if EOS not in row[:4])
    logits[row[1], row[2]] = -np.inf
    return logits


def test_what_is_no_longer_infinite_is_no_damage() -> None:
    bad, good = looked_up(excluding()), looked_up(list_logits())
    healed = audited(bad, good, max_support=0.5, max_frequency=0.5)
    assert (healed.exit_code, healed.to_json()["verdict"]) == (0, "none")
    assert healed.to_json()["change"][0]["frequency"] is None
    worse = audited(good, bad, max_support=0.5, max_frequency=0.5)
    assert (worse.exit_code, worse.to_json()["verdict"]) == (1, "frequency")
    assert worse.to_json()["change"][0]["infinite"]["frequency"] > 0


def test_logits_that_exclude_all_tokens() -> None:
    logits = list_logits()
    logits[0] = -np.inf
    with pytest.raises(InvalidModelError, match=r"PL0187.*each logit"):
        audited(looked_up(logits))


def test_one_string_has_no_interval() -> None:
    digits = np.array([[BOS, *np.tile([3, 2], 120)[:-1], EOS]])
    found = audited(looked_up(list_logits()), data={"tokens": digits}, regex="[0-9](?:,[0-9])*", max_support=1e-9)
    file = found.to_json()["files"][0]
    assert (file["support_ci"], found.exit_code, found.to_json()["choices"] >= 100) == (None, 5, True)


def test_temperature_of_no_other_strings() -> None:
    """Empty strings, of which nothing is asked without a token that begins them."""
    rows = np.full((8, 4), EOS)
    rows[0, :2] = [0, 1]
    found = audited(looked_up(list_logits()), data={"tokens": rows}, bos=None, regex=LISTS + "|")
    assert found.to_json()["files"][0]["temperature"] is None


def test_strings_of_a_number_of_ways_that_overflows() -> None:
    found = audited(looked_up(list_logits()), data=None, samples=3, max_length=400, regex="[0-9,]*")
    assert found.to_json()["strings"] == 3


def test_strings_of_the_data_without_weight() -> None:
    weights = [[0, 0, 1.0], [1, 1, 1.0]]
    vocab = [*"abcd"]
    table = looked_up(np.zeros((4, 4)))
    given = {"vocab": vocab, "regex": "ab|cd", "bos": None, "eos": None, "weights": weights}
    with pytest.raises(UsageError, match="PL1573 string 1, column 0: token 2 has no weight in state 0"):
        audited(table, **{**given, "data": {"tokens": np.array([[0, 1], [2, 3]])}})
    with pytest.raises(UsageError, match=r"PL1589.*--max-length"):
        audited(table, **given, data=None, samples=5)


@pytest.mark.parametrize(("options", "code"), [({"seed": -1}, "PL0438"), ({"generate": 1}, "PL1589")])
def test_options_that_say_nothing(options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        audited(looked_up(list_logits()), **options)


def test_a_temperature_at_an_end_is_said() -> None:
    found = audited(looked_up(list_logits() * 60))
    assert found.to_json()["files"][0]["temperature"]["T"] == 20
    assert any("an end of the range" in warning for warning in found.warnings)
    assert not any("an end of the range" in warning for warning in audited(looked_up(list_logits())).warnings)


def test_what_is_not_judged_is_said() -> None:
    """Without weights, a single file has no frequency to judge."""
    shown = [str(line) for line in language_text(audited(looked_up(list_logits())).to_json()) if "verdict" in str(line)]
    assert shown == ["verdict: none: neither part is surely beyond its limit; frequency is not judged without weights"]
