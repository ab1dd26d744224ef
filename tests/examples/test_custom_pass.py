"""The example package, installed: its pass runs through its entry point, and its own tests run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "custom_pass"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
PIPELINE = "clamp-small{threshold=1e-3}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installer makes of the package: its modules, and its metadata beside them."""
    folder = tmp_path_factory.mktemp("site")
    project = PROJECT["project"]
    for module in PROJECT["tool"]["setuptools"]["py-modules"]:
        shutil.copy(PACKAGE / f"{module}.py", folder)
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, names in project["entry-points"].items()
        for line in [f"[{group}]", *map(" = ".join, names.items())]
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(site: Path, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def result(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(process.stdout)["result"]
    return payload


def test_it_is_listed(site: Path) -> None:
    (item,) = [
        p
        for p in result(python(site, "pathlift", "passes", "--format", "json"))["passes"]
        if p["name"] == "clamp-small"
    ]
    assert item["kind"] == "transform"
    assert item["help"] == "Set the weights of linear layers below a threshold to zero."
    (option,) = item["options"]
    assert (option["name"], option["type"], option["required"]) == ("threshold", "float", True)


def test_it_runs_in_a_pipeline(site: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    arguments = ["opt", "examples/digits.onnx", "-p", f"dead-code,{PIPELINE}", "--norms", "1", "-o", str(output)]
    process = python(site, "pathlift", *arguments, "--format", "json")
    assert (process.returncode, process.stderr) == (0, "")
    _, step = result(process)["passes"]
    assert (step["name"], step["changed"]) == ("clamp-small", True)
    assert step["note"].endswith(" weights set to zero, the largest 0.00099")
    assert step["norms"][0]["log10"] < result(process)["norms"][0]["log10"]
    assert output.exists()


def test_a_changed_function_is_refuted_without_a_tolerance(site: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.onnx"
    process = python(site, "pathlift", "opt", "examples/digits.onnx", "-p", PIPELINE, "--verify", "-o", str(output))
    assert (process.returncode, process.stderr) == (1, "")
    assert "refuted: " in process.stdout
    assert not output.exists()


def test_wrong_options_name_the_package(site: Path) -> None:
    process = python(site, "pathlift", "opt", "examples/digits.onnx", "-p", "clamp-small{threshold=-1}")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        "PL0657 pass 'clamp-small' of package pathlift-clamp-small refuses its options: threshold -1 is not positive\n"
    )


def test_the_command_in_its_readme(site: Path, tmp_path: Path) -> None:
    lines = (PACKAGE / "README.md").read_text().splitlines()
    (command,) = [line.strip() for line in lines if line.strip().startswith("pathlift opt")]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    process = python(site, *shlex.split(command), folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "small.onnx").exists()


def test_its_own_tests(site: Path, tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "test_clamp_small.py", tmp_path)
    process = python(site, "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert process.returncode == 0, process.stdout
    assert "passed" in process.stdout


@pytest.mark.slow
def test_an_installer_agrees(tmp_path: Path) -> None:
    tree, target = tmp_path / "tree", tmp_path / "target"
    shutil.copytree(PACKAGE, tree)
    command = ["pip", "install", "--no-deps", "--quiet", "--target", str(target), str(tree)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    process = python(target, "pathlift", "opt", "examples/digits.onnx", "-p", PIPELINE, "--format", "json")
    assert result(process)["passes"][0]["changed"]
