"""Hints name options, commands and functions that exist, and of a verb only options that it has."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pathlift as library
from pathlift.cli.command import command
from pathlift.cli.frame import applicable, framed, option_names
from pathlift.frontend.lower.registry import GIVE_SHAPE
from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.verbs import VERBS

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FOREIGN = {"np.savez", "detach", ".detach", "f"}
"""Functions of other packages that hints name."""


@functools.cache
def options(verb: str) -> frozenset[str]:
    return option_names(inspect.signature(framed(*command(VERBS[verb]))).parameters.values())


@functools.cache
def hints() -> tuple[tuple[str, str], ...]:
    return ("registry", GIVE_SHAPE), *found()


def found() -> Iterator[tuple[str, str]]:
    """What is given as the hint of an error or of a refusal, f-strings included, and its module."""
    for folder in ("frontend", "ir", "passes", "codegen", "runtime", "src"):
        for path in (Path(at, f) for at, _, files in os.walk(ROOT / folder) for f in files if f.endswith(".py")):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(call, ast.Call):
                    continue
                given = [k.value for k in call.keywords if k.arg == "hint"]
                refusal = isinstance(call.func, ast.Name) and call.func.id == "Refusal"
                for node in [*given, *(call.args[1:2] if refusal else [])]:
                    for part in ast.walk(node):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield str(path), part.value


def test_the_hints_are_found() -> None:
    texts = [text for _, text in hints()]
    assert len(texts) > 80
    assert any("--memory-limit" in text for text in texts)


def test_options_exist() -> None:
    every = frozenset({"--help", "--debug"}).union(*map(options, VERBS))
    assert {(at, o) for at, text in hints() for o in OPTION.findall(text) if o not in every} == set()


def test_commands_and_their_options_exist() -> None:
    for at, text in hints():
        for words in re.findall(r"`pathlift ([^`]*)`|pathlift (\w+ -p)", text):
            said = "".join(words)
            verb = next((v for v in VERBS if said.startswith(v)), "")
            assert verb, (at, text)
            assert set(OPTION.findall(said)) <= options(verb), (at, text)


def test_functions_exist_and_take_what_is_given() -> None:
    for at, text in hints():
        for name, arguments in re.findall(r"([a-zA-Z_.]*[a-zA-Z_])\(([^)]*)\)", text):
            assert name in FOREIGN or hasattr(library, name), (at, text)
            if name not in FOREIGN:
                taken = inspect.signature(getattr(library, name)).parameters
                assert set(re.findall(r"(\w+)=", arguments)) <= taken.keys(), (at, text)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_names_only_its_own(verb: str) -> None:
    own = options(verb)
    for _, text in hints():
        left = re.sub("`[^`]*`", "", applicable(text, own))
        assert set(OPTION.findall(left)) <= own
    assert applicable(GIVE_SHAPE, own).startswith("--shape") == ("--shape" in own)
    assert "load(file" in applicable(GIVE_SHAPE, own)


def test_clauses_without_options_and_commands_stay() -> None:
    assert applicable("do this; --no do; `pathlift norm --per-layer` lists; --yes", {"--yes"}) == (
        "do this; `pathlift norm --per-layer` lists; --yes"
    )


def test_the_frame_adapts_hints(pathlift: Callable[..., Any], fake: Callable[..., Any]) -> None:
    def refuse() -> None:
        raise UnsupportedError("0300", "no", hint=GIVE_SHAPE)

    fake(action=refuse)
    outcome = pathlift("passes")
    assert (outcome.code, outcome.err) == (4, "PL0300 no hint: load(file, shapes={…}) fixes them\n")


def test_ks_fit_needs_no_extents(pathlift: Callable[..., Any], tmp_path: Path) -> None:
    b = Builder()
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    library.save(b.finish(b.op("Gemm", b.input("x", ("N", "T", 64)), b.param(w, "w"), name="y")), tmp_path / "m.onnx")
    limits = ("--patterns", "(1,8,8,8)(8,8,8,1)", "--budget", "error=1")
    outcome = pathlift("ks", "fit", str(tmp_path / "m.onnx"), *limits)
    assert (outcome.code, outcome.err) == (0, "")
    assert "assumes: outputs are not compared: the extents of T are not known" in outcome.out
    assert "for 1568 rows" in outcome.out
