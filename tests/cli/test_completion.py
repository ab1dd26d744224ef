"""Completion by shells: verbs, options, choices and passes, and nothing heavy is loaded for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pathlift.models.options import pass_completions

PROGRAM = """
import sys
from pathlift.cli import main
try:
    main()
finally:
    print([name for name in ("onnx", "torch") if name in sys.modules], file=sys.stderr)
    print([name for name in sys.modules if name.startswith("pathlift.verbs.")], file=sys.stderr)
"""


def completed(words: str, shell: str = "bash") -> tuple[list[str], list[str]]:
    """What a shell is told, and what is said on stderr: the heavy modules and the verbs that are loaded."""
    told = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": words}
    environment = {**os.environ, **told, "_PATHLIFT_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        del environment["_TYPER_COMPLETE_ARGS"]
    if shell == "fish":
        environment["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return process.stdout.split(), process.stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pathlift nor", ["norm"]),
        ("pathlift ks f", ["fit"]),
        ("pathlift norm m.onnx --pooling ", ["sum", "max"]),
        ("pathlift opt m.onnx -p strip-head,dead-c", ["strip-head,dead-code", "strip-head,dead-channels"]),
    ],
)
def test_bash(words: str, expected: list[str]) -> None:
    found, said = completed(words)
    assert found == expected
    assert said[0] == "[]"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_load_one_verb(shell: str) -> None:
    found, said = completed("pathlift norm --per", shell)
    assert any("--per-layer" in word for word in found)
    assert said == ["[]", "['pathlift.verbs.norm']"]


def test_passes() -> None:
    assert pass_completions("tight") == ["tighten"]
    assert pass_completions("a{b=[1,2]},tight") == ["a{b=[1,2]},tighten"]
    assert pass_completions("nothing-like-it") == []
