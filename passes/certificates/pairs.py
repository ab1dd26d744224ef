"""Problems from pairs of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import torch

from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.problem import Problem
from pathlift.passes.intervals.box import Box
from pathlift.passes.pairing.pair import Pair
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape


def boxes(graph: Graph, domain: Domain) -> list[Box]:
    """Return a domain as a graph's inputs read it, in their order."""
    names = [graph[key].names[0] for key in graph.inputs]
    return [Box(domain.low[name], domain.high[name]) for name in names]


def tapes(pair: Pair, domain: Domain, device: torch.device | None = None) -> tuple[Tape, Tape]:
    """Record both networks of a pair for inputs of a domain's shapes.

    Raises
    ------
    UnsupportedError
        If a node is made of something that certificates know nothing about; names node, op and reason.
    """
    shapes = {name: tuple(low.shape) for name, low in domain.low.items()}
    sides = []
    for side, graph in enumerate((pair.first, pair.second)):
        errors = {
            graph[key].names[0]: error
            for key, both in pair.errors.items()
            if key in graph.nx and (error := both[side]) is not None
        }
        ours = [graph[key].names[0] for key in graph.inputs]
        given = dict(zip(ours, shapes.values(), strict=True))
        sides.append(record(graph, given, device, errors))
    return sides[0], sides[1]


def enclosed_difference(problem: Problem, point: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return what the difference of each output element is at least, at a point, in exact arithmetic.

    Parameters
    ----------
    problem
        The networks.
    point
        ``(1, *shape)`` by input, in their order.

    Returns
    -------
    Tensor
        Absolute values, the outputs one after another and flattened.
    """
    at = Problem(problem.first, problem.second, [Box.point(x.double()) for x in point.values()])
    sizes = []
    for value in at.outputs:
        d = at.triples[value].d
        inside = torch.where((d.low <= 0) & (d.high >= 0), 0.0, torch.minimum(d.low.abs(), d.high.abs()))
        sizes.append(inside.nan_to_num(0.0, inf, 0.0).reshape(-1))
    return torch.cat(sizes)
