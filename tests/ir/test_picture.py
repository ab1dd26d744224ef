"""Pictures of graphs: one line, layers, boxes, and names that are no markup."""

from __future__ import annotations

from xml.etree import ElementTree

import networkx as nx
import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.picture import MOST_NODES, layered
from pathlift.ir.quoting import quote
from pathlift.ir.text import parse_graph

SKIP = """
%x = Input : f32[N, 2]
%w = Param : f32[2, 2]
%h = Gemm(%x, %w)
%a = Relu(%h)
%y = Add(%a, %x)
return %y
"""
HOSTILE = '<script>alert("1")</script>&'


def graph(text: str) -> Graph:
    return parse_graph(text, {"w": np.ones((2, 2), np.float32)})


def test_a_graph_is_one_line() -> None:
    assert repr(graph(SKIP)) == '<Graph "graph": x f32[N, 2] → y f32[N, 2]; 3 nodes, 4 parameters>'


def boxes(html: str) -> list[list[str | None]]:
    root = ElementTree.fromstring(html)
    svg = "{http://www.w3.org/2000/svg}"
    return [[text.text for text in group.iter(f"{svg}text")] for group in root.iter(f"{svg}g")]


def test_a_small_graph_is_drawn() -> None:
    html = graph(SKIP)._repr_html_()
    assert boxes(html) == [["Input", "x"], ["Gemm f32[2, 2]", "h"], ["Relu", "a"], ["Add", "y"]]
    assert html.count("<path") == 4


def test_names_are_text() -> None:
    html = graph(SKIP.replace("%h", f"%{quote(HOSTILE)}"))._repr_html_()
    assert "<script" not in html
    assert any(HOSTILE[:8] in str(name) for _, name in boxes(html))


def test_a_large_graph_is_its_ops() -> None:
    nodes = "\n".join(f"%y{i + 1} = Relu(%y{i})" for i in range(MOST_NODES))
    html = parse_graph(f"%y0 = Input : f32[N]\n{nodes}\nreturn %y{MOST_NODES}")._repr_html_()
    assert "<svg" not in html
    assert [cell.text for cell in ElementTree.fromstring(html).iter("td")] == ["Relu", str(MOST_NODES)]


def test_edges_pass_beside_boxes() -> None:
    layers = layered(nx.DiGraph([("x", "h"), ("h", "y"), ("x", "y")]))
    assert layers == [["x"], ["h", ("x", "y", 1)], ["y"]]


def test_a_layer_is_in_the_order_of_what_it_reads() -> None:
    layers = layered(nx.DiGraph([("a", "c"), ("b", "d"), ("b", "e"), ("a", "f")]))
    assert [set(layers[1][:2]), set(layers[1][2:])] == [{"c", "f"}, {"d", "e"}]
