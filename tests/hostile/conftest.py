"""Models of one input, and what the command line makes of their files.

What is refused is refused by every verb, in one coded line that names the culprit, and nothing is written. What is
supported gives the figure that a few lines of numpy give. Tests are called ``row_NN`` by kind of input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper, numpy_helper

from pathlift.testing.onnx_models import info

W = np.float32([[1, -2], [0.5, 0], [-0.25, 3]])  # three outputs, two inputs


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), name: str | None = None, **attributes: Any
) -> NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), name=f"my_{op}" if name is None else name, **attributes)


def model(
    nodes: Sequence[NodeProto],
    weights: dict[str, np.ndarray] | None = None,
    shape: Any = ("N", 2),
    outputs: Sequence[Any] = ("y",),
    *,
    opset: int = 21,
    ir_version: int = 10,
    domains: Sequence[str] = (),
) -> ModelProto:
    """A model of one input ``x``; outputs are names, or typed."""
    ends = [helper.make_empty_tensor_value_info(o) if isinstance(o, str) else o for o in outputs]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "g", [info("x", shape)], ends, initializers)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def linear(**fields: Any) -> ModelProto:
    """y = x Wᵀ; its path-norm is that of W."""
    return model([node("Gemm", ["x", "w"], transB=1)], {"w": W}, **fields)


def saved(folder: Path, proto: ModelProto | bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


@pytest.fixture
def make() -> SimpleNamespace:
    """Makes nodes, models, the linear model and a model's file."""
    return SimpleNamespace(node=node, model=model, linear=linear, saved=saved)


@dataclass(frozen=True)
class CommandLine:
    """The command line, and what is expected of it."""

    call: Callable[..., Any]

    def __call__(self, *arguments: str) -> Any:
        return self.call(*arguments)

    def contents(self, folder: Path) -> dict[str, bytes | None]:
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}

    def one_line(self, error: str, *names: str) -> None:
        assert error.startswith("PL0") or error.startswith("warning: ")
        *notes, line = error.splitlines()
        assert all(note.startswith("warning: ") for note in notes)
        assert line[:2] == "PL"
        assert line[2:6].isdigit()
        assert "Traceback" not in error
        assert not set("\x1b\x07\u202e") & set(error)
        for name in names:
            assert name in line, line

    def refused(self, path: Path, code: int, *names: str, verbs: Sequence[str] = ("inspect", "norm", "opt")) -> None:
        """Every verb, in both formats, ends with `code` and one line that has all `names`; nothing is written."""
        before = self.contents(path.parent)
        for verb in verbs:
            output = ["-o", str(path.parent / "written.onnx")] if verb == "opt" else []
            for form in ("text", "json"):
                outcome = self(verb, str(path), *output, "--format", form)
                assert outcome.code == code, (verb, form, outcome)
                if form == "json":
                    error = json.loads(outcome.out)["error"]
                    assert f"{error['code']} {error['message']}"[:7] == outcome.err.splitlines()[-1][:7]
                    assert error["input"] == (str(path) if code != 2 else error["input"])
                else:
                    assert outcome.out == ""
                self.one_line(outcome.err, *names)
        assert self.contents(path.parent) == before

    def value(self, path: Path, *flags: str, warns: str = "") -> float:
        """The first norm, as JSON gives it; stderr is empty but for a warning that has `warns`."""
        outcome = self("norm", str(path), "--format", "json", *flags)
        assert outcome.code == 0, outcome.err
        assert (warns in outcome.err) if warns else not outcome.err
        norm = json.loads(outcome.out)["result"]["norms"][0]
        assert norm["upper_log10"] is None or norm["log10"] <= norm["upper_log10"]
        text = self("norm", str(path), *flags).out.lower()
        assert not any(bad in text.split() for bad in ("inf", "nan", "-inf"))
        value: float = norm["value"]
        return value

    def carried(self, path: Path) -> ModelProto:
        """What `opt` without passes writes, a valid model again."""
        assert self("inspect", str(path)).code == 0
        output = path.parent / "out.onnx"
        outcome = self("opt", str(path), "-o", str(output), "--force")
        assert outcome.code == 0, outcome.err
        written = onnx.load(output)
        onnx.checker.check_model(written)
        return written


@pytest.fixture
def cli(pathlift: Callable[..., Any]) -> CommandLine:
    """The command line, in this process."""
    return CommandLine(pathlift)
