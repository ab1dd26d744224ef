"""Optional packages: which absences are coded, wherever an import fails."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import pathlift
from pathlift.cli.failure import as_coded
from pathlift.ir.errors import ExecutionError, PathliftError, UsageError
from pathlift.ir.foreign import foreign
from pathlift.ir.packages import INSTALLS, absent, optional_packages
from pathlift.passes.pipeline import run_analysis
from pathlift.passes.registry import find_pass
from pathlift.testing.samples import sample

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("name", INSTALLS)
def test_each_package_has_its_line(name: str) -> None:
    error = absent(missing(f"{name}.part"))
    assert error is not None
    assert (error.code, error.exit_code) == ("PL1415", 2)
    assert error.message == f"this needs {name}, which is not installed"
    assert error.hint.startswith(f"pip install {INSTALLS[name]}")


@pytest.mark.parametrize(("name", "line"), [item for item in INSTALLS.items() if "[" in item[1]])
def test_extras_install_what_is_said(name: str, line: str) -> None:
    extra = line.partition("[")[2].partition("]")[0]
    assert any(item.startswith(name + ">=") for item in EXTRAS[extra])


@pytest.mark.parametrize("error", [missing("torchvision"), missing("numpy"), ImportError("torch"), ValueError("torch")])
def test_other_failures_are_others(error: Exception) -> None:
    assert absent(error) is None
    with pytest.raises(type(error)), optional_packages():
        raise error


def test_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, libraries' errors, passes and the package's own functions say the same."""
    assert as_coded(missing("torch")).code == "PL1415"
    with (
        pytest.raises(UsageError, match="needs torch"),
        foreign("x", lambda s: ExecutionError("0903", s), programs=True),
    ):
        raise missing("torch")

    analysis = find_pass("path-norm")()

    def run(*_: object, **__: object) -> object:
        raise missing("torch")

    monkeypatch.setattr(type(analysis), "run", run)
    with pytest.raises(UsageError, match="needs torch"):
        run_analysis(analysis, sample("Relu"))

    monkeypatch.setattr("pathlift.models.source.open_model", run)
    with pytest.raises(PathliftError, match="needs torch"):
        pathlift.inspect("model.onnx")
