"""A verb is one file and one line: its command, its JSON and text, its name in Python and its help page follow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERB = '''"""A toy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pathlift.models.options import Flag, Progress, Trace
from pathlift.report.result import Result


@dataclass(frozen=True, kw_only=True)
class ToyResult(Result):
    total: int

    def to_json(self) -> dict[str, Any]:
        return {"total": self.total}


def toy(
    *numbers: Annotated[int, Flag(argument=True, type=list[int])],
    times: Annotated[int, Flag("--times", "-t", metavar="N", read=len, write="x".__mul__)] = 2,
    tell: Annotated[Callable[[str, str], None] | None, Trace("--loud", help="Print the sum.")] = None,
    progress: Annotated[Callable[[str, int, int], object] | None, Progress("adding")] = None,
    hidden: int = 0,
) -> ToyResult:
    """Add numbers up.

    Parameters
    ----------
    numbers
        The terms.
    times
        Multiply the sum. By the length of a word.
    tell
        Told the sum.
    progress
        Told how far it is.
    hidden
        Added.
    """
    total = sum(numbers) * times + hidden
    if tell is not None:
        tell("adding", f"sum {total}")
    return ToyResult(total=total)


def text(payload: dict[str, Any]) -> Iterator[str]:
    """Yield the sum."""
    yield f"total: {payload['total']}"
'''
PROGRAM = """
import contextlib, io, json, sys
import pathlift
from pathlift.cli.frame import run

def told(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    return [code, out.getvalue(), err.getvalue()]

sys.path.insert(0, "docs")
import generate

print(json.dumps({
    "help": told("toy", "--help"),
    "json": told("toy", "1", "2", "--format", "json"),
    "text": told("toy", "1", "2", "-t", "abc", "--loud"),
    "python": pathlift.toy(1, 2, hidden=5).total,
    "names": dir(pathlift),
    "page": generate.cli_page(),
}))
"""


def test_a_verb_is_one_file_and_one_line(tmp_path: Path) -> None:
    for folder in ("codegen", "docs", "frontend", "ir", "passes", "runtime", "src"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    verbs = tmp_path / "src/pathlift/verbs"
    (verbs / "toy.py").write_text(VERB, encoding="utf-8")
    registry = (verbs / "__init__.py").read_text(encoding="utf-8")
    line = '    "toy": "pathlift.verbs.toy:toy",\n'
    changed = registry.replace("VERBS = {\n", f"VERBS = {{\n{line}", 1)
    (verbs / "__init__.py").write_text(changed, encoding="utf-8")
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'src')!r})\n{PROGRAM}"
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(tmp_path / "src"), "COLUMNS": "120"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    told = json.loads(process.stdout)
    code, help_, _ = told["help"]
    assert code == 0
    for words in ("Add numbers up.", "The terms.", "--times", "Multiply the sum.", "[default: xx]", "Print the sum."):
        assert words in help_
    assert "hidden" not in help_
    assert "progress" not in help_
    code, out, err = told["json"]
    assert (code, json.loads(out)["result"], err) == (0, {"total": 6}, "")
    assert told["text"] == [0, "total: 9\n", "# after adding\nsum 9\n"]
    assert told["python"] == 11
    assert "toy" in told["names"]
    assert "## pathlift toy\n\nAdd numbers up.\n" in told["page"]
    assert re.search(r"\| `--times`, `-t` \| .* \| Multiply the sum\. \| `xx` \|", told["page"])
