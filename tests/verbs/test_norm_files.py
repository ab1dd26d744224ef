"""The files that `pathlift norm` writes: shares of weights as .npz, charts of layers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import pathlift as library
from pathlift.frontend.save import save
from pathlift.ir.builder import Builder
from pathlift.passes.path_norm.result import LayerNorm, Norm
from pathlift.report import row_chart as layer_chart
from pathlift.report.charts import draw_chart
from pathlift.report.page import save_chart

Cli = Callable[..., Any]
DIGITS = str(Path(__file__).parents[2] / "examples" / "digits.onnx")
SIGNATURES = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


# ---- shares of weights


def test_weights(pathlift: Cli, tmp_path: Path) -> None:
    file = tmp_path / "shares.npz"
    outcome = pathlift("norm", DIGITS, "--q", "2,1", "--weights", str(file), "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["result"]["weights"] == str(file)
    result = library.norm(DIGITS, q=2, per_weight=True, per_layer=True)
    parameters = {node.names[0]: node.value for node in map(library.load(DIGITS).__getitem__, library.load(DIGITS))}
    with np.load(file) as written:
        assert set(written) == set(result.analysis.weights)
        for name, share in written.items():
            value = parameters[name]
            assert value is not None
            assert (share.dtype, share.shape) == (np.float64, value.shape)
            np.testing.assert_array_equal(share, result.analysis.weights[name].numpy())
        shares = {layer.node: layer.share for layer in result.analysis.layers}
        assert written["hidden.weight"].sum() == pytest.approx(shares["hidden"])
        assert written["stem.weight"].sum() == pytest.approx(shares["stem"])


@pytest.mark.parametrize("name", ["file", "allow_pickle", "arr_0", "a/b.weight", "größe"])
def test_parameters_of_any_name(pathlift: Cli, tmp_path: Path, name: str) -> None:
    b = Builder()
    graph = b.finish(b.op("Gemm", b.input("x", ("N", 2)), b.param(np.float32([[1.0], [3.0]]), name)))
    save(graph, tmp_path / "m.onnx")
    assert pathlift("norm", str(tmp_path / "m.onnx"), "--weights", str(tmp_path / "w.npz")).code == 0
    with np.load(tmp_path / "w.npz") as written:
        assert list(written) == [name]
        np.testing.assert_allclose(written[name], [[0.25], [0.75]], rtol=1e-12)


# ---- charts


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_chart(pathlift: Cli, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"chart{suffix}"
    outcome = pathlift("norm", DIGITS, "--chart", str(file), "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    result = json.loads(outcome.out)["result"]
    assert result["chart"] == str(file)
    assert [layer["node"] for layer in result["layers"]][:2] == ["stem", "stem_norm"]
    first = file.read_bytes()
    assert first.startswith(SIGNATURES[suffix])
    assert pathlift("norm", DIGITS, "--chart", str(file), "--force").code == 0
    assert file.read_bytes() == first


def norm(q: float = 1.0, *, pooling: Any = "sum", is_path_norm: bool = True) -> Norm:
    return Norm(q, 1.0, 10.0, 1.0, pooling, is_path_norm, {})


def texts(folder: Path, layers: Sequence[LayerNorm], of: Norm, name: str = "m.onnx") -> list[str]:
    """What is written in a chart: text is drawn as outlines, next to a comment that spells it."""
    save_chart(draw_chart(layers, of, name), folder / "c.svg")
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    tree = ElementTree.parse(folder / "c.svg", parser)
    return [unescape(str(e.text)).strip() for e in tree.iter() if e.tag is ElementTree.Comment]


def test_what_a_chart_says(tmp_path: Path) -> None:
    layers = [LayerNorm("conv", "Conv", 0.125, -1.5), LayerNorm("dead", "Gemm", None, None)]
    said = texts(tmp_path, layers, norm(2.0))
    assert {"conv", "dead", "−1.50", "12.5", "–", "m.onnx (q = 2, sum pooling)"} <= set(said)
    assert any("norm of outputs / norm of inputs" in line for line in said)
    assert any(line.startswith("share of") and line.endswith("through the layer's weights [%]") for line in said)


@pytest.mark.parametrize(
    ("of", "title", "symbol"),
    [
        (norm(0.0), "(q = 0, sum pooling)", "share of all paths"),
        (norm(float("inf")), "(q = inf, sum pooling)", r"\|\Phi\|_{\infty}$"),
        (norm(0.5), "(q = 0.5, sum pooling)", r"\|\Phi\|_{0.5}^{0.5}$"),
        (norm(pooling="max", is_path_norm=False), "(q = 1, max pooling, not a path-norm)", r"\mathrm{norm}_{1}$"),
    ],
)
def test_a_chart_says_what_it_shows_shares_of(tmp_path: Path, of: Norm, title: str, symbol: str) -> None:
    said = texts(tmp_path, [LayerNorm("fc", "Gemm", 1.0, 1.0)], of)
    assert f"m.onnx {title}" in said
    assert any(symbol in line for line in said)


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_charts_of_any_length(tmp_path: Path, count: int) -> None:
    layers = [LayerNorm(f"features.block{i}.conv", "Conv", i / count, i - count / 2) for i in range(count)]
    said = texts(tmp_path, layers, norm())
    assert {layer.node for layer in layers} <= set(said)


def test_the_page_of_a_chart_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def height() -> float:
        layers = [LayerNorm(f"l{i}", "Conv", 1.0, 1.0) for i in range(30)]
        save_chart(draw_chart(layers, norm(), "deep"), tmp_path / "c.svg")
        return float(ElementTree.parse(tmp_path / "c.svg").getroot().attrib["height"].removesuffix("pt"))

    assert 30 * 0.18 * 72 < height() < 7 * 72
    monkeypatch.setattr(layer_chart, "_PAGE", 1.0)
    assert 72 < height() < 2 * 72


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a$b$ \\frac{1}", "a$b$ \\frac{1}"),
        ("<b>&--\x1b[31m\n\u202e", "<b>&- -�[31m��"),
        ("block." * 50, "block.block.block.block.block…block.block.block.block.block."),
    ],
)
def test_names_of_any_kind(tmp_path: Path, name: str, shown: str) -> None:
    said = texts(tmp_path, [LayerNorm(name, "Gemm", 1.0, 1.0)], norm(), name)
    assert shown in said
    assert f"{shown} (q = 1, sum pooling)" in said


def test_without_matplotlib_the_hint_says_what_to_install(
    pathlift: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    outcome = pathlift("norm", DIGITS, "--chart", str(tmp_path / "c.svg"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "PL0447 drawing a chart needs matplotlib hint: pip install 'pathlift[plot]'\n"


# ---- both


@pytest.mark.parametrize(("flag", "file"), [("--weights", "w.npz"), ("--chart", "c.svg")])
def test_files_are_replaced_on_request(pathlift: Cli, tmp_path: Path, flag: str, file: str) -> None:
    path = tmp_path / file
    path.write_text("mine")
    outcome = pathlift("norm", DIGITS, flag, str(path))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("PL0703 ")
    assert path.read_text() == "mine"
    outcome = pathlift("norm", DIGITS, flag, str(path), "--force")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"wrote {path}"
    assert path.read_bytes() != b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_written_unless_all_is(pathlift: Cli, tmp_path: Path) -> None:
    (tmp_path / "c.svg").write_text("mine")
    outcome = pathlift("norm", DIGITS, "--weights", str(tmp_path / "w.npz"), "--chart", str(tmp_path / "c.svg"))
    assert outcome.code == 2
    outcome = pathlift("norm", DIGITS, "--weights", str(tmp_path / "no" / "w.npz"))
    assert (outcome.code, outcome.err.split()[0]) == (2, "PL0705")
    assert [path.name for path in tmp_path.iterdir()] == ["c.svg"]


def test_a_refused_network_writes_nothing(pathlift: Cli, tmp_path: Path) -> None:
    b = Builder()
    y = b.op("Gelu", b.op("Gemm", b.input("x", ("N", 2)), b.param(np.ones((2, 2), np.float32))))
    save(b.finish(b.op("Relu", y)), tmp_path / "m.onnx")
    files = ["--weights", str(tmp_path / "w.npz"), "--chart", str(tmp_path / "c.pdf")]
    assert pathlift("norm", str(tmp_path / "m.onnx"), *files).code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
