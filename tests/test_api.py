"""The public functions: what they take, and what they say to what they do not take."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pathlift

DIGITS = Path(__file__).parents[1] / "examples" / "digits.onnx"
LOG10 = 6.076353


@pytest.mark.parametrize(
    "read", [str, Path, Path.read_bytes, onnx.load, pathlift.load], ids=["str", "path", "bytes", "proto", "graph"]
)
def test_models_in_any_form(read: Callable[[Path], Any]) -> None:
    model = read(DIGITS)
    result = pathlift.norm(model)
    assert result.log10 == pytest.approx(LOG10, abs=1e-6)
    assert result.value == pytest.approx(10**LOG10, rel=1e-5)
    assert result.input.path == (str(DIGITS) if isinstance(model, str | Path) else None)
    assert pathlift.inspect(model).to_json()["parameters"]["count"] == 15402
    assert pathlift.opt(model, "dead-code").steps[0].name == "dead-code"


@pytest.mark.parametrize("q", [2, 2.0, np.float32(2), np.float64(2), (2,), range(2, 3), np.array([2.0])])
def test_exponents_in_any_form(q: Any) -> None:
    assert pathlift.norm(DIGITS, q=q).log10 == pytest.approx(1.843805, abs=1e-6)


def test_modules() -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).train()
    with torch.no_grad():
        a, b, c, d = (p.abs().double() for p in network.parameters())
        expected = float((c @ (a.sum(1) + b) + d).sum())
    for example in ((1, 3), [(1, 3)], torch.ones(5, 3), (torch.ones(1, 3),)):
        assert pathlift.norm(network, example=example).value == pytest.approx(expected)
    assert network.training


def test_save_and_load(tmp_path: Path) -> None:
    pathlift.save(pathlift.load(DIGITS), tmp_path / "m.onnx")
    assert pathlift.norm(tmp_path / "m.onnx").log10 == pytest.approx(LOG10, abs=1e-6)
    with pytest.raises(pathlift.PathliftError, match="exists"):
        pathlift.save(pathlift.load(DIGITS), tmp_path / "m.onnx")


def test_every_pass_is_listed() -> None:
    names = [p["name"] for p in pathlift.list_passes().to_json()["passes"]]
    assert {"path-norm", "strip-head", "dead-code"} <= set(names)


ANY: Any = None
THREE: Any = 3
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "norm-none": (lambda: pathlift.norm(ANY), "no model is given"),
    "norm-list": (lambda: pathlift.norm([DIGITS]), "list"),
    "norm-file": (lambda: pathlift.norm(io.BytesIO()), "standard input, which is empty"),
    "load-bytearray": (lambda: pathlift.load(bytearray(b"")), "bytearray"),
    "inspect-int": (lambda: pathlift.inspect(3), "int"),
    "opt-graph-proto": (lambda: pathlift.opt(onnx.load(DIGITS).graph), "GraphProto"),
    "opt-pipeline": (lambda: pathlift.opt(DIGITS, ["dead-code"]), "list"),
    "q-none": (lambda: pathlift.norm(DIGITS, q=ANY), "None"),
    "q-text": (lambda: pathlift.norm(DIGITS, q="1,2"), "1,2"),
    "q-huge": (lambda: pathlift.norm(DIGITS, q=1e308), "1e.308"),
    "q-tiny": (lambda: pathlift.norm(DIGITS, q=1e-7), "1e-07"),
    "mixed": (lambda: pathlift.norm(DIGITS, mixed="2"), "'2'"),
    "device": (lambda: pathlift.norm(DIGITS, device=ANY), "None"),
    "weights": (lambda: pathlift.norm(DIGITS, weights=THREE), "'3'"),
    "chart": (lambda: pathlift.norm(DIGITS, chart=THREE), "'3'"),
    "pooling": (lambda: pathlift.norm(DIGITS, pooling="mean"), "mean"),
    "dtype": (lambda: pathlift.norm(DIGITS, dtype="f8"), "f8"),
    "shape-text": (lambda: pathlift.norm(DIGITS, shape="N=8"), "N=8"),
    "shape-tuple": (lambda: pathlift.norm(DIGITS, shape=(1, 1, 8, 8)), "1, 1, 8, 8"),
    "shape-float": (lambda: pathlift.norm(DIGITS, shape={"N": 1.5}), "1.5"),
    "memory-limit": (lambda: pathlift.norm(DIGITS, memory_limit="8GB"), "8GB"),
    "save-path": (lambda: pathlift.save(str(DIGITS), "x.onnx"), "str"),
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments_are_named(call: str) -> None:
    function, named = WRONG[call]
    with pytest.raises(pathlift.PathliftError, match=named) as refusal:
        function()
    assert refusal.value.exit_code == 2


def test_modules_that_are_none(tmp_path: Path) -> None:
    import torch

    linear = torch.nn.Linear(3, 2)
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: pathlift.norm(linear), "example"),
        (lambda: pathlift.norm(torch.nn.Linear, example=(1, 3)), "class"),
        (lambda: pathlift.norm(linear, example=3), "int"),
        (lambda: pathlift.norm(linear, example=(1, 7)), "7"),
        (lambda: pathlift.load(linear), "exported"),
        (lambda: pathlift.export(torch.nn.Linear, shape=(1, 3), output=tmp_path / "m.onnx"), "Linear"),
        (lambda: pathlift.export(linear, shape=ANY, output=tmp_path / "m.onnx"), "None"),
        (lambda: pathlift.export(linear, shape=(1, 3), output=tmp_path / "m.onnx", opset=99), "99"),
    ]
    for function, named in wrong:
        with pytest.raises(pathlift.PathliftError, match=named) as refusal:
            function()
        assert refusal.value.exit_code == 2
    assert not list(tmp_path.iterdir())
