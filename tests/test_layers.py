"""The layering of the folders, read off their imports: frontend, passes, codegen -> ir; runtime -> ir, codegen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("report", "models", "verbs", "cli")
"""Of the package, each of which may import those before it."""
ALLOWED = {
    "ir": {"ir"},
    "frontend": {"frontend", "ir"},
    "passes": {"passes", "ir"},
    "codegen": {"codegen", "ir"},
    "runtime": {"runtime", "ir", "codegen"},
}


def sources(folder: Path) -> Iterator[Path]:
    # src/pathlift links to the root folders for type checkers: each file is looked at once, where it really is.
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from sources(path)
        elif path.suffix == ".py":
            yield path


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """All modules a file imports, anywhere in it and also for type checking only; `from a import b` may mean a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def layer_violations(code: str, folder: str) -> list[str]:
    found = []
    for line, module in imported(ast.parse(code)):
        first, _, rest = module.partition(".")
        if first == "pathlift" and rest.split(".")[0] not in ALLOWED[folder]:
            found.append(f"line {line}: {folder} imports {module}")
    return found


def style_violations(code: str) -> list[str]:
    found = []
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"line {node.lineno}: relative import")
    for line, module in imported(tree):
        if module.split(".")[0] in ALLOWED or module.split(".")[0] == "src":
            found.append(f"line {line}: import {module} through pathlift")
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_layers(folder: str) -> None:
    found = {str(path): layer_violations(path.read_text(), folder) for path in sources(ROOT / folder)}
    assert {path: lines for path, lines in found.items() if lines} == {}


def room_violations(code: str, room: str) -> list[str]:
    later = ROOMS[ROOMS.index(room) + 1 :]
    return [
        f"line {line}: {room} imports {module}"
        for line, module in imported(ast.parse(code))
        if any(f"{module}.".startswith(f"pathlift.{name}.") for name in later)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms(room: str) -> None:
    found = {str(path): room_violations(path.read_text(), room) for path in sources(ROOT / "src/pathlift" / room)}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert not ROOMS.index(room) or room_violations(f"import pathlift.{room}.x", ROOMS[0])


@pytest.mark.parametrize("folder", [*ALLOWED, "src/pathlift"])
def test_imports_are_absolute_and_through_the_package(folder: str) -> None:
    found = {str(path): style_violations(path.read_text()) for path in sources(ROOT / folder)}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from pathlift.passes.norm import PathNorm",
        "from pathlift import passes",
        "from pathlift import norm",
        "import pathlift.cli.text",
        "def f():\n    import pathlift.frontend",
        "if TYPE_CHECKING:\n    from pathlift.frontend import load",
    ],
)
def test_violations_are_found(code: str) -> None:
    assert layer_violations(code, "ir")


@pytest.mark.parametrize(
    "code", ["from . import graph", "from ..ir import graph", "import ir.graph", "from ir import x"]
)
def test_style_violations_are_found(code: str) -> None:
    assert style_violations(code)
