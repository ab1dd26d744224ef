"""Dead code: nodes that no output depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph
from pathlift.passes.base import Effect, Rewritten, Transform, Witness
from pathlift.passes.witness.correspondence import overridable


@dataclass(frozen=True)
class Removed(Witness):
    """Keys of the nodes that went."""

    keys: frozenset[str]

    def check(self, before: Graph, after: Graph) -> None:
        lost = {v.node for v in before.outputs} & self.keys or {k for k in self.keys if k in after}
        if lost or set(after.nx) | self.keys != set(before.nx):
            raise WitnessError("0801", f"dead-code removed or kept the wrong nodes: {', '.join(sorted(lost))}")

    def describe(self) -> str:
        return f"{len(self.keys)} nodes removed" if self.keys else ""


@dataclass(frozen=True)
class DeadCode(Transform):
    """Remove ops and parameters that no output depends on; inputs stay, also those with a default value."""

    name: ClassVar[str] = "dead-code"
    effect: ClassVar[Effect] = Effect.KEEPS

    def run(self, graph: Graph) -> Rewritten:
        replaceable = overridable(graph)
        given = {key for key in graph.params if graph[key].names[0] in replaceable}
        dead = frozenset(graph.nx) - graph.live - set(graph.inputs) - given
        if not dead:
            return Rewritten(graph, Removed(dead))
        builder = graph.edit()
        for key in reversed(graph.order):
            if key in dead:
                builder.remove(key)
        return Rewritten(builder.finish(), Removed(dead))
