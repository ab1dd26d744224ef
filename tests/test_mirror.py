"""The tests mirror the code: their folders are its folders, and no file of theirs is too long to take in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
OTHERS = {
    "laws": "what holds of every graph, whatever the module",
    "hostile": "model files that lie, through the command line",
    "mutants": "changes of the code that a test must catch, in files like the code's folders, and what makes them",
    "golden": "expected texts, in folders like those of the tests that read them",
}
MOST_LINES = 400


def folders() -> Iterator[str]:
    for folder in sorted(TESTS.rglob("*/")):
        if folder.name != "__pycache__" and any(folder.iterdir()):
            yield folder.relative_to(TESTS).as_posix()


def mirrored(folder: str) -> bool:
    """Whether there is a folder of this name in the code, at the root or among the parts of `pathlift`."""
    return any((place / folder).is_dir() for place in (ROOT, ROOT / "src" / "pathlift"))


@pytest.mark.parametrize("folder", [f for f in folders() if f.split("/")[0] not in OTHERS])
def test_a_folder_of_tests_is_one_of_the_code(folder: str) -> None:
    assert mirrored(folder), f"tests/{folder} mirrors no folder of the code; tests of no one folder go to {set(OTHERS)}"


def test_folders_of_golden_texts_are_folders_of_tests() -> None:
    golden = {Path(folder).relative_to("golden").as_posix() for folder in folders() if folder.startswith("golden/")}
    assert golden <= set(folders())


def test_exceptions_are_needed() -> None:
    assert [other for other in OTHERS if not (TESTS / other).is_dir() or mirrored(other)] == []


def test_files_of_tests_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS.rglob("*.py")}
    assert {str(path.relative_to(TESTS)): n for path, n in lines.items() if n > MOST_LINES} == {}
