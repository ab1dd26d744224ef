"""The linear equations that rescalings satisfy, read off scalar neurons: what symmetries are checked against.

A rescaling multiplies every neuron v by exp(n_v) and every element i of a parameter by exp(p_i). It keeps the function
if inputs and outputs have n = 0, every edge of weight w from u to v has log-scale(w) = n_v − n_u, and what the network
adds up has one scale. These are linear equations in n and p. Nothing here is shared with the analysis: the network is
unrolled by `pathlift.testing.oracle`'s rules, on numbers that know which elements they are products of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any

import networkx as nx
import numpy as np

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph, Node, Value
from pathlift.ir.types import Array, Param, TensorType, is_float
from pathlift.testing.unroll import RULES, Net, Signal

Form = Mapping[int, float]
"""A linear form in log-scales of elements: the number of the element to its coefficient."""


@dataclass(frozen=True, eq=False)
class RescalingEquations:
    """The solutions are all the rescalings of the parameters that keep the function, whatever their values.

    Parameters
    ----------
    neurons
        Coefficients of the neurons' log-scales, ``(equations, neurons)``; neurons known to be alike are one column.
    elements
        Coefficients of the parameter elements' log-scales, ``(equations, elements)``. Only elements that some neuron
        uses have a column that is not 0.
    numbers
        The elements of each parameter, by the parameter's id, in its shape.
    """

    neurons: Array
    elements: Array
    numbers: Mapping[int, Array]

    @property
    def used(self) -> Array:
        """Which elements some neuron uses; a tap that only ever meets padding is not."""
        return np.asarray(self.elements.any(0))

    def dimension(self) -> int:
        """How many rescalings of the used elements there are: the dimension of the space of solutions."""
        columns = np.concatenate([self.neurons, self.elements[:, self.used]], 1)
        hidden = self.neurons.shape[1] - _rank(self.neurons)  # rescalings of neurons that no element notices
        return len(columns.T) - _rank(columns) - int(hidden)

    def hold_for(self, logs: Array) -> bool:
        """Whether log-scales of the elements, ``(elements, k)``, are solutions for some log-scales of the neurons."""
        columns = np.concatenate([self.neurons, self.elements @ logs], 1)
        return _rank(columns) == _rank(self.neurons)


def rescaling_equations(graph: Graph) -> RescalingEquations:
    """Unroll a network and write down the equations of its rescalings; symbolic and unknown extents are 1.

    Parameters
    ----------
    graph
        A small network. An op without neurons, one that is not positively homogeneous for instance, fixes the scale
        of what it reads and returns.
    """
    unrolled = _Unrolled(graph)
    return unrolled.equations()


class _Number:
    """A product of powers of elements, or a sum of such products; remembers what adding requires."""

    def __init__(self, form: Form, required: list[Form], *, any_scale: bool = False) -> None:
        self.form, self.required, self.any_scale = form, required, any_scale

    def __mul__(self, other: Any) -> _Number:
        return self._times(self._number(other), 1.0)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> _Number:
        return self._times(self._number(other), -1.0)

    def __rtruediv__(self, other: Any) -> _Number:
        return self._number(other)._times(self, -1.0)

    def __pow__(self, exponent: float) -> _Number:
        return _Number({i: exponent * c for i, c in self.form.items()}, self.required, any_scale=self.any_scale)

    def __add__(self, other: Any) -> _Number:
        other = self._number(other)
        if self.any_scale or other.any_scale:
            return other if self.any_scale else self
        self.required.append(_combined(self.form, other.form, -1.0))
        return self

    __radd__ = __sub__ = __rsub__ = __add__

    def _times(self, other: _Number, sign: float) -> _Number:
        any_scale = self.any_scale or other.any_scale
        return _Number(_combined(self.form, other.form, sign), self.required, any_scale=any_scale)

    def _number(self, x: Any) -> _Number:
        return x if isinstance(x, _Number) else _Number({}, self.required, any_scale=_any_scale(x))


def _any_scale(x: float) -> bool:
    """Zero and infinity are what they are, whatever they are multiplied by."""
    return x == 0 or isinf(x)


def _combined(a: Form, b: Form, sign: float) -> Form:
    total = defaultdict(float, a)
    for i, c in b.items():
        total[i] += sign * c
    return {i: c for i, c in total.items() if c}


class _Unrolled:
    """A network in scalar neurons, on numbers of log-linear scale."""

    def __init__(self, graph: Graph) -> None:
        self.required: list[Form] = []
        self.net = Net(lambda x: x if isinstance(x, _Number) else self._plain(x))
        self.numbers: dict[int, Array] = {}
        self.count = 0
        self.values: dict[Value, Signal | None] = {}  # None: not a tensor of real numbers
        for key in graph.order:
            if key in graph.live:
                outputs = self._outputs(graph, key)
                self.values.update({Value(key, i): y for i, y in enumerate(outputs)})
        for value in graph.outputs:
            self._fix(self.values[value])

    def _plain(self, x: float) -> _Number:
        return _Number({}, self.required, any_scale=_any_scale(x))

    def _outputs(self, graph: Graph, key: str) -> Iterable[Signal | None]:
        node = graph[key]
        if node.value is not None:
            return [self._elements(node.value)]
        operands = [None if v is None else self.values[v] for v in graph.inputs_of(key)]
        try:
            if node.op not in RULES:
                raise UnsupportedError("0302", "no neurons")
            result = RULES[node.op](self.net, *operands, **node.attrs)
        except (UnsupportedError, AssertionError):  # the rules assert that only constants scale
            for operand in operands:
                self._fix(operand)
            return self._inputs(node)
        return result if isinstance(result, list) else [result]

    def _inputs(self, node: Node) -> list[Signal | None]:
        shapes = [t.shape if isinstance(t, TensorType) else None for t in node.types]
        return [
            None if dims is None else self.net.create(tuple(d if isinstance(d, int) else 1 for d in dims), "input")
            for dims in shapes
        ]

    def _elements(self, param: Param) -> Signal | None:
        """Number the elements of a parameter; tied parameters are one."""
        if not is_float(param.dtype):
            return self.net.constant(np.ones(param.shape))
        if id(param) not in self.numbers:
            self.numbers[id(param)] = np.arange(self.count, self.count + param.size).reshape(param.shape)
            self.count += param.size
        scalar = np.frompyfunc(lambda i: _Number({int(i): 1.0}, self.required), 1, 1)
        return self.net.constant(np.asarray(scalar(self.numbers[id(param)]), dtype=object))

    def _fix(self, signal: Signal | None) -> None:
        """Require that values keep their scale."""
        if signal is not None and signal.ids.size:
            total = self.net.total(signal)
            for v in map(int, total.ids.flat):
                self.net.graph.nodes[v]["kind"] = "input"

    def equations(self) -> RescalingEquations:
        """Merge neurons that plain edges make alike, and write each distinct equation once."""
        alike = nx.utils.UnionFind([Net.ONE])
        for v, data in self.net.graph.nodes(data=True):
            if data["kind"] == "input":
                alike.union(Net.ONE, v)
            self.required += [s.form for s in data.get("slopes", ()) if isinstance(s, _Number) and not s.any_scale]
        edges = [(u, v, w) for u, v, w in self.net.graph.edges(data="weight")]
        scaled = [(u, v, n.form) for u, v, w in edges if not (n := self.net.number(w)).any_scale]
        for u, v, form in scaled:
            if not form:
                alike.union(u, v)
        columns = {Net.ONE: -1, alike[Net.ONE]: -1}
        rows: set[tuple[int, int, frozenset[tuple[int, float]]]] = set()
        for u, v, form in scaled:
            if form:
                i, j = (columns.setdefault(alike[w], len(columns)) for w in (u, v))
                rows.add((i, j, frozenset(form.items())))
        rows |= {(-1, -1, frozenset(form.items())) for form in self.required if form}
        return self._matrices(rows, len(columns))

    def _matrices(
        self, rows: Iterable[tuple[int, int, frozenset[tuple[int, float]]]], width: int
    ) -> RescalingEquations:
        listed = list(rows)
        neurons, elements = np.zeros((len(listed), width)), np.zeros((len(listed), self.count))
        for row, (u, v, form) in enumerate(listed):
            for column, sign in ((u, 1.0), (v, -1.0)):
                if column >= 0:
                    neurons[row, column] += sign
            for i, c in form:
                elements[row, i] = c
        return RescalingEquations(neurons[:, neurons.any(0)], elements, self.numbers)


def _rank(matrix: Array) -> int:
    return int(np.linalg.matrix_rank(matrix)) if matrix.size else 0
