"""Strip the head: a final Softmax, LogSoftmax or Sigmoid turns scores into probabilities; norms are of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pathlift.ir.algebras.traits import Elements, traits
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.passes.base import Effect, Rewritten, Transform, Witness

HEADS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
"""Which ops turn scores into probabilities is a matter of use, not of a property."""


@dataclass(frozen=True)
class Stripped(Witness):
    """Labels of the head nodes that became identities, as ``(label, op)``."""

    heads: tuple[tuple[str, str], ...]

    def check(self, before: Graph, after: Graph) -> None:
        if len(before) != len(after) or [before.name_of(v) for v in before.outputs] != [
            after.name_of(v) for v in after.outputs
        ]:
            raise WitnessError("0802", "strip-head changed more than final activations")

    def describe(self) -> str:
        return ", ".join(f"the final {op} {label!r} is left out" for label, op in self.heads)


@dataclass(frozen=True)
class StripHead(Transform):
    """Replace a final Softmax, LogSoftmax or Sigmoid, behind which only views follow, by Identity."""

    name: ClassVar[str] = "strip-head"
    effect: ClassVar[Effect] = Effect.KEEPS  # norms are of scores in any case

    def run(self, graph: Graph) -> Rewritten:
        heads = [
            key for key in graph.order if key in graph.live and graph[key].op in HEADS and self._is_final(graph, key)
        ]
        witness = Stripped(tuple((graph[key].label, graph[key].op) for key in heads))
        if not heads:
            return Rewritten(graph, witness)
        builder = graph.edit()
        for key in heads:
            builder.replace_node(Value(key), op="Identity", attrs={})
        return Rewritten(builder.finish(), witness)

    def _is_final(self, graph: Graph, key: str) -> bool:
        """Whether every way from the node to an output leads through views only."""
        users = (user for user, _, _ in graph.users(key) if user in graph.live)
        return all(traits(graph, user).elements >= Elements.PICKED and self._is_final(graph, user) for user in users)
