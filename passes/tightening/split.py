"""Gates split on a domain: elements that are linear there go around the gate, or are constants behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph, Value, freeze_attrs
from pathlift.ir.types import Param, TensorType
from pathlift.passes.layers.edits import disconnect, drop_constants
from pathlift.passes.tightening.gates import Pieces, compact
from pathlift.passes.tightening.outward import Computed


def split_gates(graph: Graph, pieces: Mapping[str, Pieces], done: Collection[str] = ()) -> Graph:
    """Write gates as what they are on a domain.

    A gate g all of whose elements are linear there is x ↦ a·x + c. Of others, those of slope |a| < 1 are taken out:
    g(m·x) + a·x + (c − g(0)), where m and a are zero at the one or at the other elements. A slope of ±1 weighs as much
    as the gate.

    Parameters
    ----------
    graph
        The network.
    pieces
        What its gates are.
    done
        Gates that stay.
    """
    builder, changed = graph.edit(), False
    for key, found in pieces.items():
        if key in done or key not in graph.live:
            continue
        whole = bool(found.known.all())
        taken = found if whole else found.where((np.abs(found.slope) < 1) & ~found.idle)
        if not taken.known.any():
            continue
        changed = _Edit(builder, graph, key).write(taken, whole=whole) or changed
    return builder.finish() if changed else graph


class _Edit:
    """One gate, and the nodes that take its place; the last of them has its name."""

    def __init__(self, builder: Builder, graph: Graph, key: str) -> None:
        self.builder, self.graph, self.key = builder, graph, key
        self.name = graph[key].names[0]

    def write(self, taken: Pieces, *, whole: bool) -> bool:
        """Write the gate; whether its numbers can be stored."""
        operands = self.graph.inputs_of(self.key)
        x, node = operands[0], self.graph[self.key]
        assert x is not None
        ones = np.ones_like(taken.slope)
        zero = 0.0 if whole else taken.at_zero
        rest = Computed.exact(taken.offset).plus(Computed.exact(-zero * taken.known))
        numbers = [self.number(c) for c in (Computed.exact(taken.slope), Computed.exact(ones - taken.known), rest)]
        if any(n is None for n in numbers):
            return False
        slope, mask, offset = (self.builder.param(n, self.fresh("part")) for n in numbers if n is not None)
        terms = list[tuple[str, Value, Value]]()
        if not whole:
            masked = self.builder.op("Mul", x, mask, name=self.fresh("masked"))
            gate = self.builder.op(node.op, masked, *operands[1:], name=self.fresh("gate"), **node.attrs)
            terms.append(("Identity", gate, gate))
        if whole and (taken.slope == 1).all():
            terms.append(("Identity", x, x))
        elif whole or taken.slope.any():
            terms.append(("Mul", x, slope))
        if rest.values.any():
            terms.append(("Identity", offset, offset))
        self.sum_up(terms)
        return True

    def sum_up(self, terms: Sequence[tuple[str, Value, Value]]) -> None:
        """Let the gate's own node be a sum of products, values and parameters."""
        if len(terms) == 1:
            op, x, c = terms[0]
            return self.last(op, *((x, c) if op == "Mul" else (x,)))
        values = [x if op == "Identity" else self.builder.op(op, x, c, name=self.fresh("linear")) for op, x, c in terms]
        total = values[0]
        for value in values[1:-1]:
            total = self.builder.op("Add", total, value, name=self.fresh("sum"))
        return self.last("Add", total, values[-1])

    def number(self, numbers: Computed) -> Param | None:
        """Numbers in the element type of the operand; ``None`` if it does not fit."""
        operand = self.graph.inputs_of(self.key)[0]
        type_ = None if operand is None else self.graph.type_of(operand)
        if not isinstance(type_, TensorType) or type_.dtype is None:
            return None
        stored = numbers.stored(type_.dtype)
        return None if stored is None else Param.of(compact(stored))

    def fresh(self, what: str) -> str:
        """A name for a part of the gate."""
        return self.builder.fresh(f"{self.name}.{what}")

    def last(self, op: str, *operands: Value) -> None:
        """Let the gate's own node be this one."""
        disconnect(self.builder, self.key)
        self.builder.replace_node(Value(self.key), op=op, attrs=freeze_attrs({}))
        for slot, operand in enumerate(operands):
            self.builder.connect(self.key, slot, operand)
        drop_constants(self.builder, self.graph, [self.key])
