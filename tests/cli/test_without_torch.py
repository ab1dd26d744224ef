"""The command line where torch is not installed: what needs none works, what needs it says so in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import contextlib, io, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from pathlift.cli.frame import run
import pathlift

for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(line)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
for use in (lambda: pathlift.norm(sys.argv[1]), lambda: pathlift.PathNormLoss):
    try:
        use()
    except pathlift.PathliftError as error:
        print(json.dumps(str(error)))
"""
WORKS = {
    "inspect": "inspect MODEL",
    "run": "run MODEL --input x.npz -o y.npz",
    "bench": "bench MODEL --shape N=1 --runs 1",
    "passes": "passes",
    "rewrites": "opt MODEL -p strip-head,dead-code,common-subexpressions -o a.onnx",
    "verified": "opt MODEL -p dead-code --verify",
    "detection": "ks detect MODEL",
}
NEEDS_IT = {
    "norm": "norm MODEL",
    "pass": "opt MODEL -p fold-batchnorm",
    "analysis": "analyze MODEL -p path-norm",
    "canonicalize": "canonicalize MODEL -o b.onnx",
    "symmetries": "compare MODEL MODEL --modulo rescaling",
    "domain": "compare MODEL MODEL --domain image=0:1",
    "bound": "bound MODEL --kind lipschitz --domain image=0:1",
    "prune": "prune MODEL --sparsity 0.5 -o c.onnx",
    "ks fit": "ks fit MODEL --layers hidden --patterns (1,24,32,2)(4,16,64,1) --calib x.npz -o d.onnx",
    "export": "export module:make --shape 1,3 -o e.onnx",
    "executor": "run MODEL --executor torch --input x.npz -o z.npz",
}
Outcomes = dict[str, tuple[int, str, str]]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, list[str]]:
    """What each command says, all of them in one process; then what Python's own functions say."""
    folder, model = tmp_path_factory.mktemp("work"), Path(__file__).parents[2] / "examples" / "digits.onnx"
    np.savez(folder / "x.npz", image=np.zeros((2, 1, 8, 8), np.float32))
    commands = WORKS | NEEDS_IT
    lines = [[str(model) if word == "MODEL" else word for word in text.split()] for text in commands.values()]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model)],
        input=json.dumps(lines), capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    printed = [json.loads(line) for line in process.stdout.splitlines()]
    return {n: tuple(item) for n, item in zip(commands, printed, strict=False)}, printed[len(commands) :]


@pytest.mark.parametrize("name", WORKS)
def test_what_needs_no_torch_works(said: tuple[Outcomes, list[str]], name: str) -> None:
    code, out, err = said[0][name]
    assert (code, err) == (0, "")
    assert out


@pytest.mark.parametrize("name", NEEDS_IT)
def test_what_needs_torch_says_so(said: tuple[Outcomes, list[str]], name: str) -> None:
    code, out, err = said[0][name]
    assert (code, out) == (2, "")
    assert err.startswith("PL1415 this needs torch, which is not installed hint: pip install 'pathlift[torch]'")
    assert err.count("\n") == 1


def test_passes_that_need_torch_are_listed_as_unavailable(said: tuple[Outcomes, list[str]]) -> None:
    rows = {line.split()[0]: line for line in said[0]["passes"][1].splitlines()}
    assert "unavailable" in rows["path-norm"]
    assert "needs torch" in rows["path-norm"]
    assert "transform" in rows["dead-code"]


def test_functions_of_python_say_it_too(said: tuple[Outcomes, list[str]]) -> None:
    assert len(said[1]) == 2
    assert all(error.startswith("PL1415 this needs torch") for error in said[1])
