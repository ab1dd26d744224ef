"""Multiples: what shows that two graphs compute the same although each value of one is a multiple of the other's.

Every element of every value has a factor: whatever the inputs of the network are, the element after is the element
before, times its factor. That is shown by induction, node by node. Random values stand for what a node reads from the
network's input, the factors found so far between them; the parameters are those of either graph. Both computations are
evaluated, in float64: the outputs' factors are the ratios of what comes out if nothing cancels, and the outputs must be
multiples by these, in every trial. At the network's outputs all factors must be 1.

Nothing is asked about why: not which channels an op joins, nor what made the factors. What is random is small, whatever
extents the network has. Not seen are weights that no trial meets, as the outer taps of a kernel that reaches beyond a
small map, and numbers of less than full precision, which are left out on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from zlib import crc32

import numpy as np
import torch

from pathlift.ir.algebras.interpret import evaluate, walk
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param, TensorType, ValueType, float_limits, is_float
from pathlift.passes.witness.correspondence import overridable
from pathlift.passes.witness.draws import Trial, drawn
from pathlift.passes.witness.magnitudes import Magnitudes
from pathlift.passes.witness.trial import Formula, evaluate_formula

Tensor = torch.Tensor
REACH = 900
"""Factors are within 2^±this: what is beyond, and what is computed from it, is not evaluated."""
ROUNDINGS = 8
"""By how many roundings of the parameters' format multiples may be off, relative to the result if nothing cancels."""


_OCTAVES = 1 / np.log(2)


class Kind(Enum):
    """What values have no factors."""

    CONSTANT = auto()
    """Those that do not depend on the network's input."""
    UNKNOWN = auto()
    """Those that are not evaluated."""


Multiple = Array | Kind
"""Binary logarithms of factors, which broadcast to a value: -inf if only the value after is zero, NaN if both are."""
Find = Callable[..., list[Multiple]]


def check_multiples(what: str, before: Graph, after: Graph, expected: Array) -> None:
    """Check that two graphs with the same nodes compute the same.

    Parameters
    ----------
    what
        What was changed, for messages.
    before, after
        The graphs, which differ in the values of parameters.
    expected
        Binary logarithms of factors. One that is found is taken for the nearest of these, or 0, if rounding explains
        the difference: so that roundings do not add up along the way.

    Raises
    ------
    WitnessError
        If they do not, or a node cannot be evaluated; names the node.
    """
    _Walk(what, before, after, expected).run()


class _Walk:
    """From the inputs on, through both graphs at once."""

    def __init__(self, what: str, before: Graph, after: Graph, expected: Array) -> None:
        self.what, self.problem = what, ""
        self.changed = {key for key in before.params if before[key].value is not after[key].value}
        eps = [float(float_limits(p.dtype).eps) for key in self.changed if (p := before[key].value) is not None]
        self.noise = min(0.5, max(1e-12, ROUNDINGS * max(eps, default=0.0)))
        self.expected = np.unique(np.append(expected, [0.0, np.inf]))
        self.before, self.after = (_evaluable(a, b, self.changed) for a, b in ((before, after), (after, before)))

    def run(self) -> None:
        replaceable = overridable(self.before)
        if any(self.before[key].names[0] in replaceable for key in self.changed):
            raise WitnessError("0813", f"{self.what} changed a parameter that a caller may replace")
        for name, found in walk(self.before, self.visit).items():
            if found is Kind.CONSTANT:
                value = next(v for v in self.before.outputs if self.before.name_of(v) == name)
                wrong = value.node in self.changed
            else:
                wrong = isinstance(found, np.ndarray) and not _settled(found)
            if wrong:
                raise WitnessError("0813", f"{self.what}: the output {name!r} is not what it was")

    def visit(self, key: str, inputs: tuple[Multiple | None, ...]) -> Sequence[Multiple]:
        """Find the factors of a node's outputs."""
        node, given = self.before[key], [x for x in inputs if x is not None]
        signals = [x for x in given if isinstance(x, np.ndarray)]
        sources = zip(self.before.inputs_of(key), inputs, strict=True)
        changed = any(v is not None and v.node in self.changed for v, x in sources if x is Kind.CONSTANT)
        if any(x is Kind.UNKNOWN for x in given):
            return [Kind.UNKNOWN] * len(node.types)
        if node.op == "Param" or (given and not signals and node.op != "Opaque"):
            self.changed |= {key} if changed else set()
            return [Kind.CONSTANT] * len(node.types)
        same = [np.zeros((1,) * _rank(t)) for t in node.types]
        types = [*node.types, *(self.before.type_of(v) for v in self.before.inputs_of(key) if v is not None)]
        ruled = node.op not in ("Input", "Opaque")
        ruled = ruled and all(isinstance(t, TensorType) and t.shape is not None for t in types)
        if not changed and all(map(_settled, signals)):
            return (self._first(key, inputs, self._zeros) or same) if ruled else same
        if not ruled:
            what = f"node {node.label!r} ({node.op}) has no rule, and what it reads is not what it was"
            raise WitnessError("0813", f"{self.what}: {what}")
        if any(map(_is_out_of_reach, signals)):
            return [Kind.UNKNOWN] * len(node.types)
        found = self._first(key, inputs, self._measured)
        if found is None:
            raise WitnessError("0813", f"{self.what}: node {node.label!r} ({node.op}): {self.problem}")
        return found

    def _first(self, key: str, inputs: tuple[Multiple | None, ...], find: Find) -> list[Multiple] | None:
        """Try small extents, where the node permits them, then the true ones; ``None`` if neither does."""
        # A Reshape's attributes speak of the true ones.
        for cut in (True, False) if self.before[key].op != "Reshape" else (False,):
            try:
                return find(key, inputs, cut=cut)
            except (PathliftError, RuntimeError, IndexError, ValueError) as error:
                self.problem = error.message if isinstance(error, PathliftError) else " ".join(str(error).split())[:200]
        return None

    def _zeros(self, key: str, inputs: tuple[Multiple | None, ...], *, cut: bool) -> list[Multiple]:
        """The factors of what is computed as it was, from what was there: 1, where it is not zero."""
        _, sizes = _computed(self.before, key, [before for before, _ in self._trials(key, inputs, cut=cut)])
        return [
            self._compact(np.where((size == 0).all(0), np.nan, 0.0), type_)
            for type_, size in zip(self.before[key].types, sizes, strict=True)
        ]

    def _measured(self, key: str, inputs: tuple[Multiple | None, ...], *, cut: bool) -> list[Multiple]:
        """The factors of a node's outputs."""
        trials = self._trials(key, inputs, cut=cut)
        (y, size), (y2, size2) = (
            _computed(graph, key, [pair[side] for pair in trials])
            for side, graph in enumerate((self.before, self.after))
        )
        types = self.before[key].types
        return [self._multiple(*arrays) for arrays in zip(types, y, y2, size, size2, strict=True)]

    def _trials(self, key: str, inputs: Sequence[Multiple | None], *, cut: bool) -> list[tuple[Trial, Trial]]:
        types = [None if v is None else self.before.type_of(v) for v in self.before.inputs_of(key)]
        logs = [x if isinstance(x, np.ndarray) else None for x in inputs]
        return list(drawn(crc32(key.encode()), types, logs, cut=cut))

    def _multiple(self, type_: ValueType, y: Array, y2: Array, size: Array, size2: Array) -> Multiple:
        """The factors that turn an output before into that after, by trial; the sizes are those if nothing cancels."""
        if not np.issubdtype(y.dtype, np.floating):
            if (y != y2).any():
                raise WitnessError("0813", "what are no real numbers is not what it was")
            return np.zeros((1,) * (y.ndim - 1))
        with np.errstate(all="ignore"):
            logs = np.log2(size2[0]) - np.log2(size[0])
            nearest = self._nearest(logs)
            logs = np.where(np.abs(logs - nearest) <= _OCTAVES * self.noise, nearest, logs)
            strange = ~np.isfinite(size).all(0)
            multiple = self._compact(np.where(strange, 0.0, logs), type_)
            if (strange != ~np.isfinite(size2).all(0)).any() or _is_out_of_reach(multiple):
                return Kind.UNKNOWN
            factors = np.where(np.isnan(multiple), 1.0, np.exp2(multiple))
            bound = self.noise * np.maximum(size2, np.abs(y2))
            off = [~(np.abs(b - a * factors) <= bound) for a, b in ((y, y2), (size, size2))]
            wrong = np.where(strange, ~((y == y2) | (np.isnan(y) & np.isnan(y2))), off[0] | off[1])
        if wrong.any():
            where = np.unravel_index(int(np.argmax(wrong)), wrong.shape)[1:]
            raise WitnessError("0813", f"element {[int(i) for i in where]} is no multiple of what it was")
        return multiple

    def _nearest(self, logs: Array) -> Array:
        after = np.searchsorted(self.expected, logs).clip(1, len(self.expected) - 1)
        low, high = self.expected[after - 1], self.expected[after]
        nearest: Array = np.where(logs - low < high - logs, low, high)
        return nearest

    def _compact(self, logs: Array, type_: ValueType) -> Array:
        """Give extent 1 to axes along which all elements have one factor: those that were cut, and unknown ones."""
        assert isinstance(type_, TensorType)
        assert type_.shape is not None
        for axis, extent in enumerate(type_.shape):
            # Along an axis that is not known no one may say which elements are zero.
            first = logs.take([0], axis) if isinstance(extent, int) else np.fmax.reduce(logs, axis, keepdims=True)
            alike = (np.abs(logs - first) <= 2 * _OCTAVES * self.noise) | (logs == first)
            alike |= np.isnan(logs) & (np.isnan(first) | (not isinstance(extent, int)))
            if alike.all():
                logs = first
            elif logs.shape[axis] != extent:
                raise WitnessError("0813", f"factors differ along axis {axis}, whose extent is {extent}")
        return logs


def _computed(graph: Graph, key: str, trials: Sequence[Trial]) -> tuple[list[Array], list[Array]]:
    """A node's outputs, the trials along the first axis, and their sizes if nothing cancels."""
    held = {v for v, x in zip(graph.inputs_of(key), trials[0], strict=True) if v is not None and x is None}
    constants = {v: evaluate_formula(Formula(graph, v, ()), (), Numeric()) for v in held}
    values = _run(Numeric(), graph, key, trials, constants)
    for v in held:
        param = graph[v.node].value
        if param is None:
            constants[v] = evaluate_formula(Formula(graph, v, ()), (), Magnitudes())
        elif is_float(param.dtype):  # in place, if it is a copy: it may be large
            constants[v] = constants[v].abs() if param.dtype.itemsize == 8 else constants[v].abs_()
    return values, _run(
        Magnitudes(), graph, key, [[x if x is None else x.abs() for x in trial] for trial in trials], constants
    )


def _run(
    numeric: Numeric, graph: Graph, key: str, trials: Sequence[Trial], constants: Mapping[Value, Tensor]
) -> list[Array]:
    sources = graph.inputs_of(key)
    results = []
    for trial in trials:
        operands = (x if v is None or x is not None else constants[v] for v, x in zip(sources, trial, strict=True))
        results.append(evaluate(numeric, graph[key], tuple(operands)))
    return [np.stack([np.asarray(y) for y in outputs]) for outputs in zip(*results, strict=True)]


def _evaluable(graph: Graph, other: Graph, changed: Iterable[str]) -> Graph:
    """A graph of numbers that are held with all digits, and were; parameters that a caller may replace are any."""
    builder, free = graph.edit(), overridable(graph)
    for key in graph.params:
        value, theirs = graph[key].value, other[key].value
        assert value is not None
        assert theirs is not None
        if graph[key].names[0] in free and is_float(value.dtype):
            builder.replace_node(Value(key), value=_any_value(key, value))
        elif key in changed and is_float(value.dtype):
            builder.replace_node(Value(key), value=_precise(value, theirs))
    return builder.finish()


def _any_value(key: str, param: Param) -> Param:
    """Positive random numbers, since it may be a variance."""
    return Param(
        param.dtype,
        param.shape,
        lambda: (np.random.default_rng(crc32(key.encode())).random(param.shape) + 0.5).astype(param.dtype),
    )


def _precise(param: Param, other: Param) -> Param:
    least = float_limits(param.dtype).smallest_normal

    def part(rows: Rows) -> Array:
        values, theirs = param.rows(rows), other.rows(rows)
        size, size2 = np.abs(values), np.abs(theirs)
        if (np.isfinite(size) != np.isfinite(size2)).any():
            raise WitnessError("0813", "a parameter is not finite on one side only")
        if min(size.min(initial=least), size2.min(initial=least)) >= least:
            return values
        rough = ((size != 0) & (size < least)) | ((size2 != 0) & (size2 < least))
        return np.where(rough, values.dtype.type(0), values)

    return Param.by_rows(param.dtype, param.shape, part)


def _is_out_of_reach(multiple: Array) -> bool:
    return bool(np.abs(multiple[np.isfinite(multiple)]).max(initial=0.0) > REACH)


def _settled(multiple: Array) -> bool:
    """Whether values are what they were."""
    return bool(((multiple == 0) | np.isnan(multiple)).all())


def _rank(type_: ValueType) -> int:
    return len(type_.shape) if isinstance(type_, TensorType) and type_.shape is not None else 0
