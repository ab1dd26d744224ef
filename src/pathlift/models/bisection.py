"""Bisection: which pass of a pipeline fails, at which of its sites, and on how small a graph.

A failure is a coded error that only a bug in a pass explains, or a refuted verification. The first pass that fails is
found by running them; its sites by letting it take fewer and fewer, as long as it fails in the same way; the graph by
cutting off what is behind and before the place, likewise. All of it is search: what is found fails, and there may be
less that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.text import print_graph
from pathlift.passes.base import Transform
from pathlift.passes.pipeline import PassFailedError, run_pipeline
from pathlift.passes.pipeline_text import pass_text
from pathlift.passes.witness.site import limited

T = TypeVar("T")
Check = Callable[[Graph, Graph], str]
"""Says how a graph computes something else than another; empty if it does not."""


@dataclass(frozen=True)
class Failure:
    """A pass that fails.

    Parameters
    ----------
    index
        Its place in the pipeline.
    spelled
        As a pipeline spells it.
    code, message
        Of the error; the code is empty if outputs were compared.
    sites
        Names of the values that it suffices to rewrite; None if the pass did not ask about any.
    graph
        The smallest graph that was found on which it fails in the same way.
    """

    index: int
    spelled: str
    code: str
    message: str
    sites: tuple[str, ...] | None
    graph: Graph

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; the graph is text, with its small weights."""
        return {
            "index": self.index,
            "pass": self.spelled,
            "code": self.code,
            "message": self.message,
            "sites": None if self.sites is None else list(self.sites),
            "ir": print_graph(self.graph, max_inline=64, metadata=False).splitlines(),
        }


def bisect(graph: Graph, passes: Sequence[Transform], check: Check | None, budget: float = 60.0) -> Failure | None:
    """Find what fails in a pipeline; None if nothing does.

    Parameters
    ----------
    graph, passes
        The pipeline.
    check
        Compares the graph after a pass with the one before it; None to rely on witnesses alone.
    budget
        Seconds after which nothing more is cut off.

    Raises
    ------
    PathliftError
        What a pass refuses.
    """
    end = time.monotonic() + budget
    for index, p in enumerate(passes):
        said, after = _outcome(graph, p, check)
        if after is not None and said is None:
            graph = after
            continue
        assert said is not None
        fails = _Fails(p, check, said[0], end)
        sites = fails.sites(graph)
        return Failure(index, pass_text(p), *said, sites, fails.smallest(graph, sites))
    return None


def _outcome(graph: Graph, p: Transform, check: Check | None) -> tuple[tuple[str, str] | None, Graph | None]:
    """How a pass fails on a graph, if it does, and the graph after it."""
    try:
        after, _ = run_pipeline(graph, [p])
    except (PassFailedError, WitnessError) as error:
        return (error.code, error.message), None
    difference = "" if check is None else check(graph, after)
    return ("", difference) if difference else None, after


class _Fails:
    """Whether a pass fails in one way, on other graphs and at fewer sites."""

    def __init__(self, p: Transform, check: Check | None, code: str, end: float) -> None:
        self.p, self.check, self.code, self.end = p, check, code, end

    def __call__(self, graph: Graph, sites: Sequence[str] | None) -> bool:
        if time.monotonic() > self.end:
            return False
        try:
            with limited(sites):
                said, _ = _outcome(graph, self.p, self.check)
        except PathliftError:  # it refuses: another matter
            return False
        return said is not None and said[0] == self.code

    def sites(self, graph: Graph) -> tuple[str, ...] | None:
        """Return the fewest sites at which the pass fails: halves first, then one less at a time."""
        with limited(None) as seen:
            _quietly(lambda: _outcome(graph, self.p, self.check))
        left = list(seen.asked)
        if not left or self(graph, []):
            return None
        size = len(left)
        while size := size // 2:
            start = 0
            while start < len(left):
                fewer = left[:start] + left[start + size :]
                if fewer and self(graph, fewer):
                    left = fewer
                else:
                    start += size
        return tuple(left)

    def smallest(self, graph: Graph, sites: Sequence[str] | None) -> Graph:
        """Return a smaller graph: what one value needs, and of that, what does not come from too far."""
        for key in graph.order:
            value = Value(key)
            if graph[key].op in ("Input", "Param") or not graph.name_of(value):
                continue
            cut = restricted(graph, value)
            if cut is not None and self(cut, sites):
                graph = cut
                break
        for key in reversed(graph.order):
            if key in graph and graph[key].op not in ("Input", "Param") and Value(key) not in graph.outputs:
                cut = opened(graph, key)
                if cut is not None and self(cut, sites):
                    graph = cut
        return graph


def restricted(graph: Graph, output: Value) -> Graph | None:
    """Return what one value is computed from, which is then the only output; None if that is no valid graph."""
    builder = graph.edit()

    def build() -> Graph:
        builder.outputs = [output]
        return _without_dead(builder.finish())

    return _quietly(build)


def opened(graph: Graph, key: str) -> Graph | None:
    """Return a graph in which a node's only output is an input instead; None if that is no valid graph."""
    if len(graph[key].names) != 1:
        return None

    def build() -> Graph:
        builder = graph.edit()
        name = graph[key].names[0]
        builder.rename(Value(key), builder.fresh(name))
        value = builder.input_of(name, graph[key].types[0])
        builder.replace_value(Value(key), value)
        return _without_dead(builder.finish())

    return _quietly(build)


def _without_dead(graph: Graph) -> Graph:
    """Leave out what no output needs, inputs included."""
    builder = graph.edit()
    for key in reversed(graph.order):
        if key not in graph.live:
            builder.remove(key)
    return builder.finish()


def _quietly(build: Callable[[], T]) -> T | None:
    try:
        return build()
    except PathliftError:
        return None
