"""One network on a box of inputs: its tape, and what is known of its values."""

from __future__ import annotations

from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.certificates.pairs import boxes
from pathlift.passes.certificates.problem import Clock, Problem
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape


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

    A layer is left to interval arithmetic where its rows would take more time than there is, going by what those
    before it took.
    """
    try:
        from pathlift.passes.relaxations.layers import tighten as relaxed
    except ModuleNotFoundError:
        return

    began, total = clock.left, [0.0]

    def wanted(value: int, rows: int) -> bool:
        work = float(rows) * value
        spent = began - clock.left
        if clock.left <= 0 or (total[0] and spent / total[0] * work > clock.left):
            return False
        total[0] += work
        return True

    relaxed(problem.first, problem.first, problem.triples, wanted)
