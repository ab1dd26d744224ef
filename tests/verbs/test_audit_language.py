"""`audit language`, end to end: a small token model, whole, rounded and pruned, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pathlift
from pathlift.automata.regex import compile_regex
from pathlift.automata.tokens import token_automaton
from pathlift.automata.vocabulary import read_vocabulary
from pathlift.ir.errors import OutputError, PathliftError, UnsupportedError, UsageError
from pathlift.testing.onnx_models import info, model, node
from pathlift.testing.token_models import (
    BOS,
    EOS,
    LISTS,
    VOCABULARY,
    bigram_model,
    list_logits,
    list_strings,
    pruned,
    rounded,
)

pytest.importorskip("interegular")
pytest.importorskip("onnxruntime")
LANGUAGE: dict[str, Any] = {"regex": LISTS, "vocab": VOCABULARY, "bos": BOS, "eos": EOS}
STRINGS = {"tokens": list_strings(150)}
BASE = bigram_model(list_logits())


def audited(*models: Any, **options: Any) -> dict[str, Any]:
    return pathlift.audit_language(*models, **{**LANGUAGE, "data": STRINGS, "generate": 40, **options}).to_json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Files as users have them, which are the current folder."""
    folder, before = tmp_path_factory.mktemp("language"), Path.cwd()
    os.chdir(folder)
    for name, proto in (
        ("fp32", BASE),
        ("int8", rounded(BASE, 8)),
        ("int3", rounded(BASE, 3)),
        ("cut", pruned(BASE, 0.9)),
    ):
        onnx.save(proto, f"{name}.onnx")
    Path("v.json").write_text(json.dumps(VOCABULARY))
    Path("re.txt").write_text(LISTS + "\n")
    np.savez("d.npz", **STRINGS)
    yield folder
    os.chdir(before)


def line(*models: str, **options: str) -> list[str]:
    given = {"--regex": "@re.txt", "--vocab": "v.json", "--data": "d.npz", "--bos": "16", "--eos": "17", **options}
    return [
        "audit",
        "language",
        *models,
        "--generate",
        "20",
        *(word for pair in given.items() for word in pair if word),
    ]


def test_int8_and_pruning(folder: Path, pathlift: Callable[..., Any]) -> None:
    """8 bits change nothing to speak of, 3 bits the frequencies, and most weights gone, both."""
    out = pathlift(*line("fp32.onnx", "int8.onnx", "int3.onnx", "cut.onnx"), "--format", "json")
    assert out.code == 0
    result = json.loads(out.out)["result"]
    int8, int3, cut = result["change"]
    assert abs(int8["support"]) < 0.001
    assert abs(int8["frequency"]) < 0.001
    assert int3["frequency_ci"][0] > 0.02
    assert int3["support"] < 0.01
    assert cut["support_ci"][0] > 0.01
    assert result["verdict"] == "both"
    assert cut["share_support"] == pytest.approx(cut["support"] / (cut["support"] + cut["frequency"]))
    for file in result["files"]:
        assert file["nll"] == pytest.approx(file["support"] + file["frequency"], abs=1e-9)
        assert file["kl"] is file["rank"] is None
        assert file["support_ci"][0] <= file["support"] <= file["support_ci"][1]
    assert cut["support"] == pytest.approx(result["files"][3]["support"] - result["files"][0]["support"], abs=1e-12)
    assert result["worst"][0]["path"] == "cut.onnx"
    assert result["automaton"]["length"] is None


def test_what_is_known_of_the_model() -> None:
    """Logits in hand: figures are those of the bigram table."""
    result = audited(BASE)
    q = np.exp(list_logits())
    q /= q.sum(1, keepdims=True)
    nll = [-np.log(q[a, b]) for row in STRINGS["tokens"] for a, b in pairwise(row) if a != EOS]
    assert result["positions"] == len(nll)
    assert result["files"][0]["nll"] == pytest.approx(np.mean(nll), abs=1e-5)
    assert result["files"][0]["auc"] == 1
    forced = sum(a == 1 for row in STRINGS["tokens"] for a in row[: list(row).index(EOS)])
    assert result["automaton"]["forced"] == pytest.approx(forced / len(nll))
    assert result["choices"] == len(nll) - forced
    assert result["verdict"] == "none"


def test_fitted_weights_score_the_other_half() -> None:
    result = audited(BASE, fit_weights=True)
    file = result["files"][0]
    assert result["weights"] == "fitted"
    assert result["strings"] == 75
    assert file["kl"] == pytest.approx(file["support"] + file["frequency"], abs=1e-9)
    assert 0.5 < file["rank"] < 1
    assert result["positions"] == sum(list(row).index(EOS) for row in STRINGS["tokens"][1::2])


def test_given_weights_are_those_of_the_model() -> None:
    """With the model's own weights, nothing is lost inside the language, and strings can be drawn."""
    machine = token_automaton(compile_regex(LISTS), read_vocabulary(VOCABULARY).tokens, eos=EOS)
    logits = list_logits()
    last = {int(machine.walk(prefix)[-1]): ([BOS, *prefix])[-1] for prefix in ([], [0], [0, 3], [0, 3, 2], [0, 1])}
    weights = [
        [state, int(t), float(np.exp(logits[token, t]))]
        for state, token in last.items()
        for t in np.flatnonzero(machine.table[state] != machine.dead)
    ]
    result = audited(BASE, weights=weights, data=None, samples=300, max_frequency=0.001)
    assert result["weights"] == "given"
    assert result["files"][0]["frequency"] < 1e-6
    assert result["files"][0]["rank"] == 1
    assert result["files"][0]["temperature"]["T"] == pytest.approx(
        1, abs=0.05
    )  # what is off the language pulls it below 1


def test_samples_without_weights_are_even() -> None:
    result = audited(BASE, data=None, samples=50, max_length=6)
    assert result["automaton"]["length"] == 7
    assert result["strings"] == 50
    assert result["weights"] is None


def test_masked_tokens() -> None:
    result = audited(BASE, rounded(BASE, 3), kind="masked", mask_token=15, fit_weights=True)
    assert result["kind"] == "masked"
    assert result["files"][0]["support"] > 0.1  # it cannot know that
    assert 0 <= result["files"][0]["valid"]["value"] < 0.5
    assert result["files"][0]["kl"] == pytest.approx(result["files"][0]["support"] + result["files"][0]["frequency"])


def test_without_an_end_token_rows_are_whole() -> None:
    vocab = ["0", "1", "-", "x"]
    rng = np.random.default_rng(0)
    days = np.array([[0, rng.integers(2), 2, 0, rng.integers(2)] for _ in range(60)])
    logits = np.log(np.array([[3, 3, 3, 1], [3, 3, 3, 1], [6, 1, 0.1, 0.1], [1, 1, 1, 1]]))
    result = audited(bigram_model(logits), regex="0[01]-0[01]", vocab=vocab, data={"tokens": days}, bos=None, eos=None)
    assert result["positions"] == 4 * 60
    assert result["automaton"]["length"] == 5
    assert result["automaton"]["forced"] == 0.5
    exact = (6 / 10) * (3 / 10) * (6 / 7.2) * (6 / 10)  # 0 or 1, a dash, 0, 0 or 1; the first is given
    assert result["files"][0]["valid"]["value"] == pytest.approx(exact, rel=1e-4)


def test_excluded_tokens_are_infinite() -> None:
    """A model that gives some prefix no way on: support is unbounded, and counted."""
    table = list_logits().astype(np.float32)
    table[2, 3:14] = -1e6
    proto = model(
        [node("Gather", "table tokens", "raw"), node("Exp", "raw", "q"), node("Log", "q", "logits")],
        [info("tokens", ["N", "T"], onnx.TensorProto.INT64)],
        [info("logits", ["N", "T", 18])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    result = audited(BASE, proto, max_support=0.01)
    file, change = result["files"][1], result["change"][0]
    assert file["support"] is file["support_ci"] is change["support"] is change["share_support"] is None
    assert file["infinite"]["support"] > 0
    assert result["verdict"] in ("support", "both")
    assert file["valid"]["value"] < 0.8


@pytest.mark.parametrize(
    ("models", "limits", "code"),
    [
        (("fp32", "int3"), {"--max-support": "0.01"}, 0),
        (("fp32", "int3"), {"--max-frequency": "0.02"}, 1),
        (("fp32", "cut"), {"--max-support": "0.01"}, 1),
        (("fp32",), {"--max-support": "0.01"}, 0),
        (("fp32",), {"--max-support": "0.001"}, 1),
    ],
)
def test_exit_codes(
    folder: Path, pathlift: Callable[..., Any], models: tuple[str, ...], limits: Any, code: int
) -> None:
    assert pathlift(*line(*(f"{name}.onnx" for name in models), **limits)).code == code


def test_undecided() -> None:
    few = pathlift.audit_language(BASE, **{**LANGUAGE, "data": {"tokens": STRINGS["tokens"][:5]}, "generate": 0})
    assert few.exit_code == 5
    assert any("positions have a choice" in w for w in few.warnings)
    assert few.to_json()["files"][0]["valid"] is None
    whole = audited(BASE, rounded(BASE, 3))["change"][0]
    middle = whole["frequency"]
    undecided = pathlift.audit_language(
        BASE, rounded(BASE, 3), **LANGUAGE, data=STRINGS, generate=0, max_frequency=middle, max_support=1.0
    )
    assert undecided.exit_code == 5


REFUSED: dict[str, tuple[dict[str, Any], type[PathliftError], str]] = {
    "regex": ({"regex": "a(b"}, UsageError, "PL1580.*column 2"),
    "no automaton": ({"regex": r"(a)\1"}, UnsupportedError, "PL0325.*column 4"),
    "regex file": ({"regex": "@none.txt"}, UsageError, "PL1591"),
    "empty": ({"regex": "y"}, UsageError, "PL1581.*vocabulary"),
    "too short": ({"max_length": 1}, UsageError, "PL1581"),
    "vocabulary": ({"vocab": VOCABULARY[:-1], "eos": None}, UsageError, "PL1584"),
    "outside": ({"regex": r"\[\]"}, UsageError, r"PL1585.*string \d+, column \d+"),
    "special": ({"eos": 18}, UsageError, "PL1590"),
    "special twice": ({"eos": BOS}, UsageError, "PL1590"),
    "no data": ({"data": None}, UsageError, "PL1589"),
    "both": ({"samples": 3}, UsageError, "PL1589"),
    "mask": ({"mask_token": 15}, UsageError, "PL1589"),
    "no mask": ({"kind": "masked"}, UsageError, "PL1589"),
    "kind": ({"kind": "odd"}, UsageError, "PL1589"),
    "weights": ({"weights": [], "fit_weights": True}, UsageError, "PL1589"),
    "no weight": ({"weights": []}, UsageError, "PL1586.*no string"),
    "samples": ({"data": None, "samples": 5}, UsageError, "PL1589.*--max-length"),
    "count": ({"generate": -1}, UsageError, "PL1589"),
    "frequency": ({"max_frequency": 0.1}, UsageError, "PL1589"),
    "limit": ({"max_support": float("nan")}, UsageError, "PL1589"),
    "length": ({"regex": ".*", "bos": None, "eos": None, "max_length": 3}, UsageError, "PL1589.*24 tokens"),
    "output": ({"output": "h"}, UsageError, "PL1588"),
    "data": ({"data": {"x": np.zeros(3)}}, UsageError, "PL1582"),
    "nothing": (
        {"regex": "x", "bos": None, "eos": None, "data": {"tokens": np.full((3, 1), 15)}},
        UsageError,
        "PL1592",
    ),
    "memory": (
        {"vocab": ["[", "]", *[None] * 16], "regex": r"\[{60}\]", "fit_weights": True, "memory_limit": 8000},
        UsageError,
        "PL1593",
    ),
    "half": ({"data": {"tokens": STRINGS["tokens"][:1]}, "fit_weights": True}, UsageError, "PL1589"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    options, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        audited(BASE, **options)


def test_strings_that_are_skipped() -> None:
    odd = np.array([[BOS, 0, 2, *[EOS] * 21]])
    result = audited(BASE, data={"tokens": np.vstack([odd, STRINGS["tokens"]])}, skip_invalid=True)
    assert result["skipped"] == 1
    assert result["files"][0]["nll"] == audited(BASE)["files"][0]["nll"]


def test_charts(folder: Path, pathlift: Callable[..., Any]) -> None:
    pytest.importorskip("matplotlib")
    assert pathlift(*line("fp32.onnx", "int3.onnx"), "--chart", "c.svg").code == 0
    text = Path("c.svg").read_text()
    assert text.startswith("<?xml")
    assert pathlift(*line("fp32.onnx"), "--chart", "c.svg").err.startswith("PL0703")
    assert Path("c.svg").read_text() == text
    assert pathlift(*line("fp32.onnx"), "--chart", "c.svg", "--force").code == 0
    assert Path("c.svg").read_text() != text


def test_the_same_seed_gives_the_same_figures() -> None:
    assert audited(BASE, seed=3) == audited(BASE, seed=3)
    assert audited(BASE, seed=3)["files"][0]["valid"] != audited(BASE, seed=4)["files"][0]["valid"]


def test_what_figures_rest_on_is_said() -> None:
    result = pathlift.audit_language(BASE, **LANGUAGE, data=STRINGS, generate=0, max_length=22)
    assert any("at most 23 tokens" in said for said in result.assumptions)
    assert "verdict: none" in str(result)


def test_without_interegular(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [n for n in sys.modules if n.partition(".")[0] == "interegular"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "interegular", None)
    with pytest.raises(UsageError, match=r"PL1415.*interegular"):
        audited(BASE)


def test_outputs_are_checked_before_work(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "c.svg").touch()
    with pytest.raises(OutputError, match="PL0703"):
        audited("none.onnx", chart=tmp_path / "c.svg")


@pytest.mark.slow
def test_a_transformer_from_torch(tmp_path: Path) -> None:
    """Trained for a moment on lists: it learns the grammar; with noise on its weights it forgets some of it."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.places = nn.Embedding(18, 32), nn.Embedding(23, 32)
            self.layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True)
            self.head = nn.Linear(32, 18)

        def forward(self, tokens: Any) -> Any:
            hidden = self.embedding(tokens) + self.places(torch.arange(23))
            return self.head(self.layer(hidden, torch.full((23, 23), float("-inf")).triu(1)))

    torch.manual_seed(0)
    tokens, network = torch.from_numpy(list_strings(400)), Model()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(150):
        rows = tokens[torch.randint(len(tokens), (64,))]
        loss = nn.functional.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    files = [str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx")]
    for i, file in enumerate(files):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.08 * i * torch.randn_like(weight))
        torch.onnx.export(network.eval(), (tokens[:4, :-1],), file, dynamo=True, verbose=False)
    result = audited(*files, data={"tokens": list_strings(120, seed=0)[:, :-1]}, skip_invalid=True, fit_weights=True)
    assert result["files"][0]["support"] < 0.05
    assert result["files"][0]["valid"]["value"] > 0.7
    assert result["change"][0]["support"] > 0.01
    assert result["files"][1]["valid"]["value"] < result["files"][0]["valid"]["value"]
