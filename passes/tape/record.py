"""Recording: an algebra whose values are numbers of a tape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, nan, prod
from typing import Any, ClassVar

import numpy as np
import torch

from pathlift.ir import dims as D
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import along, as_tensor
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import Activation, LinearMap, Nonlinear, OrderStatistic, SeparableMap, View
from pathlift.ir.primitives.reshapes import Reshape
from pathlift.ir.primitives.views import Expand, Pad
from pathlift.ir.types import Array, Param, TensorType, ValueType, is_float, not_finite
from pathlift.passes.fields.weight import Weight
from pathlift.passes.fields.weight_parameters import WeightParameters
from pathlift.passes.tape.affine import Combined, Constant, Moved, Scaled, Shifted, Sum, Weighted
from pathlift.passes.tape.coefficients import Coefficients, U
from pathlift.passes.tape.steps import Bilinear, Gate, Select, Step, Within, check_broadcast
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
FEW = 2**20
"""The most elements of a parameter of whole numbers that are read."""


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
    names = [graph[key].names[0] for key in graph.inputs]
    for name, key in zip(names, graph.inputs, strict=True):
        type_ = graph[key].types[0]
        if isinstance(type_, TensorType) and type_.dtype is not None and not is_float(type_.dtype):
            raise UnsupportedError("1368", f"input {name!r} is a tensor of {type_.dtype}, not of real numbers")
    recorder = Recorder({name: inputs[name] for name in names}, device, errors)
    results = run(graph, recorder, {name: Signal(i) for i, name in enumerate(names)})
    outputs = {}
    for name, y in results.items():
        signal = recorder.signal(y)
        if signal.hidden is not None:
            raise UnsupportedError("1368", f"output {name!r} holds -inf, which is no real number")
        outputs[name] = signal.number
    return Tape(recorder.inputs, tuple(recorder.steps), outputs)


@dataclass(frozen=True)
class Signal:
    """A value of the tape, by its number; no number itself, so that nobody multiplies by it.

    Parameters
    ----------
    number
        Which one.
    hidden
        Where -∞ has been added to it, or taken its place: there, the value of this number means nothing.
    """

    number: int
    hidden: Tensor | None = None


@dataclass(frozen=True)
class Mask(Weight):
    """A parameter that is -∞ in places: a sum with it hides what is there, and a softmax knows what that means."""

    name: str = ""

    def checked(self) -> Tensor:
        raise not_finite(self.name, self.values.cpu().numpy())

    @property
    def hidden(self) -> Tensor:
        """Where it is -∞."""
        return self.values == -inf

    @property
    def shown(self) -> Weight:
        """The same with 0 in these places."""
        return Weight(self.values.masked_fill(self.hidden, 0.0), finite=True)


class Recorder(WeightParameters[Signal]):
    """Each primitive appends a step."""

    name: ClassVar[str] = "certificates"

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
        self.defined = [True] * len(self.shapes)
        self.steps: list[Step] = []

    def append(self, kind: Callable[..., Step], inputs: Sequence[Signal], shape: Sequence[int], *args: Any) -> Signal:
        """Append a step, and return its value."""
        if any(x.hidden is not None for x in inputs):
            raise UnsupportedError("1368", "it computes with -inf, which is no real number")
        label = self.node.label if self.node else ""
        shapes = tuple(map(self.extents, inputs))
        step = kind(label, tuple(x.number for x in inputs), shapes, tuple(shape), *args)
        self.defined.append(all(self.defined[i] for i in step.inputs) and not self._may_be_none(step))
        self.steps.append(step)
        self.shapes.append(tuple(shape))
        return Signal(len(self.shapes) - 1)

    def _may_be_none(self, step: Step) -> bool:
        """Whether a step is a function of what it may not be defined for; a theorem may say that it is."""
        if not isinstance(step, Gate):
            return False
        before = self.steps[step.inputs[0] - len(self.inputs)] if step.inputs[0] >= len(self.inputs) else None
        if isinstance(before, Within) and before.low > 0:
            return False
        points = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
        values = step.f.torch(points, *(torch.zeros_like(points) for _ in step.slopes))
        return bool(step.f.poles) or not bool(values.isfinite().all())

    def extents(self, x: Weight | Signal) -> tuple[int, ...]:
        """The shape of an operand."""
        return tuple(x.values.shape) if isinstance(x, Weight) else self.shapes[x.number]

    # ---- parameters

    def param(self, p: Param) -> Weight:
        assert self.node is not None
        name = self.node.names[0]
        if not is_float(p.dtype):
            return Weight(self._whole(p), integer=name)
        error = self.errors.get(name)
        if p.non_finite:
            values = as_tensor(p.numpy(), torch.float64, self.device)
            if error is not None or not bool((values < inf).all()):
                raise not_finite(name, p.numpy())
            return Mask(values, name=name)
        off = None if error is None else as_tensor(error, torch.float64, self.device)
        return Weight(as_tensor(p.numpy(), torch.float64, self.device), error=off, finite=True)

    def move_parameters(self, xs: Sequence[Weight], v: View) -> Weight:
        moved = super().move_parameters(xs, v)
        name = next((w.name for w in xs if isinstance(w, Mask)), None)
        return moved if name is None else Mask(moved.values, moved.roundings, moved.error, name=name)

    def lift(self, p: Weight) -> Signal:
        values = coefficients(p.shown if isinstance(p, Mask) else p)
        constant = self.append(Constant, (), values.values.shape, values)
        return replace(constant, hidden=p.hidden) if isinstance(p, Mask) else constant

    # ---- signals

    def apply_weights(self, f: LinearMap, x: Signal, w: Weight) -> Signal:
        shape = _known(f.shape(self.extents(x), self.extents(w)))
        return self.append(Weighted, (x,), shape, f, coefficients(w))

    def combine(self, f: SeparableMap, x: Signal) -> Signal:
        return self.append(Combined, (x,), _known(f.shape(self.extents(x), None)), f)

    def add_signals(self, x: Signal, y: Signal, axis: int | None) -> Signal:
        if axis is not None:  # a vector along an axis
            rank = len(self.extents(x))
            shape = tuple(self.extents(y)[0] if i == axis % rank else 1 for i in range(rank))
            y = self.append(Moved, (y,), shape, Reshape(shape), self.device)
        return self.append(Sum, (x, y), check_broadcast([self.extents(x), self.extents(y)]))

    def shift(self, x: Signal, c: Weight, axis: int | None) -> Signal:
        if isinstance(c, Mask):
            hidden = along(c.hidden, axis, len(self.extents(x)))
            shifted = self.shift(replace(x, hidden=None), c.shown, axis)
            return replace(shifted, hidden=hidden if x.hidden is None else hidden | x.hidden)
        shift = _aligned(coefficients(c), axis, len(self.extents(x)))
        return self.append(Shifted, (x,), check_broadcast([self.extents(x), tuple(shift.values.shape)]), shift)

    def add_to_parameter(self, c: Weight, x: Signal, axis: int | None) -> Signal:
        return self.shift(x, c, None) if axis is None else super().add_to_parameter(c, x, axis)

    def scale(
        self, x: Weight | Signal, c: Weight | Signal | float, axis: int | None = None, *, reciprocal: bool = False
    ) -> Weight | Signal:
        # A reciprocal is rounded; a division by zero is refused.
        number = self.number(float(c)) if reciprocal and isinstance(c, float | int) else c
        return super().scale(x, number, axis, reciprocal=reciprocal)

    def scale_signal(self, x: Signal, c: Weight, axis: int | None, *, reciprocal: bool) -> Signal:
        factor = coefficients(self.number(1.0).times(c, reciprocal=True) if reciprocal else c)
        factor = _aligned(factor, axis, len(self.extents(x)))
        return self.append(Scaled, (x,), check_broadcast([self.extents(x), tuple(factor.values.shape)]), factor)

    def multiply_signal(self, x: Signal, c: float) -> Signal:
        return self.append(Scaled, (x,), self.extents(x), coefficients(self.number(c)))

    def activate(self, x: Signal, f: Activation, *slopes: Weight) -> Signal:
        if f.bends is None:
            raise UnsupportedError("1366", f"{f.name} does not say where it bends")
        shape = check_broadcast([self.extents(x), *map(self.extents, slopes)])
        return self.append(Gate, (self._expanded(x, shape),), shape, f, tuple(map(coefficients, slopes)))

    def pool(self, x: Signal, s: OrderStatistic) -> Signal:
        return self.append(Select, (x,), _known(s.shape(self.extents(x))), s)

    def move_signals(self, xs: Sequence[Signal], v: View) -> Signal:
        if isinstance(v, Pad) and not v.value < inf:
            raise UnsupportedError("1368", f"it pads with {v.value}, which is no real number")
        shown = [replace(x, hidden=None) for x in xs]
        moved = self.append(Moved, shown, _known(v.shape(*map(self.extents, xs))), v, self.device)
        if all(x.hidden is None for x in xs):
            return moved
        view = replace(v, value=0.0) if isinstance(v, Pad) else v
        hidden = view(*map(self._hides, xs)) != 0
        return replace(moved, hidden=hidden) if bool(hidden.any()) else moved

    def _hides(self, x: Signal) -> Tensor:
        """1 where a value is hidden, 0 elsewhere."""
        hidden = torch.zeros((), device=self.device) if x.hidden is None else x.hidden.float()
        return hidden.expand(self.extents(x))

    def apply(self, f: Nonlinear, xs: Sequence[Any], types: Sequence[ValueType]) -> tuple[Any, ...]:
        if f.bilinear:
            return (self._product(f, *xs),)
        if f.program is None:
            return super().apply(f, xs, types)
        found = f.program(self, *xs)
        several = found if isinstance(found, tuple) else (found,)
        if len(several) == 1 and isinstance(several[0], Weight) and several[0].integer:
            return several  # a mask, which others read
        ys = [self.signal(y) for y in several][: len(types)]
        if len(ys) < len(types):
            raise UnsupportedError("0304", f"its output {len(ys)} is used")
        if f.within is not None:
            ys = [self.append(Within, (y,), self.extents(y), *f.within) for y in ys]
        return tuple(ys)

    def _product(self, f: Nonlinear, x: Weight | Signal, y: Weight | Signal) -> Weight | Signal:
        assert f.execute is not None
        assert f.shape is not None
        shape = _known(f.shape(self.extents(x), self.extents(y)))
        elementwise = f.shape is D.broadcast
        if elementwise and self.is_parameter(x):
            x, y = y, x
        if elementwise and self.is_parameter(y):
            return self.scale(x, y)
        x, y = self.signal(x), self.signal(y)
        # Each of the smaller operand's elements is in one product of an element of the result, at most.
        terms = 1 if elementwise else max(2, min(prod(self.extents(x)), prod(self.extents(y))))
        return self.append(Bilinear, (x, y), shape, f.execute, terms)

    def is_constant(self, x: Weight | Signal) -> bool:
        return self.is_parameter(x)

    def numbers(self, x: Weight | Signal) -> Array:
        parameter = self.parameter(x)
        if isinstance(parameter, Mask):
            parameter.checked()
        if parameter.error is not None or bool(parameter.values.isnan().any()):
            raise UnsupportedError("0304", "numbers that decide what this node computes are not known")
        values: Array = parameter.values.cpu().numpy()
        return values

    def is_defined(self, x: Weight | Signal) -> bool:
        return self.is_parameter(x) or self.defined[x.number]

    def shown(self, x: Weight | Signal) -> tuple[Weight | Signal, Array | None]:
        if isinstance(x, Mask):
            x = self.lift(x)
        if not isinstance(x, Signal) or x.hidden is None:
            return x, None
        seen: Array = (~x.hidden).cpu().numpy()
        return replace(x, hidden=None), seen

    def _whole(self, p: Param) -> Tensor:
        """What a parameter holds that is not of real numbers, where it may say something: axes, indices, a mask."""
        if p.dtype.kind in "iub" and p.size <= FEW:
            return torch.from_numpy(p.numpy().astype(np.int64)).to(self.device)
        return torch.full((), nan, dtype=torch.float64, device=self.device).expand(p.shape)

    def _expanded(self, x: Signal, shape: tuple[int, ...]) -> Signal:
        return x if self.extents(x) == shape else self.append(Moved, (x,), shape, Expand(shape), self.device)


def _known(dims: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(d, int) for d in dims):
        raise UnsupportedError("1367", f"the shape {list(dims)} of its result is not known")
    return tuple(dims)


def coefficients(w: Weight) -> Coefficients:
    """Return a parameter as numbers with their errors."""
    values = w.wide()
    error = None
    if w.roundings:  # which may be so small that it underflows
        error = values.abs() * (1.01 * U * w.roundings) + (values != 0).double() * 2.0**-1074
    if w.error is not None:
        error = w.error if error is None else (error + w.error) * (1 + 2 * U)
    return Coefficients(values, error)


def _aligned(c: Coefficients, axis: int | None, rank: int) -> Coefficients:
    error = None if c.error is None else along(c.error, axis, rank)
    return Coefficients(along(c.values, axis, rank), error)


def input_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a graph's inputs; a free batch is 1.

    Raises
    ------
    UnsupportedError
        If another extent is free.
    """
    shapes = {}
    for key in graph.inputs:
        type_ = graph[key].types[0]
        assert isinstance(type_, TensorType)
        name = graph[key].names[0]
        if type_.shape is None or not all(isinstance(d, int) for d in type_.shape[1:]):
            shape = "" if type_.shape is None else list(type_.shape)
            raise UnsupportedError("1367", f"the shape {shape} of input {name!r} is not known", hint="give its extents")
        shapes[name] = tuple(d if isinstance(d, int) else 1 for d in type_.shape)
    return shapes
