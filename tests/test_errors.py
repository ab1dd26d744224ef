"""Error codes as a contract: one cause, one class and one exit code each, all in the index of `docs/errors.py`."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXIT_CODES = {
    "PathliftError": 70,
    "InterruptError": 130,
    "TerminateError": 143,
    "InvalidModelError": 3,
    "UnsafeModelError": 3,
    "UnsupportedError": 4,
    "UsageError": 2,
    "GraphError": 3,
    "TextError": 2,
    "UnavailablePassError": 2,
    "OutputError": 2,
    "WriteFailedError": 70,
    "WitnessError": 70,
    "PassFailedError": 70,
    "RuntimeFailureError": 70,
    "ExecutionError": 4,
}


@pytest.fixture(scope="module")
def index() -> ModuleType:
    spec = importlib.util.spec_from_file_location("errors_page", ROOT / "docs" / "errors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def codes(index: ModuleType) -> dict[str, list[Any]]:
    """The places that raise each code."""
    found: dict[str, list[Any]] = index.by_code(index.sites())
    return found


def texts(*folders: str, suffixes: tuple[str, ...] = (".py", ".md")) -> list[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    return [path.read_text(encoding="utf-8") for path in paths]


def test_no_code_escapes_the_index(codes: dict[str, list[Any]]) -> None:
    written = {
        node.value
        for text in texts("frontend", "ir", "passes", "codegen", "runtime", "src", suffixes=(".py",))
        if re.search(r"[\"'][01]\d{3}[\"']", text)  # parsing all would take long
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[01]\d{3}", node.value)
    }
    assert written == codes.keys()


def test_a_code_has_one_cause(index: ModuleType, codes: dict[str, list[Any]]) -> None:
    unclear = [code for code, found in codes.items() if code not in index.CAUSES and len(index.messages(found)) != 1]
    assert not unclear, "give other causes codes of their own, or say in docs/errors.py what these messages share"
    assert not index.CAUSES.keys() - codes.keys(), "no longer raised"


def test_a_code_has_one_class_whose_family_it_is_in(codes: dict[str, list[Any]]) -> None:
    for code, found in codes.items():
        assert {site.error for site in found} == {found[0].error}, code
        full = code.startswith("15") and found[0].error.family == "04"  # both hundreds of usage errors are taken
        assert code[1] == found[0].error.family[1] or full, code


def test_exit_codes_are_those_of_the_contract(codes: dict[str, list[Any]]) -> None:
    errors = {site.error for found in codes.values() for site in found}
    assert {error.__name__: error.exit_code for error in errors} == EXIT_CODES


def test_codes_that_pages_and_docstrings_mention_exist(codes: dict[str, list[Any]]) -> None:
    written = texts("frontend", "ir", "passes", "codegen", "runtime", "src", "docs", "examples")
    mentioned = {code for text in written for code in re.findall(r"\bPL([01]\d{3})\b", text)}
    assert mentioned <= codes.keys()


def test_hints_name_options_and_verbs_that_exist(codes: dict[str, list[Any]]) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    said = [text for found in codes.values() for site in found for text in (*site.messages, *site.hints)]
    named = {option for text in said for option in re.findall(r"(?<!\w)--[a-z][a-z-]*", text)}
    assert named - {"--help"} <= set(re.findall(r"--[a-z][a-z-]*", page))
    verbs = {verb for text in said for verb in re.findall(r"`pathlift ([a-z]+)", text)}
    assert verbs <= set(re.findall(r"## pathlift (\w+)", page))


def test_no_test_takes_any_error_of_a_family_for_the_one_it_is_about() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{item.context_expr.lineno}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if re.search(r"\braises\(\s*[\w.]*Error\s*,?\s*\)", text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.With)
        for item in node.items
        if is_bare(item)
    ]
    assert not bare, "match the code, or look at the error: pytest.raises(UsageError, match='PL0470')"


def is_bare(item: ast.withitem) -> bool:
    """Whether it expects a coded error, and looks neither at its text nor at itself."""
    match item.context_expr:
        case ast.Call(
            func=ast.Attribute(attr="raises"), args=[ast.Name(id=name) | ast.Attribute(attr=name)], keywords=[]
        ):
            return name in EXIT_CODES and item.optional_vars is None
    return False


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("pytest.raises(UsageError)", True),
        ("pytest.raises(errors.PathliftError)", True),
        ("pytest.raises(UsageError) as error", False),
        ("pytest.raises(UsageError, match='PL0400')", False),
        ("pytest.raises(ValueError)", False),
    ],
)
def test_what_is_bare(text: str, bare: bool) -> None:
    (statement,) = ast.parse(f"with {text}:\n    pass").body
    assert isinstance(statement, ast.With)
    assert is_bare(statement.items[0]) == bare
