"""One network on a box of inputs: its tape, and what is known of its values."""

from __future__ import annotations

from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.pairs import boxes
from pathlift.passes.certificates.problem import Clock, Problem
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape

FEW = 1e6
"""Numbers, rows times values, that are computed without asking how long it takes."""


def tape_of(graph: Graph, domain: Domain) -> Tape:
    """Record a network for inputs of a domain's shapes.

    Raises
    ------
    UnsupportedError
        If a node is made of something that intervals know nothing about; names node, op and reason.
    """
    names = [graph[key].names[0] for key in graph.inputs]
    return record(graph, {name: tuple(domain.low[name].shape) for name in names})


def enclosed(graph: Graph, tape: Tape, domain: Domain) -> Problem:
    """Return one network on a box, its values enclosed by interval arithmetic."""
    return Problem(tape, tape, boxes(graph, domain))


def tighten(problem: Problem, clock: Clock) -> None:
    """Tighten what is known of the values, by linear relaxations, as far as the time goes.

    A layer is left to interval arithmetic where its rows would take more time than there is, going by what those of the
    layer before it took.
    """
    from pathlift.passes.relaxations.tighten import tighten as relaxed

    numbers = sum(t.a.low.numel() for t in problem.triples)
    before = (0.0, clock.left)  # what was asked for last, and when

    def wanted(value: int, rows: int) -> bool:
        nonlocal before
        work, left = float(rows) * value, clock.left
        last, then = before
        if left <= 0 or (rows * numbers > FEW and last and (then - left) / last * work > left):
            return False
        before = work, left
        return True

    relaxed(problem.first, problem.first, problem.triples, wanted)
