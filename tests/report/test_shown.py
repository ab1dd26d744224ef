"""Parts as HTML: tables, lines, bars, and names that are no markup."""

from __future__ import annotations

from xml.etree import ElementTree

from rich.text import Text

from pathlift.report.shown import as_html, as_text
from pathlift.report.tables import Bar, table

HOSTILE = "<script>alert(1)</script>&\"'"


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def test_tables() -> None:
    root = parsed(as_html([table(["layer", "gain", ""], [["conv", "1.5", Bar(0.25)]], right=["gain"])]))
    assert [cell.text for cell in root.iter("th")] == ["layer", "gain", None]
    name, gain, bar = root.iter("td")
    assert (name.text, gain.text) == ("conv", "1.5")
    assert "right" in gain.attrib["style"]
    assert "left" in name.attrib["style"]
    assert "width: 25.0%" in bar[0][0].attrib["style"]


def test_what_has_more_than_two_ends_of_a_bar() -> None:
    assert "width: 100.0%" in as_html([table([""], [[Bar(7.0)]])])


def test_names_are_text() -> None:
    html = as_html([HOSTILE, table([HOSTILE], [[HOSTILE]]), Text(HOSTILE)])
    assert "<script" not in html
    found = [element.text.strip() for element in parsed(html).iter() if element.text and "script" in element.text]
    assert found == [HOSTILE] * 4


def test_html_has_all_columns() -> None:
    assert "only here" in as_html([table(["a", "b"], [["x" * 500, "only here"]], less=["b"])])


def test_text_is_plain_and_as_long_as_it_needs_to_be() -> None:
    assert as_text(["a" * 500, table(["h"], [["b" * 500]])], colour=False).splitlines() == ["a" * 500, "h", "b" * 500]
