"""The base of results: text, HTML, repr, records, data frames and charts."""

from __future__ import annotations

import builtins
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from pathlift.ir.errors import UsageError
from pathlift.report.result import CELLS, Result, Source


@dataclass(frozen=True, kw_only=True)
class Plain(Result):
    payload: dict[str, Any] = field(default_factory=dict)

    ROWS = ("layers", "norms")

    def to_json(self) -> dict[str, Any]:
        return self.payload

    def headline(self) -> str:
        return "10^2\x1b[31m"


def test_repr_is_one_short_line() -> None:
    assert repr(Plain(input=Source("folder/m\n.onnx"), payload={"x": list(range(10_000))})) == "<Plain m .onnx: 10^2>"
    assert repr(Plain()) == "<Plain 10^2>"


def test_what_has_no_text_of_its_own_is_tables() -> None:
    result = Plain(payload={"count": 3}, assumptions=("eval\nmode",))
    assert str(result) == "Plain\ncount  3\nassumes: eval mode"
    assert "<td" in result._repr_html_()


def test_text_is_that_of_the_module_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules[__name__], "text", lambda payload: iter([f"found {payload['count']}"]), raising=False
    )
    assert str(Plain(payload={"count": 3})) == "found 3"
    assert "found 3" in Plain(payload={"count": 3})._repr_html_()


@pytest.mark.parametrize(
    ("payload", "records"),
    [
        ({"norms": [{"q": 1}], "layers": []}, [{"q": 1}]),
        ({"norms": [{"q": 1}], "layers": [{"node": "a", "bytes": {"before": 1, "after": {"x": 2}}}]},
         [{"node": "a", "bytes.before": 1, "bytes.after.x": 2}]),
        ({"norms": {"a": {"x": 1}, "b": 2}}, [{"name": "a", "x": 1}, {"name": "b", "value": 2}]),
        ({"norms": [{"shape": [1, 2], "long": [0] * (CELLS + 1), "none": None}]}, [{"shape": [1, 2], "none": None}]),
        ({"norms": [{"a": 1, "inner": [{"b": 1}]}, {"a": 2, "inner": []}]}, [{"a": 1}, {"a": 2}]),
        ({"norms": [], "other": 1}, []),
        ({"other": 1, "inner": {"y": [1]}}, [{"other": 1, "inner.y": [1]}]),
    ],
)  # fmt: skip
def test_records(payload: dict[str, Any], records: list[dict[str, Any]]) -> None:
    assert Plain(payload=payload).records() == records


def test_a_frame_is_made_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    class DataFrame(list[Any]):
        @classmethod
        def from_records(cls, rows: list[Any]) -> DataFrame:
            return cls(rows)

    pandas = ModuleType("pandas")
    pandas.DataFrame = DataFrame  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert Plain(payload={"norms": [{"q": 1.5}]}).to_frame() == [{"q": 1.5}]


def test_frames_of_pandas() -> None:
    pytest.importorskip("pandas")
    frame = Plain(payload={"norms": [{"q": 1.5, "n": None}, {"q": 2.0, "n": 3}]}).to_frame()
    assert list(frame.columns) == ["q", "n"]
    assert frame["q"].sum() == 3.5


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_frame"), ("matplotlib", "plot")])
def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, package: str, method: str) -> None:
    true_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return true_import(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == package or name == "pathlift.report.page"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    result = Charted() if method == "plot" else Plain()
    with pytest.raises(UsageError, match=f"this needs {package}") as caught:
        getattr(result, method)()
    assert caught.value.code == "PL1415"


class Charted(Plain):
    def chart(self) -> Any:
        from pathlift.report.row_chart import Panel, row_chart

        return row_chart(["a", "b"], "title", [Panel("x", [1.0, None])])


def test_a_result_without_a_chart_says_which_have_one() -> None:
    with pytest.raises(UsageError, match="Plain has no chart") as caught:
        Plain().plot()
    assert caught.value.code == "PL1418"
    assert "per_layer" in caught.value.hint


def test_charts_are_figures_that_a_notebook_shows() -> None:
    figure_module = pytest.importorskip("matplotlib.figure")
    figure = Charted().plot()
    assert isinstance(figure, figure_module.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]  # a page has it
