"""Conventions of the prose in the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("frontend", "ir", "passes", "codegen", "runtime", "src", "tests", "benchmarks", "docs", "examples")
QUESTION = re.compile(r"(By |In )?(what|which|whether|how|where|when|why|who|whose)\b", re.IGNORECASE)


def docstring(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    quoted = re.match(r'"""[^"\\]+"""', text)  # parsing all that follows would take long
    return ast.get_docstring(ast.parse(quoted[0] if quoted else text)) or ""


def test_modules_say_first_what_they_hold() -> None:
    docstrings = {path: docstring(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert len(docstrings) > 300
    assert not [path for path, text in docstrings.items() if not text], "modules without a docstring"
    questions = [path for path, text in docstrings.items() if QUESTION.match(text)]
    assert not questions, "lead with the noun: what a module holds comes first, then what is said of it"
