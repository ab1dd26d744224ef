"""Tightening: the network as it is on a box of inputs, whose path-norm bounds it there.

Off the box it is another function. What is proved of its path-norms is in `docs/theory.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.path_norm.path_norm import PathNorm
from pathlift.passes.rewrites.dead_code import DeadCode
from pathlift.passes.rewrites.specialize import specialize
from pathlift.passes.sizes import Extents, resolve_inputs
from pathlift.passes.tightening.chains import tighten_chains
from pathlift.passes.tightening.gates import Pieces, all_pieces
from pathlift.passes.tightening.recentring import recentre
from pathlift.passes.tightening.split import split_gates
from pathlift.passes.tightening.text import read_box
from pathlift.passes.tightening.witness import Tightened
from pathlift.passes.witness.rewritings import SequentialWitness

ROUNDS = 16
"""How often gates are looked at, at most; three times is much."""


@dataclass(frozen=True)
class OnDomain(Rewritten):
    """A network as it is on a domain.

    Parameters
    ----------
    centred
        The inputs that became distances from the middle.
    skipped
        Why others did not.
    """

    centred: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tighten(Transform):
    """Write a network as what it is on a box of inputs: gates that are linear there go, dead neurons are zero.

    Parameters
    ----------
    domain
        The box: ``x=0:1;z=-1:1``, or ``0:1`` for all inputs. Off it, the result is another function.
    recentre
        Let inputs be distances from the middle of the box. The result then reads u = x − c.
    shape
        Fill in symbolic dimensions. The batch needs none.
    """

    name: ClassVar[str] = "tighten"
    effect: ClassVar[Effect] = Effect.ANY

    domain: str = ""
    recentre: bool = False
    shape: tuple[tuple[str, int], ...] = ()

    def run(self, graph: Graph) -> Rewritten:
        """Tighten a network.

        Parameters
        ----------
        graph
            Any graph that intervals have rules for.

        Raises
        ------
        UsageError
            PL1474, PL1476: if there is no domain of its inputs.
        UnsupportedError
            If there are no boxes behind a node; PL1390, if no input can be recentred.
        """
        shapes = resolve_inputs(graph, dict(self.shape))
        return tightened(graph, read_box(self.domain, shapes), shapes, recentred=self.recentre)


def tightened(graph: Graph, domain: Domain, shapes: dict[str, Extents], *, recentred: bool = False) -> OnDomain:
    """Tighten a network on any box; parameters and errors are those of `Tighten`.

    Parameters
    ----------
    graph
        The network.
    domain
        One of its inputs.
    shapes
        Of its inputs, with all extents known.
    recentred
        Whether inputs become distances from the middle.
    """
    steps, current = list[tuple[Witness, Graph]](), graph
    for _ in range(ROUNDS):  # fewer products in a row have smaller boxes, in which other gates may be linear
        pieces = all_pieces(current, domain, shapes)
        result = _without_bends(current, pieces, shapes)
        if result is current:
            break
        said = {current[key].names[0]: p for key, p in pieces.items()}
        steps.append((Tightened(domain, shapes, {}, said), result))
        current = result
    if not recentred:
        return OnDomain(current, SequentialWitness(tuple(steps)))
    moved = recentre(current, {name: x.numpy() for name, x in domain.centre.items()})
    if moved.skipped and not moved.inputs:
        raise UnsupportedError(
            "1390", f"no input can be recentred: {'; '.join(moved.skipped)}", hint="fold-batchnorm may help"
        )
    if moved.inputs:
        centres = {name: domain.centre[name] for name in moved.inputs}
        steps.append((Tightened(domain, shapes, centres, {}), moved.graph))
    witness = SequentialWitness(tuple(steps), moved.skipped)
    return OnDomain(moved.graph, witness, moved.inputs, moved.skipped)


def _without_bends(graph: Graph, pieces: dict[str, Pieces], shapes: dict[str, Extents]) -> Graph:
    """Write gates as what they are; constants other than f(0) only where that raises no path-norm of q = 1."""
    plain = {key: p.where(~p.saturated) for key, p in pieces.items()}
    result = _rewritten(graph, plain)
    if any(p.saturated.any() for p in pieces.values()):
        other = _rewritten(graph, pieces)
        if _norm(other, shapes) <= min(_norm(graph, shapes), _norm(result, shapes)) < inf:
            return other
    return result


def _rewritten(graph: Graph, pieces: dict[str, Pieces]) -> Graph:
    known = {key: p for key, p in pieces.items() if p.known.any()}
    result, done = tighten_chains(graph, known)
    result = split_gates(result, known, done)
    return graph if result is graph else DeadCode().run(result).graph


def _norm(graph: Graph, shapes: dict[str, Extents]) -> float:
    """log10 of the path-norm of q = 1, rounded up; infinite, if there is none."""
    try:
        (norm,) = PathNorm().run(specialize(graph, shapes)).norms
    except UnsupportedError:
        return inf
    return -inf if norm.upper_log10 is None else norm.upper_log10
