r"""Assertions about rewrites: a graph before, a pipeline, and the graph after it, as texts or in files.

>>> from pathlift.testing import assert_rewrites
>>> before = "%x = Input : f32[N, 2]\\n%h = Identity(%x)\\n%y = Relu(%h)\\nreturn %y"
>>> assert_rewrites(before, "constant-folding", "%x = Input : f32[N, 2]\\n%y = Relu(%x)\\nreturn %y")
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathlift.ir.builder import Builder
from pathlift.ir.errors import PathliftError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import parse_graph, print_graph
from pathlift.ir.text.raw import to_raw
from pathlift.ir.types import Param
from pathlift.passes.base import Transform
from pathlift.passes.pipeline import parse_pipeline, run_pipeline

ACCEPT = "PATHLIFT_ACCEPT_GOLDENS"
"""The environment variable that lets `assert_golden` write what it gets as what it expects."""
_PIPELINE = re.compile(r"#[ \t]*pipeline:[ \t]*([^\n]*)\n")
_RULE = "# ----\n"


def assert_rewrites(before: Graph | str, pipeline: str | Transform, after: Graph | str) -> None:
    """Assert that a pipeline makes one graph of another, up to the names of what is between inputs and outputs.

    Every witness is checked on the way. Parameters are compared to the last bit.

    Parameters
    ----------
    before, after
        Graphs, or their texts.
    pipeline
        A pass, or a pipeline's text.

    Raises
    ------
    AssertionError
        With the lines in which the two graphs differ.
    PathliftError
        If a pass fails, refuses, or has a witness that does not hold.
    """
    passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else (pipeline,)
    start, wanted = (parse_graph(g) if isinstance(g, str) else g for g in (before, after))
    assert_same_up_to_names(run_pipeline(start, passes)[0], wanted)


def assert_same_up_to_names(actual: Graph, expected: Graph) -> None:
    """Assert that two graphs are the same but for the names and the order of what is between inputs and outputs."""
    got, want = (_lines(renamed(graph)) for graph in (actual, expected))
    assert got == want, "the graphs differ\n" + "\n".join(_diff(want, got))


def renamed(graph: Graph) -> Graph:
    """Return a graph in the order in which its outputs need it, with values numbered; inputs and outputs keep names."""
    order: dict[str, None] = dict.fromkeys(graph.inputs)
    for output in graph.outputs:
        _visit(graph, output.node, order)
    for key in graph.order:
        _visit(graph, key, order)
    kept = {graph.name_of(v) for v in graph.outputs} | {graph[key].names[0] for key in graph.inputs}
    fresh = (name for i in itertools.count() if (name := f"v{i}") not in kept)
    builder, values = Builder(), dict[Value, Value]()
    for key in order:
        node = graph[key]
        names = [name if not name or name in kept else next(fresh) for name in node.names]
        if node.op == "Input":
            made: tuple[Value, ...] = (builder.input_of(names[0], node.types[0]),)
        elif node.op == "Param":
            assert node.value is not None
            made = (builder.param(node.value, names[0]),)
        else:
            attrs: dict[str, Any] = dict(node.attrs)
            sources = [None if v is None else values[v] for v in graph.inputs_of(key)]
            made = builder.node(node.op, *sources, names=names, types=node.types, **attrs)
        values |= {Value(key, port): value for port, value in enumerate(made)}
    return builder.finish(*(values[v] for v in graph.outputs))


def _visit(graph: Graph, key: str, order: dict[str, None]) -> None:
    """Put a node behind what it needs; without recursion, since networks are deep."""
    stack = [key]
    while stack:
        top = stack[-1]
        needed = [v.node for v in graph.inputs_of(top) if v is not None and v.node not in order]
        if needed:
            stack.extend(reversed(needed))
        else:
            order.setdefault(stack.pop(), None)


def _lines(graph: Graph) -> list[str]:
    def digest(_: str, param: Param) -> Mapping[str, object]:
        return {"sha256": hashlib.sha256(to_raw(param.numpy())).hexdigest()}

    return print_graph(graph, max_inline=64, place=digest, metadata=False).splitlines()


def _diff(want: Iterable[str], got: Iterable[str]) -> Iterable[str]:
    return difflib.unified_diff(list(want), list(got), "expected", "actual", lineterm="", n=2)


def assert_golden(path: str | os.PathLike[str], accept: bool | None = None) -> None:
    """Assert that a file's graph becomes what the file says that it does.

    The file has a line ``# pipeline: …``, the text of a graph, a line ``# ----``, and the text of the graph after the
    pipeline, or ``# error: `` and the error that is to come. Names count here: what is written is what is compared.

    Parameters
    ----------
    path
        The file, by convention ``*.plir``.
    accept
        Write what comes out as what is expected. By default, if the environment variable
        ``PATHLIFT_ACCEPT_GOLDENS`` is set.

    Raises
    ------
    AssertionError
        With the lines that differ; if the file has no pipeline.
    """
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    head = _PIPELINE.search(text)
    assert head is not None, f"{file} has no line '# pipeline: …'"
    before, _, expected = text.partition(_RULE)
    try:
        graph, _ = run_pipeline(parse_graph(before), parse_pipeline(head[1]))
        actual = print_graph(graph, max_inline=64, metadata=False) + "\n"
    except PathliftError as error:
        actual = f"# error: {error.code} {error.message}\n"
    if bool(os.environ.get(ACCEPT)) if accept is None else accept:
        file.write_text(before + _RULE + actual, encoding="utf-8", newline="\n")
        return
    difference = "\n".join(_diff(expected.splitlines(), actual.splitlines()))
    assert actual == expected, f"{file} says otherwise; {ACCEPT}=1 accepts what came out\n{difference}"
