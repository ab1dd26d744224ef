"""README.md and pages of docs/, run: commands and Python as printed, in a folder with what `make examples` makes.

What a command prints is what the page says, up to

- times, and figures that are made of them, which are not looked at;
- the last digits of other numbers: one unit of the last printed place, or a relative 1e-3;
- figures of searches that end when their time is up, rows of which are looked at by their names alone: how far they get
  in the ten seconds that they have here is the machine's business;
- lengths of bars, and white space;
- lines that ``...`` on a line of its own stands for.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pathlift.ir.errors import UsageError
from pathlift.verbs import VERBS

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name in ("README.md", "index.md", "tutorial_ci.md") or path.name.startswith("howto_")
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(pathlift [^`]+)`")
TIME = re.compile(r"\d[\d.,]* (s|ms|µs)\b")
RUN = re.compile(r"^pathlift \w.*( -|\.onnx)")  # what has neither option nor file names a verb
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")

SEARCH = re.compile(r"^pathlift (compare|bound)(?= .*--domain)|^pathlift verify-cert")


class Command(NamedTuple):
    """A command, and the lines that it is said to print."""

    line: str
    printed: tuple[str, ...] = ()


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(PAGES[page]) if kind == language]


def commands(page: str) -> list[Command]:
    found: list[Command] = []
    for text in blocks(page, "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            else:
                found[-1] = Command(found[-1].line, (*found[-1].printed, line))
    return found


def spans(page: str) -> list[str]:
    """Commands within sentences."""
    return SPAN.findall(BLOCK.sub("", PAGES[page]))


def lines() -> list[str]:
    """All commands of all pages, each once."""
    return list(dict.fromkeys(line for page in PAGES for line in [*(c.line for c in commands(page)), *spans(page)]))


def words(line: str) -> list[str]:
    """The arguments of the first command of a pipe, without `pathlift`."""
    return shlex.split(re.split(r" 2>| > | \|\|? ", line)[0])[1:]


def agree(said: str, line: str, relative: float = 1e-3) -> bool:
    """Whether a line is what is said, by the rules above."""
    if relative == inf:
        said, line = (re.split(r"\s{2,}", text.strip())[0] for text in (said, line))
    a, b = (" ".join(re.sub("█+", "█", TIME.sub("TIME", text)).split()) for text in (said, line))
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    return all(close(x, y, relative) for x, y in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True))


def close(a: str, b: str, relative: float) -> bool:
    (x, step), (y, other) = map(read, (a, b))
    return abs(x - y) <= 1.01 * max(step, other, relative * min(abs(x), abs(y)))


def read(number: str) -> tuple[float, float]:
    """A number, and what one is worth in its last printed place."""
    mantissa, _, exponent = number.replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 0.0 if "." not in mantissa and not exponent else 10.0 ** (int(exponent or 0) - decimals)
    return float(number.replace(",", "")), unit


def matches(said: Sequence[str], lines: Sequence[str], relative: float = 1e-3) -> bool:
    """Whether lines are those that are said, ``...`` standing for any."""
    if not said:
        return not lines
    if said[0] == "...":
        return any(matches(said[1:], lines[i:], relative) for i in range(len(lines) + 1))
    return bool(lines) and agree(said[0], lines[0], relative) and matches(said[1:], lines[1:], relative)


@pytest.mark.parametrize(
    ("said", "line", "same"),
    [
        ("norm  1.234567  0.1 s", "norm 1.234568 17.25 s", True),
        ("norm  1.234567", "norm 1.234569", True),
        ("norm  1.23", "norm 1.25", False),
        ("48 neurons", "49 neurons", False),
        ("12,288  92.4 %  ███", "12,288 92.5 % ████", True),
        ("12,288  92.4 %", "12,288 92.7 %", False),
        ("1.19221e+06", "1.19222e+06", True),
        ("1.19221e+06", "1.19221e+05", False),
        ("layer stem", "layer body", False),
    ],
)
def test_rule(said: str, line: str, same: bool) -> None:
    assert agree(said, line) is same


def test_searches_find_what_they_have_the_time_for() -> None:
    assert agree("intervals  4.913  a", "intervals  9.634  b", inf)
    assert not agree("intervals  4.913", "ellipsoids  4.913", inf)
    assert agree("at most 1.5", "at most 2.5", inf)
    assert not agree("at most 1.5", "no bound", inf)


def test_ellipses() -> None:
    assert matches(["a", "...", "c"], ["a", "b", "b", "c"])
    assert matches(["a", "..."], ["a"])
    assert not matches(["a", "...", "c"], ["a", "b"])
    assert not matches(["a"], ["a", "b"])


def test_pages_have_commands() -> None:
    assert len(PAGES) >= 6
    assert [page for page in PAGES if not commands(page)] == []


@pytest.mark.parametrize("line", lines())
def test_commands_parse(line: str, fake: Callable[..., Any], pathlift: Callable[..., Any]) -> None:
    """Verbs and options exist, and values can be read."""
    arguments = words(line)
    if line.startswith("pathlift -"):
        assert arguments[0] in pathlift("--help").out
    elif line.startswith("pathlift ") and " ".join(arguments) not in VERBS:
        verb = max((v for v in VERBS if f"{' '.join(arguments)} ".startswith(f"{v} ")), key=len)
        fake(verb=VERBS[verb].removeprefix("pathlift.verbs.").replace(":", "."), error=UsageError("0000", "parsed"))
        assert pathlift(*arguments).err.startswith("PL0000 parsed")


def test_make_examples_runs_the_script() -> None:
    assert "examples: $(STAMP)\n\t$(BIN)/python examples/make_files.py\n" in (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone is to the commands, once `make examples` was run."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "examples/make_files.py"], cwd=folder, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the README takes two minutes on an idle machine
@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_is_said(page: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    wrong = []
    for command in (*commands(page), *(Command(s, ("...",)) for s in spans(page) if RUN.search(s))):
        if "| jq" in command.line and shutil.which("jq") is None:
            continue
        searches = SEARCH.search(command.line)
        line = SEARCH.sub(r"\g<0> --budget 10", command.line) if searches and searches[1] else command.line
        script = ["bash", "-o", "pipefail", "-c", line]
        run = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        said = command.printed or ("...",)
        relative = inf if searches else 1e-3
        ended = run.returncode in ((0, 5) if searches else (0,))  # 5: nothing was proved in that time
        if not ended or not matches(said, run.stdout.splitlines(), relative):
            wrong.append("\n".join([f"$ {command.line}", *said, f"--- exit {run.returncode}", run.stdout, run.stderr]))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks, one after another, with what they take as given."""
    import torch
    from torch import nn

    import pathlift

    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    image_net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    mlp = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    model = nn.Sequential(nn.ModuleDict({"mlp": mlp}))
    model.forward = mlp.forward  # type: ignore[method-assign]
    given: dict[str, Any] = {
        "pathlift": pathlift,
        "criterion": nn.CrossEntropyLoss(),
        "module": nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)),
        "x": torch.randn(7, 5),
        "y": torch.zeros(7, dtype=torch.int64),
        "torch_module": image_net,
        "linear": nn.Linear(384, 384),
        "model": model,
        "batches": [torch.randn(16, 64)],
    }
    for block in blocks("README.md", "python"):
        exec(block, given)
    assert given["result"].norms[0].log10 == pytest.approx(6.076353, abs=1e-6)
    assert given["module"][0].weight.grad.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_shows_what_its_cells_print(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells run one after another, with pictures drawn but not looked at."""
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace: dict[str, Any] = {}
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 10
    assert [number for number, cell in enumerate(cells, 1) if cell["execution_count"] != number] == []
    for cell in cells:
        text = [o.get("text") or o["data"]["text/plain"] for o in cell["outputs"] if o["output_type"] != "display_data"]
        said = [line for lines in text for line in "".join(lines).splitlines()]
        assert matches(said, printed("".join(cell["source"]), namespace)), "".join(cell["source"])


def printed(cell: str, namespace: dict[str, Any]) -> list[str]:
    """The lines that a cell prints, its last expression among them."""
    module = ast.parse(cell)
    last = module.body.pop() if isinstance(module.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(compile(module, "cell", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace) if last is not None else None
        if value is not None:
            print(repr(value))
    return stdout.getvalue().splitlines()
