"""The site: pages from elsewhere, charts read off tables, and a navigation that has every page."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import pathlift

ROOT = Path(__file__).parents[1]
TABLE = """# Speed
## Layers
| pattern | threads | dense / rows | remarks |
| --- | --- | --- | --- |
| (1,2) | 1 | 1.5 [1.2–1.9] | none |
| (3,4) | 2 | 12.5× |  |
| (5,6) | 2 | – | refused |

| other | table |
"""


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hook, imported as MkDocs does: from its folder."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("elsewhere")


@pytest.fixture
def charts(docs: ModuleType) -> ModuleType:
    return importlib.import_module("charts")


def test_navigation_has_every_page(docs: ModuleType) -> None:
    listed = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted({path.name for path in (ROOT / "docs").glob("*.md")} | set(docs.sources()))


@pytest.mark.parametrize(
    ("text", "page", "source", "expected"),
    [
        ("[a](docs/limits.md)", "changelog.md", "CHANGELOG.md", "[a](limits.md)"),
        ("[a](../docs/theory.md#x)", "benchmarks/index.md", "benchmarks/README.md", "[a](../theory.md#x)"),
        ("[a](results/compare.md)", "benchmarks/index.md", "benchmarks/README.md", "[a](compare.md)"),
        ("[a](https://b.org/c.md)", "changelog.md", "CHANGELOG.md", "[a](https://b.org/c.md)"),
        ("see [a](ir/ops.py).", "changelog.md", "CHANGELOG.md", "see a."),
        ("![a](b.svg)", "changelog.md", "CHANGELOG.md", "![a](b.svg)"),
    ],
)
def test_links(docs: ModuleType, text: str, page: str, source: str, expected: str) -> None:
    assert docs.relinked(text, page, source) == expected


def test_notebook_is_a_page(docs: ModuleType) -> None:
    outputs = [
        {"output_type": "stream", "text": ["1\n", "2\n"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "data": {"text/html": ["<b>3</b>"], "text/plain": ["3"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# A\n", "b"]},
        {"cell_type": "code", "source": ["f()"], "outputs": outputs},
    ]
    text, pictures = docs.notebook({"cells": cells}, "tour")
    assert text == (
        "# A\nb\n\n```python\nf()\n```\n\n```text\n1\n2\n```\n\n![what the cell draws](tour-0.png)\n\n<b>3</b>\n"
    )
    assert pictures == {"tour-0.png": b"\0\0\0"}


def test_chart_reads_its_table(charts: ModuleType) -> None:
    chart = charts.Chart("Layers", ("pattern", "threads"), ("dense / rows",))
    lines = TABLE.splitlines()
    assert charts.table(lines, "Layers") == 2
    assert list(charts.rows(lines[2:], chart)) == [
        ("(1,2), 1", ((1.5, 1.2, 1.9),)),
        ("(3,4), 2", ((12.5, 12.5, 12.5),)),
        ("(5,6), 2", (None,)),
    ]


def test_charts_stand_above_their_tables(charts: ModuleType) -> None:
    for stem in charts.CHARTS:
        page = (ROOT / "benchmarks" / "results" / f"{stem}.md").read_text(encoding="utf-8")
        for chart in charts.CHARTS[stem]:
            lines = page.splitlines()
            read = list(charts.rows(lines[charts.table(lines, chart.heading) :], chart))
            drawn = [any(row.values[column] is not None for row in read) for column in range(len(chart.drawn))]
            assert all(drawn), f"{stem}: a column of {chart} has no number"


def test_a_chart_is_a_picture_of_the_page(charts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(charts.CHARTS, "speed", [charts.Chart("Layers", ("pattern",), ("dense / rows",))])
    text, pictures = charts.charts(TABLE, "speed")
    assert text.splitlines()[2] == "![dense / rows: the table below, with its brackets as lines](speed-0.svg)"
    assert pictures["speed-0.svg"].startswith(b"<?xml")


def test_a_curve_has_its_rows_numbers_as_places(charts: ModuleType) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    axes = figure.Figure().subplots()
    chart = charts.Chart("Speed", ("threads",), ("dense / rows",), over="log", unit="times", least=0.5)
    read = [charts.Row(f"{n}", (value,)) for n, value in ((1, (1.5, 1.2, 1.9)), (2, None), (4, (3.0, 2.0, 9.0)))]
    charts.curves(axes, chart, read)
    (line,), (band,) = axes.lines, axes.collections
    assert line.get_xydata().tolist() == [[1, 1.5], [4, 3]]
    assert {tuple(point) for point in band.get_paths()[0].vertices.tolist()} == {(1, 1.2), (1, 1.9), (4, 2), (4, 9)}
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()[0]) == ("log", "log", 0.5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("threads", "times")


def test_page_of_python_has_every_public_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: pathlift\.(\w+)$", page, re.MULTILINE))
    assert set(pathlift.__all__) - {"__version__", "Graph"} <= shown


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert "font: false" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
