"""Names that nothing has are answered with the one that was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "code", "meant"),
    [
        (["nrom"], "PL0400", "'norm'"),
        (["ks", "fti"], "PL0400", "'fit'"),
        (["norm", "DIGITS", "--per-layr"], "PL0400", "--per-layer"),
        (["passes", "tihgten"], "PL0650", "'tighten'"),
        (["opt", "DIGITS", "-p", "ded-code"], "PL0650", "'dead-code'"),
        (["ks", "fit", "DIGITS", "--layers", "hiden"], "PL0464", "'hidden'"),
        (["ks", "fit", "DIGITS", "--layers", "*,hiden*"], "PL0464", "'hidden'"),
        (["prune", "DIGITS", "--sparsity", "0.5", "--include", "stm"], "PL1403", "'stem'"),
        (["prune", "DIGITS", "--sparsity", "0.5", "--exclude", "bdy"], "PL1403", "'body'"),
    ],
)
def test_what_was_meant(pathlift: Cli, digits: Path, arguments: list[str], code: str, meant: str) -> None:
    outcome = pathlift(*(str(digits) if word == "DIGITS" else word for word in arguments))
    assert (outcome.code, outcome.err[:6]) == (2, code)
    assert meant in outcome.err


def test_what_lists_layers_is_named_and_does(pathlift: Cli, digits: Path) -> None:
    hint = pathlift("ks", "fit", str(digits), "--layers", "zzz").err
    assert hint == "PL0464 no layer is called 'zzz' hint: `pathlift inspect --nodes` lists layers\n"
    nodes = json.loads(pathlift("inspect", str(digits), "--nodes", "--format", "json").out)["result"]["nodes"]
    by_name = {node["node"]: node for node in nodes}
    assert by_name["stem"]["op"] == "Conv"
    assert by_name["stem"]["parameters"] == ["stem.weight"]
    assert by_name["stem"]["outputs"] == [{"name": by_name["stem"]["outputs"][0]["name"], "dtype": "f32",
                                           "shape": ["N", 16, 8, 8]}]  # fmt: skip
    text = pathlift("inspect", str(digits), "--nodes").out
    assert all(name in text for name in by_name)
    assert "stem_norm.running_var" in text
    assert "nodes" not in json.loads(pathlift("inspect", str(digits), "--format", "json").out)["result"]


def test_one_pass_in_full(pathlift: Cli) -> None:
    outcome = pathlift("passes", "tighten")
    assert outcome.code == 0
    assert outcome.out.startswith("tighten (transform; path-norms: may change)\n")
    assert "recentre" in outcome.out
    assert "dead-code" not in outcome.out
    (told,) = json.loads(pathlift("passes", "tighten", "--format", "json").out)["result"]["passes"]
    assert told["description"].startswith(told["help"].rstrip("."))
