"""The order of the folders, read off their imports; ``python tests/test_layers.py`` prints the arrows between them.

A room is a folder, with the files that lie loose in it. Imports inside functions and for type checking count like any.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "ir": {"ir"},
    "frontend": {"frontend", "ir"},
    "passes": {"passes", "ir"},
    "codegen": {"codegen", "passes", "ir"},
    "runtime": {"runtime", "ir", "codegen"},
}
FOLDERS = {f"pathlift.{folder}": ROOT / folder for folder in ALLOWED} | {"pathlift": ROOT / "src/pathlift"}

ROOMS = [
    "ir", "frontend",
    "passes", "passes.fields", "passes.attacks", "passes.witness", "passes.layers", "passes.channels",
    "passes.rewrites", "passes.path_norm", "passes.path_metric", "passes.heaviest_path",
    "passes.regions", "passes.rescaling", "passes.generalization", "passes.equivalence", "passes.pruning",
    "passes.sketches", "passes.kronecker.fitting", "passes.kronecker", "passes.pairing", "passes.tape",
    "passes.intervals",
    "passes.tightening", "passes.relaxations", "passes.ellipsoids", "passes.certificates",
    "codegen", "runtime", "schemas", "report", "search", "automata", "models", "models.certificates", "models.sketches",
    "models.tuning", "models.language", "models.privacy",
    "verbs", "cli", "", "testing",
]  # fmt: skip
"""The rooms, each of which imports only from those before it; "" is what lies loose in src/pathlift.

A folder without an entry belongs to the room around it, whose files are in order among themselves (`BACK`). Only in
`passes` does every folder need an entry.
"""

BACK = {
    ("ir.graph", "ir.builder"): "`graph.edit()`: an edit starts from the graph that it changes",
    ("ir.graph", "ir.spelling"): "what a model's file spelled and remarked travels with the graph",
    ("ir.graph", "ir.text"): "`str(graph)` is the text form",
    ("ir.graph", "ir.picture"): "a notebook shows a graph as its picture",
    ("frontend.lower.registry", "frontend.lower.node"): "the type of a lowering names the node that it is handed",
    ("frontend.lower.node", "frontend.lower.model"): "a node asks the model's lowering, which makes it, for operands",
}
"""Imports that close a circle, all of them within functions or for type checking, and why they stay."""


def sources(folder: Path) -> Iterator[Path]:
    # src/pathlift links to the root folders for type checkers: each file is looked at once, where it really is.
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from sources(path)
        elif path.suffix == ".py":
            yield path


@functools.cache
def statements(code: str) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The imports anywhere in a file, also for type checking only, and those that run when it is loaded."""
    tree = ast.parse(code)
    return ([n for n in ast.walk(tree) if is_import(n)], [n for n in tree.body if is_import(n)])  # type: ignore[misc]


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def imported(nodes: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """The modules that these import; `from a import b` may mean a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@functools.cache
def modules() -> Mapping[str, Path]:
    """All modules of the package, by dotted name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sources(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


@functools.cache
def imports() -> nx.DiGraph:
    """Which module imports which; an edge's ``deferred`` says whether it never does while it is loaded."""
    graph = nx.DiGraph()
    graph.add_nodes_from(modules())
    for module, path in modules().items():
        anywhere, loaded = statements(path.read_text())
        at_once = {name for _, name in imported(loaded)}
        for _, name in imported(anywhere):
            target = name if name in graph else name.rpartition(".")[0]
            if target in graph and target != module:
                known = graph.get_edge_data(module, target, {"deferred": True})
                graph.add_edge(module, target, deferred=known["deferred"] and name not in at_once)
    return graph


def folder_of(module: str) -> str:
    """The folder of a module, as a dotted name without ``pathlift``."""
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    return package.removeprefix("pathlift").removeprefix(".")


def room(module: str) -> str:
    """The room of a module: its folder, or the nearest around it that is one."""
    name = folder_of(module)
    while name not in ROOMS:
        name = name.rpartition(".")[0]
    return name


def arrows() -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another."""
    pairs = ((room(a), room(b)) for a, b in imports().edges)
    return Counter((a, b) for a, b in pairs if a != b)


def layer_violations(code: str, folder: str) -> list[str]:
    found = []
    for line, module in imported(statements(code)[0]):
        first, _, rest = module.partition(".")
        if first == "pathlift" and rest.split(".")[0] not in ALLOWED[folder]:
            found.append(f"line {line}: {folder} imports {module}")
    return found


def style_violations(code: str) -> list[str]:
    found = []
    nodes, _ = statements(code)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"line {node.lineno}: relative import")
    for line, module in imported(nodes):
        if module.split(".")[0] in ALLOWED or module.split(".")[0] == "src":
            found.append(f"line {line}: import {module} through pathlift")
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_layers(folder: str) -> None:
    found = {str(path): layer_violations(path.read_text(), folder) for path in sources(ROOT / folder)}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("folder", [*ALLOWED, "src/pathlift"])
def test_imports_are_absolute_and_through_the_package(folder: str) -> None:
    found = {str(path): style_violations(path.read_text()) for path in sources(ROOT / folder)}
    assert {path: lines for path, lines in found.items() if lines} == {}


def running_back() -> list[tuple[str, str]]:
    return [(a, b) for a, b in arrows() if ROOMS.index(a) < ROOMS.index(b)]


def test_no_arrow_between_rooms_runs_back() -> None:
    assert running_back() == []


def test_every_folder_of_passes_has_its_place() -> None:
    folders = {folder_of(module) for module in modules() if module.startswith("pathlift.passes")}
    assert folders == {name for name in ROOMS if name.startswith("passes")}
    assert {room(module) for module in modules()} == set(ROOMS)


def test_circles_of_imports() -> None:
    graph = imports().copy()
    for (a, b), _ in BACK.items():
        edge = (f"pathlift.{a}", f"pathlift.{b}")
        assert graph.edges[edge]["deferred"], f"{a} needs {b} before it is loaded"
        graph.remove_edge(*edge)
    assert [c for c in nx.strongly_connected_components(graph) if len(c) > 1] == []
    for a, b in BACK:
        graph.add_edge(f"pathlift.{a}", f"pathlift.{b}")
        assert not nx.is_directed_acyclic_graph(graph), f"{a} → {b} closes no circle"
        graph.remove_edge(f"pathlift.{a}", f"pathlift.{b}")


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


if __name__ == "__main__":
    for name in ROOMS:
        print(f"{name or 'pathlift'} → {', '.join(sorted(b or 'pathlift' for a, b in arrows() if a == name)) or '-'}")
    print(f"{len(ROOMS)} rooms, {len(arrows())} arrows, {len(running_back())} of them back")
