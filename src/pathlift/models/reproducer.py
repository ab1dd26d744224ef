"""Reproducers: a folder with what it takes to see a pass fail again, for whoever mends it."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import networkx as nx

from pathlift.frontend.plir import save_text
from pathlift.ir.errors import OutputError, WitnessError
from pathlift.ir.graph import Graph
from pathlift.passes.base import Transform
from pathlift.passes.pipeline import PassFailedError
from pathlift.passes.pipeline_text import pass_text

_PACKAGES = ("pathlift", "numpy", "onnx", "onnx-ir", "onnxruntime", "torch")


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Check that a folder can be written: there is none, or nothing in it.

    Raises
    ------
    OutputError
        If something is there.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError("0703", f"output {str(path)!r} exists", hint="name a new folder")


class Keeper:
    """The graph before the pass that runs, and which that is.

    Parameters
    ----------
    passes
        Of the pipeline.
    """

    def __init__(self, passes: Sequence[Transform]) -> None:
        self.passes, self.done, self.graph = passes, 0, Graph(nx.MultiDiGraph(), ())

    def begin(self, graph: Graph) -> Graph:
        """Note the graph that the pipeline starts from."""
        self.graph = graph
        return graph

    def then(self, after_each: Callable[[str, Graph], None]) -> Callable[[str, Graph], None]:
        """Note the graph after each pass, too."""

        def note(name: str, graph: Graph) -> None:
            self.done, self.graph = self.done + 1, graph
            after_each(name, graph)

        return note


@contextmanager
def keeping(
    folder: str | os.PathLike[str] | None, passes: Sequence[Transform], only_sites: Sequence[str] | None
) -> Iterator[Keeper]:
    """Write a reproducer if a pass fails; parameters are those of `pathlift.opt`.

    Raises
    ------
    OutputError
        If the folder is not empty, or cannot be written.
    """
    keeper = Keeper(passes)
    if folder is not None:
        check_folder(folder)
    try:
        yield keeper
    except (PassFailedError, WitnessError) as error:
        if folder is not None:
            options = "" if only_sites is None else f" --only-sites {shlex.quote(','.join(only_sites))}"
            failing, pipeline = pass_text(passes[keeper.done]), ",".join(map(pass_text, passes))
            write_reproducer(folder, keeper.graph, failing, pipeline, options, str(error))
            error.hint = f"{os.fspath(folder)} has what it takes to see it again"
        raise


def write_reproducer(
    folder: str | os.PathLike[str], graph: Graph, failing: str, pipeline: str, options: str, error: str
) -> None:
    """Write the graph before the pass that fails, the command that runs it, and what it ran on.

    Parameters
    ----------
    folder
        Is made.
    graph
        Before the pass.
    failing, pipeline
        The pass, and all of them, as pipelines spell them.
    options
        Of the command line, that matter.
    error
        What was said.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        save_text(graph, path / "before.plir")
        command = f"pathlift opt before.plir -p {shlex.quote(failing)}{options}\n"
        (path / "command.sh").write_text(command, encoding="utf-8")
        told = {"error": error, "pass": failing, "pipeline": pipeline, "versions": _versions()}
        (path / "report.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except OSError as fault:
        raise OutputError("0719", f"cannot write the reproducer {str(path)!r}: {fault.strerror}") from fault


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
