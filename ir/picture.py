"""Pictures of graphs for notebooks: small ones drawn in layers, as SVG; of large ones the ops, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx

from pathlift.ir.quoting import quote

if TYPE_CHECKING:
    from pathlift.ir.graph import Graph

MOST_NODES = 60
_LETTERS = 26
# In pixels.
_WIDE, _HIGH, _GAP, _DROP = 180, 34, 16, 26
_BOX = '<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{fill}" stroke="#888"/>'
_TEXT = '<text x="{x}" y="{y}" text-anchor="middle" font-size="{size}" fill="{fill}">{text}</text>'

Point = tuple[float, float]


def summary(graph: Graph) -> str:
    """Return one line: the graph's name, its inputs and outputs, how many nodes and parameters."""
    inputs = ", ".join(f"{_name(graph[key].names[0])} {graph[key].types[0]}" for key in graph.inputs)
    outputs = ", ".join(f"{_name(graph.name_of(v))} {graph.shown_type(v)}" for v in graph.outputs)
    count = sum(p.size for key in graph.params if (p := graph[key].value) is not None)
    return f"{quote(graph.info.name)}: {inputs} → {outputs}; {len(_nodes(graph))} nodes, {count:,} parameters"


def page(graph: Graph) -> str:
    """Return HTML: the summary, and a picture, or the ops where there are more than 60 nodes. Names are escaped."""
    nodes = _nodes(graph)
    shown = _svg(graph) if len(nodes) + len(graph.inputs) <= MOST_NODES else _ops(graph, nodes)
    return f'<div><div style="font-family: monospace">{escape(summary(graph))}</div>{shown}</div>'


def _nodes(graph: Graph) -> list[str]:
    return [key for key in graph if graph[key].op not in ("Input", "Param")]


def _name(name: str) -> str:
    return quote(name)[1:-1]


def _short(name: str) -> str:
    name = _name(name)
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS // 2 - 1]}…{name[-_LETTERS // 2 :]}"


def _ops(graph: Graph, nodes: Sequence[str]) -> str:
    counts = Counter(str(graph[key].attrs.get("op_type", graph[key].op)) for key in nodes).most_common()
    rows = "".join(f"<tr><td>{escape(_name(op))}</td><td>{count}</td></tr>" for op, count in counts)
    return f"<table><thead><tr><th>op</th><th>count</th></tr></thead><tbody>{rows}</tbody></table>"


def layered(edges: nx.DiGraph) -> list[list[object]]:
    """Return the nodes of an acyclic graph in layers, each below all that it reads.

    Edges that pass a layer have a place there: a tuple of their ends and the layer's number. Within a layer, places
    are near those that they hang from.
    """
    layers: list[list[object]] = [list(layer) for layer in nx.topological_generations(edges)]
    depth = {node: i for i, layer in enumerate(layers) for node in layer}
    above: dict[object, list[object]] = {}
    for a, b in edges.edges:
        for upper, lower in _hops(a, b, depth):
            above.setdefault(lower, []).append(upper)
            if isinstance(lower, tuple):
                layers[lower[2]].append(lower)
    place: dict[object, float] = {}
    for layer in layers:
        layer.sort(key=lambda node: _mean([place[upper] for upper in above.get(node, ())]))
        place |= {node: i - (len(layer) - 1) / 2 for i, node in enumerate(layer)}
    return layers


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _hops(a: object, b: object, depth: Mapping[object, int]) -> Iterator[tuple[object, object]]:
    """The steps of an edge from layer to layer."""
    stops = [a, *((a, b, i) for i in range(depth[a] + 1, depth[b])), b]
    return pairwise(stops)


def _svg(graph: Graph) -> str:
    edges = nx.DiGraph()
    edges.add_nodes_from(key for key in graph if graph[key].op != "Param")
    edges.add_edges_from((a, b) for a, b in graph.nx.edges() if graph[a].op != "Param")
    layers = layered(edges)
    # What passes by needs less room than a box.
    rows = [[_GAP if isinstance(node, tuple) else _WIDE for node in layer] for layer in layers]
    width = max((sum(row) + _GAP * (len(row) + 1) for row in rows), default=0)
    places: dict[object, Point] = {}
    for i, (layer, row) in enumerate(zip(layers, rows, strict=True)):
        x = (width - sum(row) - _GAP * (len(row) - 1)) / 2
        for node, wide in zip(layer, row, strict=True):
            places[node] = (x + wide / 2, _GAP + i * (_HIGH + _DROP))
            x += wide + _GAP
    depth = {node: i for i, layer in enumerate(layers) for node in layer if not isinstance(node, tuple)}
    drawn = [_line([places[a], *(places[stop] for _, stop in _hops(a, b, depth))]) for a, b in edges.edges]
    drawn += [_box(graph, key, places[key]) for key in edges]
    height = len(layers) * (_HIGH + _DROP) + _GAP
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">{"".join(drawn)}</svg>'
    return f'<div style="max-height: 40em; overflow: auto">{svg}</div>'


def _line(stops: Sequence[Point]) -> str:
    """A line from the foot of the first box, through what it passes, to the head of the last."""
    (x, y), last = stops[0], len(stops) - 1
    path = f"M{x:g},{y + _HIGH:g}"
    y += _HIGH
    for i, (to_x, to_y) in enumerate(stops[1:], 1):
        middle = (y + to_y) / 2
        path += f" C{x:g},{middle:g} {to_x:g},{middle:g} {to_x:g},{to_y:g}"
        x, y = to_x, to_y
        if i < last:
            y += _HIGH
            path += f" V{y:g}"
    return f'<path d="{path}" fill="none" stroke="#888"/>'


def _box(graph: Graph, key: str, place: Point) -> str:
    (x, y), node = place, graph[key]
    ends = key in {value.node for value in graph.outputs} or node.op == "Input"
    read = [v for v in graph.inputs_of(key) if v is not None and graph[v.node].op == "Param"]
    what = " ".join([_short(str(node.attrs.get("op_type", node.op))), *(str(graph.type_of(v)) for v in read[:1])])
    fill = "#e8f1fa" if ends else "#ffffff"
    title = f"{_name(node.label)}: " + ", ".join(f"{_name(n)} {t}" for n, t in zip(node.names, node.types, strict=True))
    return (
        f"<g><title>{escape(title)}</title>"
        + _BOX.format(x=f"{x - _WIDE / 2:g}", y=f"{y:g}", w=_WIDE, h=_HIGH, fill=fill)
        + _TEXT.format(x=f"{x:g}", y=f"{y + 14:g}", size=12, fill="#000000", text=escape(_cut(what)))
        + _TEXT.format(x=f"{x:g}", y=f"{y + 28:g}", size=10, fill="#555555", text=escape(_short(node.label)))
        + "</g>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
