"""Control flow: an If whose condition is known is its branch."""

from __future__ import annotations

from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import lowering, opaque

opaque("data-dependent control flow", "Loop", "Scan", "SequenceMap")


@lowering("If", takes="any", ignores=["then_branch", "else_branch"])
def if_(node: OnnxNode) -> tuple[Operand, ...]:
    """The branch that a constant condition picks."""
    condition = node.constant(0, "data-dependent control flow")
    branch = node.node.attributes["then_branch" if condition.numpy().any() else "else_branch"].as_graph()
    results = node.lowerer.inline(branch)
    return tuple(node.renamed(i, x) for i, x in enumerate(results))
