"""Results of all verbs as they are shown: as text that fits 60 columns, as HTML, as records, and as charts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.cells import cell_len

import pathlift
from pathlift.cli.text import to_text
from pathlift.frontend.save import save
from pathlift.ir.errors import UsageError
from pathlift.ir.text import parse_graph
from pathlift.report.layout import NAME_WIDTHS, Bar, Table
from pathlift.report.result import Result
from pathlift.report.shown import as_text
from pathlift.testing.token_models import BOS, EOS, LISTS, VOCABULARY, bigram_model, list_logits, list_strings, rounded
from pathlift.verbs import VERBS
from pathlift.verbs.codegen import CodegenResult, Layer
from pathlift.verbs.export import ExportResult

BLOCK = "encoder.layers.11.attention.output"
HOSTILE = "<b>fc</b>"
NETWORK = f"""
    %x = Input : f32[N, 8]
    %w = Param : f32[8, 8]
    %"{BLOCK}.dense" = Gemm(%x, %w)
    %r = Relu(%"{BLOCK}.dense")
    %v = Param : f32[8, 4]
    %b = Param : f32[4]
    %"{BLOCK}.{HOSTILE}" = Gemm(%r, %v, %b)
    return %"{BLOCK}.{HOSTILE}"
"""
PATH, BUDGET = "results.of.a.long.name", 0.05


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A network, and another one that is not far."""
    folder, rng = tmp_path_factory.mktemp("shown"), np.random.default_rng(0)
    params = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in (("w", (8, 8)), ("v", (8, 4)), ("b", 4))
    }
    before = Path.cwd()
    os.chdir(folder)
    save(parse_graph(NETWORK, params), f"{PATH}.onnx")
    save(parse_graph(NETWORK, {**params, "w": params["w"] * np.float32(1.01)}), f"{PATH}.copy.onnx")
    yield f"{PATH}.onnx", f"{PATH}.copy.onnx"
    os.chdir(before)


def layer() -> Layer:
    return Layer(nodes=(BLOCK,), patterns=((1, 24, 32, 2), (4, 16, 64, 1)), samples=8, step=None, reason="none")


def verified(model: str, other: str) -> Result:
    pathlift.compare(model, other, domain={"x": (0, 1)}, budget=BUDGET, certificate="v.json", force=True)
    return pathlift.verify_cert("v.json")


def audited(model: str, _: str) -> Result:
    pytest.importorskip("interegular")
    onnx.save(bigram_model(list_logits()), model)  # of the name that results are to show
    onnx.save(rounded(bigram_model(list_logits()), 3), "rounded.onnx")
    strings = {"tokens": list_strings(40)}
    return pathlift.audit_language(
        model, "rounded.onnx", regex=LISTS, vocab=VOCABULARY, data=strings, bos=BOS, eos=EOS, generate=20
    )


X: Any = {"x": np.random.default_rng(1).random((6, 8)).astype(np.float32)}
Y: Any = {**X, "y": np.arange(6) % 4}
MADE: dict[str, Callable[[str, str], Result]] = {
    "inspect": lambda m, _: pathlift.inspect(m, nodes=True),
    "norm": lambda m, _: pathlift.norm(m, q=[1, 2], per_layer=True, heaviest_path=True, domain={"x": (0, 1)}),
    "norm, regions": lambda m, _: pathlift.norm(m, regions=True),
    "analyze": lambda m, _: pathlift.analyze(m, "path-norm{per-layer=true},heaviest-path"),
    "export": lambda _, __: ExportResult(
        output="m.onnx", summary={"bytes": 5, "opset": 20, "inputs": [], "outputs": []}
    ),
    "canonicalize": lambda m, _: pathlift.canonicalize(m),
    "compare": lambda m, n: pathlift.compare(m, n, domain={"x": (0, 1)}, budget=BUDGET, per_layer=True),
    "compare, methods": lambda m, n: pathlift.compare(
        m, n, domain={"x": (0, 1)}, budget=BUDGET, certificate="c.json", force=True
    ),
    "compare, modulo": lambda m, n: pathlift.compare(m, n, modulo=("rescaling",)),
    "verify-cert": verified,
    "bound": lambda m, _: pathlift.bound(m, kind="lipschitz", domain={"x": (0, 1)}, budget=BUDGET),
    "bound, product": lambda m, _: pathlift.bound(m, kind="product"),
    "bound, generalization": lambda m, _: pathlift.bound(m, kind="generalization", samples=100),
    "bound, robustness": lambda m, _: pathlift.bound(m, kind="robustness", at=X, radius=1e-4, budget=BUDGET),
    "calibrate": lambda m, _: pathlift.calibrate(m, data=X, outputs=True),
    "prune": lambda m, _: pathlift.prune(m, sparsity=0.5, calib=X, compensate=True),
    "prune, sweep": lambda m, _: pathlift.prune(m, sweep="0.3:0.6:2", data=Y),
    "opt": lambda m, _: pathlift.opt(m, "strip-head,dead-code", norms=[1, 2], output="o.onnx", force=True),
    "passes": lambda _, __: pathlift.list_passes(),
    "run": lambda m, _: pathlift.run(m, random=True),
    "bench": lambda m, n: pathlift.bench(m, n, runs=5, budget=BUDGET),
    "codegen": lambda _, __: CodegenResult(
        arch="sm_90", device="h100", precision="ieee", triton="3", layers=(layer(),)
    ),
    "ks detect": lambda m, _: pathlift.ks_detect(m),
    "ks fit": lambda m, _: pathlift.ks_fit(m, patterns="(1,4,4,2)(2,4,4,1)", output="k.onnx", force=True),
    "audit language": audited,
    "schema": lambda _, __: pathlift.schema(),
}  # fmt: skip
CHARTS = {
    "inspect", "norm", "compare", "compare, methods", "bound", "bound, product", "bound, robustness", "prune",
    "prune, sweep", "bench", "codegen", "ks fit", "calibrate", "audit language",
}  # fmt: skip
FILES = {"export", "verify-cert", "passes", "schema", "codegen"}
"""What names no layer of the network."""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name == "bound" else ()) for name in MADE]
)
def made(request: pytest.FixtureRequest, models: tuple[str, str]) -> tuple[str, Result]:
    return request.param, MADE[request.param](*models)


def test_all_verbs_are_here() -> None:
    assert {name.partition(",")[0] for name in MADE} == set(VERBS)


def test_tables_fit_60_columns(made: tuple[str, Result]) -> None:
    for part in made[1].parts():
        if not isinstance(part, Table):
            assert isinstance(part, str), "there is one kind of table"
            continue
        assert all(cell_len(line) <= 60 for line in as_text([part], width=60, colour=False).splitlines())
        assert set(part.less) <= set(part.headings)
        assert set(part.right) <= set(part.headings)
        first = [row[0] for row in part.rows if not isinstance(row[0], Bar)]
        longest = max(map(cell_len, first), default=0)
        widths = part.widths(60)
        assert not widths or widths.get(0, longest) >= min(longest, NAME_WIDTHS[1])
        assert all(widths[i] == part.widths(10_000)[i] for i in widths if part.headings[i] in part.right)


def test_rows_are_rarely_stacked(made: tuple[str, Result]) -> None:
    """At 60 columns only where a table has many wide figures."""
    tables = [part for part in made[1].parts() if isinstance(part, Table)]
    assert made[0] in ("analyze", "opt") or all(part.widths(60) for part in tables if part.rows)


def test_text_is_what_the_command_line_prints(made: tuple[str, Result]) -> None:
    assert str(made[1]) == to_text(made[1]._renderer(), made[1]).rstrip("\n")


def test_html_escapes_names(made: tuple[str, Result]) -> None:
    html = made[1]._repr_html_()
    assert html.startswith("<div>")
    assert "<b>" not in html
    assert made[0] not in ("inspect", "norm", "prune", "ks fit") or "&lt;b&gt;fc" in html


def test_repr_is_short(made: tuple[str, Result]) -> None:
    shown = repr(made[1])
    assert "\n" not in shown
    assert len(shown) < 150
    assert shown.startswith(f"<{type(made[1]).__name__}")
    assert (PATH in shown) is (made[0] not in FILES - {"verify-cert"})


def test_records_are_plain(made: tuple[str, Result]) -> None:
    rows = made[1].records()
    assert rows or made[0] == "ks detect"
    assert all(isinstance(cell, str | int | float | bool | list | None) for row in rows for cell in row.values())


def test_charts(made: tuple[str, Result]) -> None:
    pytest.importorskip("matplotlib")
    if made[0] in CHARTS:
        assert made[1].plot().axes
    else:
        with pytest.raises(UsageError, match="PL1418"):
            made[1].plot()
