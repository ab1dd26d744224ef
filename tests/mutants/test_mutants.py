"""The list of mutants does not rot, and a sample of them dies; `make mutants` runs them all."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mutants() -> Any:
    """The module next to this one: tests are no package."""
    spec = importlib.util.spec_from_file_location("mutants", Path(__file__).with_name("run.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mutant_changes_one_place(mutants: Any) -> None:
    listed = mutants.load()
    assert len(listed) >= 100
    for m in listed:
        assert m.before != m.after
        assert m.wrong or m.equivalent, m
        count = (ROOT / m.path).read_text(encoding="utf-8").count(m.before)
        assert count == 1, f"{m.path} has {count} places like\n{m.before}"


def test_every_mutant_has_tests(mutants: Any) -> None:
    for m in mutants.load():
        for target in m.targets:
            path, *names = target.split("[")[0].split("::")
            assert (ROOT / path).exists(), target
            for name in names:
                assert re.search(rf"(def|class) {name}[(:]", (ROOT / path).read_text("utf-8")), target


def test_no_mutant_is_listed_twice(mutants: Any) -> None:
    changes = [(m.path, m.before, m.after) for m in mutants.load()]
    assert len(changes) == len(set(changes))


def test_survivors_are_told_from_the_dead(mutants: Any) -> None:
    path, tests = "ir/dims.py", ("tests/ir/test_dims.py::test_unify_and_axis",)
    lives = mutants.Mutant(path, "never a guess", "and no guess", "the same in other words", tests)
    dies = mutants.Mutant(path, "return index % rank", "return index", "an axis stays negative", tests)
    broken = mutants.Mutant(path, "import prod", "import prodd", "the module cannot be imported", tests)
    alive, killed, unknown = mutants.trial([lives, dies, broken], jobs=1)
    assert (alive.killed, alive.outcome) == (False, "survived")
    assert (killed.killed, killed.outcome) == (True, f"killed by {tests[0]}")
    assert (unknown.killed, unknown.outcome.split(":")[0]) == (False, "cannot be run")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_sample_is_killed(mutants: Any) -> None:
    chosen = mutants.sampled([m for m in mutants.load() if not m.equivalent], 3)
    assert [verdict for verdict in mutants.trial(chosen) if not verdict.killed] == []
