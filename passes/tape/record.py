"""Recording: an algebra whose values are numbers of a tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import along, as_tensor
from pathlift.ir.algebras.two_sorted import TwoSorted
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, SeparableMap, View
from pathlift.ir.types import Array, Param, TensorType, ValueType, is_float, not_finite
from pathlift.passes.fields.weight import Weight, moved_weights
from pathlift.passes.tape.steps import (
    Bilinear,
    Coefficients,
    Combined,
    Constant,
    Gate,
    Moved,
    Scaled,
    Select,
    Shifted,
    Step,
    Sum,
    U,
    Weighted,
    Within,
    check_broadcast,
)  # fmt: skip
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor


def record(
    graph: Graph,
    inputs: Mapping[str, tuple[int, ...]],
    device: torch.device | None = None,
    errors: Mapping[str, Array] | None = None,
) -> Tape:
    """Write a network down as a tape.

    Parameters
    ----------
    graph
        The network.
    inputs
        The shape of every input, by name.
    device
        Where parameters live; the CPU by default.
    errors
        By a parameter's name: how far each of its elements may be off what is meant.

    Raises
    ------
    UnsupportedError
        If a node is made of something that certificates know nothing about; names node, op and reason.
    """
    recorder = Recorder({graph[key].names[0]: inputs[graph[key].names[0]] for key in graph.inputs}, device, errors)
    feeds = {name: i for i, name in enumerate(recorder.inputs)}
    results = run(graph, recorder, feeds)
    return Tape(recorder.inputs, tuple(recorder.steps), {name: recorder.signal(y) for name, y in results.items()})


class Recorder(TwoSorted[Weight, int]):
    """Signals are numbers of values; each primitive appends a step."""

    name: ClassVar[str] = "certificates"
    parameter_type: ClassVar[type] = Weight

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, ...]],
        device: torch.device | None = None,
        errors: Mapping[str, Array] | None = None,
    ) -> None:
        self.errors = errors or {}
        self.inputs = dict(inputs)
        self.device = device or torch.device("cpu")
        self.shapes = list(self.inputs.values())
        self.steps: list[Step] = []

    def append(self, kind: Callable[..., Step], inputs: Sequence[int], shape: Sequence[int], *args: Any) -> int:
        """Append a step, and return the number of its value."""
        assert self.node is not None
        shapes = tuple(self.shapes[i] for i in inputs)
        self.steps.append(kind(self.node.label, tuple(inputs), shapes, tuple(shape), *args))
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    # ---- parameters

    def param(self, p: Param) -> Weight:
        assert self.node is not None
        name = self.node.names[0]
        if not is_float(p.dtype):
            return Weight(torch.zeros((), dtype=torch.float64).expand(p.shape), integer=name)
        if p.non_finite:
            raise not_finite(name, p.numpy())
        error = self.errors.get(name)
        off = None if error is None else as_tensor(error, torch.float64, self.device)
        return Weight(as_tensor(p.numpy(), torch.float64, self.device), error=off, finite=True)

    def derive_parameter(self, f: Callable[..., Any], params: Sequence[Weight]) -> Weight:
        values = f(*(w.accurate() for w in params))
        return Weight(values, roundings=8 + sum(w.roundings for w in params))

    def add_parameters(self, x: Weight, y: Weight, axis: int | None) -> Weight:
        return x.plus(y, axis)

    def scale_parameter(self, x: Weight, c: Weight, axis: int | None, *, reciprocal: bool) -> Weight:
        return x.times(c, axis, reciprocal=reciprocal)

    def multiply_parameter(self, x: Weight, c: float) -> Weight:
        return replace(x, values=-x.checked()) if c == -1.0 else x.times(self._number(c))

    def move_parameters(self, xs: Sequence[Weight], v: View) -> Weight:
        return moved_weights(v, xs)

    def lift(self, p: Weight) -> int:
        values = coefficients(p)
        return self.append(Constant, (), values.values.shape, values)

    # ---- signals

    def apply_weights(self, f: LinearMap, x: int, w: Weight) -> int:
        weights = coefficients(w)
        return self.append(Weighted, (x,), self._extents(f.shape(self.shapes[x], tuple(w.values.shape))), f, weights)

    def combine(self, f: SeparableMap, x: int) -> int:
        return self.append(Combined, (x,), self._extents(f.shape(self.shapes[x], None)), f)

    def add_signals(self, x: int, y: int, axis: int | None) -> int:
        if axis is not None:  # a vector along an axis
            rank = len(self.shapes[x])
            shape = [-1 if i == axis % rank else 1 for i in range(rank)]
            from pathlift.ir.primitives.reshapes import Reshape

            y = self.append(
                Moved, (y,), [abs(n) if n == 1 else self.shapes[y][0] for n in shape], Reshape(tuple(shape))
            )
        return self.append(Sum, (x, y), check_broadcast([self.shapes[x], self.shapes[y]]))

    def shift(self, x: int, c: Weight, axis: int | None) -> int:
        shift = _aligned(coefficients(c), axis, len(self.shapes[x]))
        return self.append(Shifted, (x,), check_broadcast([self.shapes[x], tuple(shift.values.shape)]), shift)

    def scale(
        self, x: Weight | int, c: Weight | int | float, axis: int | None = None, *, reciprocal: bool = False
    ) -> Weight | int:
        number = self._number(float(c)) if reciprocal and isinstance(c, float) else c  # a reciprocal is rounded
        return super().scale(x, number, axis, reciprocal=reciprocal)

    def scale_signal(self, x: int, c: Weight, axis: int | None, *, reciprocal: bool) -> int:
        factor = coefficients(self._number(1.0).times(c, reciprocal=True) if reciprocal else c)
        factor = _aligned(factor, axis, len(self.shapes[x]))
        return self.append(Scaled, (x,), check_broadcast([self.shapes[x], tuple(factor.values.shape)]), factor)

    def multiply_signal(self, x: int, c: float) -> int:
        return self.append(Scaled, (x,), self.shapes[x], coefficients(self._number(c)))

    def activate(self, x: int, f: Activation, *slopes: Weight) -> int:
        if f.bends is None:
            raise UnsupportedError("1466", f"{f.name} does not say where it bends")
        return self.append(Gate, (x,), self.shapes[x], f, tuple(map(coefficients, slopes)))

    def pool(self, x: int, s: OrderStatistic) -> int:
        return self.append(Select, (x,), self._extents(s.shape(self.shapes[x])), s)

    def move_signals(self, xs: Sequence[int], v: View) -> int:
        shapes = [self.shapes[x] for x in xs]
        return self.append(Moved, xs, self._extents(v.shape(*shapes)), v)

    def apply(self, f: Nonlinear, xs: Sequence[Any], types: Sequence[ValueType]) -> tuple[Any, ...]:
        if f.bilinear:
            assert f.execute is not None
            assert f.shape is not None
            x, y = (self.signal(operand) for operand in xs)
            shape = self._extents(f.shape(self.shapes[x], self.shapes[y]))
            terms = max(1, min(self._size(x), self._size(y)))
            return (self.append(Bilinear, (x, y), shape, f.execute, terms),)
        if f.program is None:
            return super().apply(f, xs, types)
        y = self.signal(f.program(self, *xs))
        if f.within is not None:
            y = self.append(Within, (y,), self.shapes[y], *f.within)
        return (y,)

    def _size(self, x: int) -> int:
        return int(torch.Size(self.shapes[x]).numel())

    def _number(self, value: float) -> Weight:
        return Weight(torch.tensor(value, dtype=torch.float64, device=self.device))

    def _extents(self, dims: Sequence[Any]) -> tuple[int, ...]:
        if not all(isinstance(d, int) for d in dims):
            raise UnsupportedError("1467", f"the shape {list(dims)} of its result is not known")
        return tuple(dims)


def coefficients(w: Weight) -> Coefficients:
    """Return a parameter as numbers with their errors."""
    values = w.wide()
    error = None if not w.roundings else values.abs() * (1.01 * U * w.roundings)
    if w.error is not None:
        error = w.error if error is None else (error + w.error) * (1 + 2 * U)
    return Coefficients(values, error)


def _aligned(c: Coefficients, axis: int | None, rank: int) -> Coefficients:
    error = None if c.error is None else along(c.error, axis, rank)
    return Coefficients(along(c.values, axis, rank), error)


def input_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a graph's inputs where all extents are known; a free batch is 1."""
    shapes = {}
    for key in graph.inputs:
        type_ = graph[key].types[0]
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        shapes[graph[key].names[0]] = tuple(d if isinstance(d, int) else 1 for d in type_.shape)
    return shapes
