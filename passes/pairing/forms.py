"""Forms of a graph in which it may look like another: from the file's own to one with as much folded as possible.

Later forms are tried where earlier ones do not match, since what they compute is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Array
from pathlift.passes.base import Transform
from pathlift.passes.layers.comparison_form import in_float64
from pathlift.passes.pairing.rounding import derived
from pathlift.passes.pairing.spelling import biases, densified, one_parameter_per_use, sums
from pathlift.passes.rewrites.constant_folding import ConstantFolding
from pathlift.passes.rewrites.dead_code import DeadCode
from pathlift.passes.rewrites.fold_batchnorm import FoldBatchnorm
from pathlift.passes.rewrites.merge_linears import MergeLinears
from pathlift.passes.rewrites.noops import leave_out_noops, merge_views

GROWTH = 64.0
"""How many times as large as its factors a dense layer may be: a product of rank r replaced one of n × n, n < 128·r."""


@dataclass(frozen=True)
class Level:
    """What is done to both graphs.

    Parameters
    ----------
    respelled
        Layers are written in one way.
    dense
        Kronecker-sparse layers and chains of layers become dense ones.
    folded
        Batch norms and arithmetic with constants are folded into layers.
    """

    respelled: bool = False
    dense: bool = False
    folded: bool = False

    @property
    def rewrites(self) -> tuple[Transform, ...]:
        """What computes parameters."""
        merging = (MergeLinears(GROWTH),) * self.dense
        return (ConstantFolding(), *merging, *((FoldBatchnorm(), *merging) if self.folded else ()))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was done, in words."""
        said = {
            "layers are written in one way: without empty operations, each with a bias": self.respelled,
            "Kronecker-sparse layers are dense ones, and layers without an activation in between are one": self.dense,
            "batch norms and arithmetic with constants are folded into layers": self.folded,
        }
        return tuple(remark for remark, holds in said.items() if holds)


LEVELS = (Level(), Level(True), Level(True, dense=True), Level(True, folded=True), Level(True, True, True))
"""In the order in which they are tried."""


@dataclass(frozen=True, eq=False)
class Form:
    """A graph to match.

    Parameters
    ----------
    graph
        Real numbers are float64.
    errors
        By key of a parameter that is not exact: the largest absolute error of each element.
    """

    graph: Graph
    errors: Mapping[str, Array]


class Forms:
    """The forms of one graph, each computed when it is asked for.

    Parameters
    ----------
    graph
        The graph.
    """

    EXACT: ClassVar[Mapping[str, Array]] = {}

    def __init__(self, graph: Graph) -> None:
        self.plain = _labelled(in_float64(DeadCode().run(graph).graph))
        self.found: dict[Level, Form | str] = {}

    def at(self, level: Level) -> Form | str:
        """Return the form at a level, or why there is none."""
        if level not in self.found:
            self.found[level] = self._form(level)
        return self.found[level]

    def _form(self, level: Level) -> Form | str:
        graph = self.plain
        if level.respelled:
            graph = one_parameter_per_use(_tidy(graph))
            graph = biases(sums(densified(graph) if level.dense else graph))
            graph = _tidy(graph) if level.dense else graph
        if not level.dense and not level.folded:
            return Form(graph, self.EXACT)
        result = derived(graph, level.rewrites)
        return result if isinstance(result, str) else Form(result.graph, result.errors)


def _labelled(graph: Graph) -> Graph:
    """The graph whose nodes say what they are called, so that what is merged of them does."""
    builder = graph.edit()
    for key in graph.order:
        if graph[key].op not in ("Input", "Param") and not graph[key].origin.nodes:
            builder.replace_node(Value(key), origin=replace(graph[key].origin, nodes=(graph[key].label,)))
    return builder.finish()


def _tidy(graph: Graph) -> Graph:
    """The graph without nodes that do nothing, and with one view instead of two in a row."""
    while True:
        before = graph
        for stage in (leave_out_noops, merge_views):
            graph = stage(graph).graph
        if graph is before:
            return graph
