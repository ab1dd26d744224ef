"""The installed package is what is in the tree: package list, type marker, public names, entry point."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pathlift

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("codegen", "frontend", "ir", "passes", "runtime")


def packages(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    if (folder / "__init__.py").exists():
        yield name, folder
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink():
                yield from packages(child, f"{name}.{child.name}")


def all_packages() -> dict[str, Path]:
    found = dict(packages(ROOT / "src/pathlift", "pathlift"))
    for folder in FOLDERS:
        found |= packages(ROOT / folder, f"pathlift.{folder}")
    return found


def test_package_list_is_complete() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(all_packages())


def test_package_folders_are_mapped() -> None:
    expected = {f"pathlift.{folder}": folder for folder in FOLDERS} | {"pathlift": "src/pathlift"}
    assert PROJECT["tool"]["setuptools"]["package-dir"] == expected


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_for_type_checkers(folder: str) -> None:
    assert (ROOT / "src/pathlift" / folder).readlink() == Path("../..") / folder


@pytest.mark.parametrize("name", all_packages())
def test_package_has_a_docstring(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((all_packages()[name] / "__init__.py").read_text()))
    assert docstring
    assert "TODO" not in docstring


def test_every_dependency_is_pinned() -> None:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(item for extra in ("cluster", "cpu", "export", "plot", "test", "docs") for item in extras[extra]),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    assert {item.split(">=")[0] for item in wanted} == pinned


def test_public_names() -> None:
    tree = ast.parse((ROOT / "src/pathlift/__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {a.name: n.module for n in checked.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert seen == pathlift._HOMES
    assert sorted(pathlift.__all__) == sorted([*seen, "__version__"])
    assert set(pathlift.__all__) <= set(dir(pathlift))


@pytest.mark.parametrize("name", pathlift.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(pathlift, name) is not None


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="'pathlift' has no attribute 'nothing'"):
        pathlift.nothing  # noqa: B018


def test_version() -> None:
    assert pathlift.__version__ == PROJECT["project"]["version"]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: setuptools leaves a build folder in the tree, and would take stale files from one.
    folder = tmp_path_factory.mktemp("sdist")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "*.onnx", "*.npz")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignored)
    (requirement,) = PROJECT["build-system"]["requires"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "tools"), requirement]
    subprocess.run(pip, check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(folder / 'tools')!r}); import setuptools.build_meta as backend; "
        f"backend.build_sdist({str(folder)!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder / "tree", capture_output=True)
    (found,) = folder.glob("pathlift-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def clean(sdist: Path) -> Path:
    """The folder of commands of an environment in which the sdist is installed, with ONNX Runtime."""
    folder = sdist.parent / "clean"
    venv.create(folder, with_pip=True)
    constraints = ["-c", str(ROOT / "constraints.txt")]
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *constraints, f"{sdist}[cpu]"]
    subprocess.run(install, check=True, cwd=sdist.parent)
    return folder / "bin"


@pytest.mark.slow
def test_clean_environment(clean: Path, tmp_path: Path) -> None:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        words = [str(clean / command[0]), *command[1:]]
        # Not isolated, a PYTHONPATH would put the tree before what is installed.
        return subprocess.run(words, cwd=tmp_path, env={"LANG": "C.UTF-8"}, capture_output=True, text=True, check=False)

    digits = str(ROOT / "examples" / "digits.onnx")
    assert run("python", "-c", "import torch").returncode == 1
    assert run("pathlift", "--version").stdout == f"pathlift {pathlift.__version__}\n"
    assert run("pathlift", "inspect", digits).returncode == 0
    rewritten = run("pathlift", "opt", digits, "-p", "dead-code", "--verify", "-o", "m.onnx")
    assert (rewritten.returncode, rewritten.stderr) == (0, "")
    norm = run("pathlift", "norm", digits)
    assert (norm.returncode, norm.stdout) == (2, "")
    assert norm.stderr.startswith("PL1415 this needs torch, which is not installed hint: pip install 'pathlift[torch]'")
    program = "import pathlift.codegen as c, os; print(*sorted(os.listdir(os.path.join(c.__path__[0], 'templates'))))"
    templates = run("python", "-c", program)
    assert templates.stdout.split() == sorted(p.name for p in (ROOT / "codegen/templates").iterdir() if p.is_file())


@pytest.mark.slow
def test_wheel(sdist: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(sdist)]
    subprocess.run(command, check=True)
    with tarfile.open(sdist) as archive:
        parts = {name.partition("/")[2] for name in archive.getnames()}
    assert parts >= {"LICENSE", "README.md", "pyproject.toml", "src/pathlift/py.typed"}
    (wheel,) = tmp_path.glob("pathlift-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    expected = {
        f"{name.replace('.', '/')}/{path.name}"
        for name, folder in all_packages().items()
        for path in folder.glob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == expected
    assert "pathlift/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "pathlift = pathlift.cli:main" in entry_points
