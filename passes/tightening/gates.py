"""Gates on a domain: which elements stay within one affine piece of their activation, by outward-rounded boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Array, Dims, TensorType
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, inside
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.sizes import Extents
from pathlift.passes.tape.record import Recorder, Signal
from pathlift.passes.tape.steps import Gate
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
_NOTHING = 2.0**-1000
"""What is nearer to zero is zero: boxes of products with zeros are widened by less."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """What a gate is on a domain: slope·x + offset, where that is known.

    Parameters
    ----------
    known
        Booleans; of the rank of the operand, and broadcast to it. Axes that the graph leaves open have extent 1.
    slope, offset
        float64, like `known`; 0 elsewhere.
    idle
        Booleans, like `known`: where the operand is zero, so that nothing is left to do.
    at_zero
        f(0).
    """

    known: Array
    slope: Array
    offset: Array
    idle: Array
    at_zero: float

    def where(self, chosen: Array) -> Pieces:
        """Keep these elements alone."""
        known = self.known & chosen
        slope, offset = (np.where(known, a, 0.0) for a in (self.slope, self.offset))
        return replace(self, known=known, slope=slope, offset=offset)

    @property
    def saturated(self) -> Array:
        """Elements that are known to be, or to add, a constant that a path-norm did not count before."""
        result: Array = self.known & (self.offset != 0) & (self.offset != self.at_zero)
        return result

    def features(self) -> Pieces | None:
        """The same along the last axis, where elements that share a feature agree: ``(features,)``."""
        arrays = (self.known & ~self.idle, self.slope, self.offset)
        known, slope, offset = (a.reshape(-1, a.shape[-1]) for a in arrays)
        agree = known.all(0) & (slope == slope[:1]).all(0) & (offset == offset[:1]).all(0)
        found = Pieces(agree, slope[0], offset[0], ~agree, self.at_zero).where(agree)
        return found if found.known.any() else None


def gates(graph: Graph, domain: Domain, shapes: Mapping[str, Extents]) -> dict[str, tuple[Gate, Box]]:
    """Return the nodes that are one gate each, by key, with the boxes of what they read.

    Parameters
    ----------
    graph
        The network.
    domain
        Of its inputs.
    shapes
        Of its inputs, with all extents known.

    Raises
    ------
    UnsupportedError
        If there are no boxes behind a node; names it.
    """
    recorder = Recorder(shapes)
    found: dict[str, Gate] = {}

    def observe(key: str, node: Node, reads: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        step = recorder.steps[-1] if recorder.steps else None
        mine = results == (Signal(len(recorder.shapes) - 1),)
        if mine and isinstance(step, Gate) and step.node == node.label and reads[:1] == (Signal(step.inputs[0]),):
            found[key] = step

    run(graph, recorder, {name: Signal(i) for i, name in enumerate(recorder.inputs)}, observe=observe)
    boxes = intervals(Tape(recorder.inputs, tuple(recorder.steps), {}), [
        Box(*(side[name].expand(shape).contiguous() for side in (domain.low, domain.high)))
        for name, shape in shapes.items()
    ])  # fmt: skip
    return {key: (step, boxes[step.inputs[0]]) for key, step in found.items()}


def pieces(gate: Gate, box: Box, dims: Dims) -> Pieces | None:
    """Return what a gate is on a box; ``None`` if it may bend everywhere, or its pieces are not known exactly.

    Parameters
    ----------
    gate
        The gate.
    box
        Of its operand.
    dims
        Of its operand, in the graph: what is said of elements along an axis of unknown extent is one thing.
    """
    curve = Curve.of(gate)
    if not curve.f.affine or curve.f.jump or any(s.error is not None for s in curve.slopes):
        return None
    known = torch.zeros(box.low.shape, dtype=torch.bool)
    slope, offset = torch.zeros_like(box.low), torch.zeros_like(box.low)
    for left, right in pairwise([-inf, *curve.bends, inf]):
        line = _line(curve, box.low, left, right)
        if line is None:
            return None
        here = (box.low >= left) & (box.high <= right) & ~known
        known, slope, offset = known | here, torch.where(here, line[0], slope), torch.where(here, line[1], offset)
    arrays = [a.numpy() for a in (known, slope, offset, box.magnitude < _NOTHING)]
    for axis, extent in enumerate(dims):
        if not isinstance(extent, int):
            first = [a.take([0], axis) for a in arrays]
            alike = [(a == b).all(axis, keepdims=True) for a, b in zip(arrays[:3], first[:3], strict=True)]
            idle = np.asarray(arrays[3].all(axis, keepdims=True))
            arrays = [first[0] & np.logical_and.reduce(alike), *first[1:3], idle]
    found = Pieces(arrays[0], arrays[1], arrays[2], arrays[3], curve.f.at_zero).where(arrays[0])
    return found if found.known.any() else None


def _line(curve: Curve, like: Tensor, left: float, right: float) -> tuple[Tensor, Tensor] | None:
    """Slope and offset between two bends; ``None`` where rounding had a say in them."""
    slope = curve.derivative(torch.full_like(like, inside(left, right) if curve.bends else 0.0))
    ends = [end for end in (left, right) if abs(end) < inf] or [0.0]
    if any(ends) and not bool(torch.isin(slope, torch.tensor([-1.0, 0.0, 1.0], dtype=slope.dtype)).all()):
        return None  # its product with a bend is rounded
    offsets = [curve(torch.full_like(like, end)) - slope * end for end in ends]
    return None if any(not torch.equal(offsets[0], other) for other in offsets) else (slope, offsets[0])


def all_pieces(graph: Graph, domain: Domain, shapes: Mapping[str, Extents]) -> dict[str, Pieces]:
    """Return what gates are on a domain, by key, where anything is known."""
    found = {}
    for key, (gate, box) in gates(graph, domain, shapes).items():
        operand = graph.inputs_of(key)[0]
        type_ = None if operand is None else graph.type_of(operand)
        if isinstance(type_, TensorType) and type_.shape is not None:
            known = pieces(gate, box, type_.shape)
            if known is not None:
                found[key] = known
    return found


def compact(array: Array) -> Array:
    """Give axes along which nothing changes the extent 1."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if (array == first).all():
            array = first
    return array
