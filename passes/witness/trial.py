"""A trial: two computations on the same random values, in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from pathlift.ir.algebras.interpret import evaluate
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import TensorType, ValueType, is_float
from pathlift.passes.witness.magnitudes import Magnitudes

Tensor = torch.Tensor

RTOL = {8: 1e-9, 4: 1e-5, 2: 3e-2, 1: 0.5}
"""Of the output's largest magnitude, by the bytes of its element type: new weights are rounded to it."""
NOISE = {8: 1e-12, 4: 1e-6, 2: 4e-3, 1: 0.1}
"""The same of its magnitude before anything cancels: where all of it does, nothing but rounding is left to compare."""
SMALL = 9
"""Spatial extents are cut to this, where the computations allow it."""


@dataclass(frozen=True)
class Formula:
    """How a value of a graph is computed from others.

    Parameters
    ----------
    graph
        The graph.
    value
        What is computed.
    given
        From what; parameters need not be among them.
    """

    graph: Graph
    value: Value
    given: tuple[Value, ...]


def compare_formulas(what: str, a: Formula, b: Formula) -> None:
    """Check that two formulas make the same of the same values.

    Parameters
    ----------
    what
        For the message.
    a, b
        The formulas, with as many given values of the same types.

    Raises
    ------
    WitnessError
        If they do not, or cannot be evaluated.
    """
    try:
        problem = _difference(a, b, SMALL)
    except (PathliftError, RuntimeError, IndexError, ValueError):  # a computation that needs the full extents
        problem = "they differ"
    if problem:
        try:
            problem = _difference(a, b, None)
        except (PathliftError, RuntimeError, IndexError, ValueError) as error:
            problem = " ".join(str(error).split())[:200]
    if problem:
        raise WitnessError("0803", f"{what}: {a.graph.name_of(a.value)!r}: {problem}")


def _difference(a: Formula, b: Formula, limit: int | None) -> str:
    type_ = a.graph.type_of(a.value)
    values = random_values((a.graph.type_of(v) for v in a.given), limit)
    x, y = (evaluate_formula(f, values).double() for f in (a, b))
    if x.shape != y.shape:
        return f"the shape was {list(x.shape)} and is {list(y.shape)}"
    if not x.numel():
        return ""
    dtype = type_.dtype if isinstance(type_, TensorType) else None
    width = dtype.itemsize if dtype is not None and is_float(dtype) else 8
    difference, size = float((x - y).abs().max()), float(x.abs().max())
    if difference <= RTOL[width] * size or difference <= NOISE[width] * _magnitude(a, values):
        return ""
    return f"differs by {difference:.2g} of {size:.2g}"


def _magnitude(formula: Formula, values: Iterable[Tensor | None]) -> float:
    """The largest result if nothing cancelled."""
    return float(evaluate_formula(formula, [v if v is None else v.abs() for v in values], Magnitudes()).max())


def random_values(types: Iterable[ValueType], limit: int | None) -> list[Tensor | None]:
    """Return normal values of these types, in float64, and zeros where they are no real numbers.

    Parameters
    ----------
    types
        What is no tensor of known rank has no values.
    limit
        To what known extents behind batch and channel are cut; ``None`` for not at all. Of unknown ones, a batch
        gets 2, and the others `SMALL`; a symbol is the same extent everywhere.
    """
    symbols: dict[str, int] = {}
    return [_random(t, seed, limit, symbols) for seed, t in enumerate(types)]


def _random(type_: ValueType, seed: int, limit: int | None, symbols: dict[str, int]) -> Tensor | None:
    if not isinstance(type_, TensorType) or type_.shape is None:
        return None
    shape = []
    for i, d in enumerate(type_.shape):
        unknown = 2 if i == 0 else SMALL
        extent = d if isinstance(d, int) else unknown if d is None else symbols.setdefault(d, unknown)
        shape.append(min(extent, limit) if limit and i >= 2 else extent)
    if type_.dtype is not None and not is_float(type_.dtype):
        return torch.zeros(shape, dtype=torch.int64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evaluate_formula(formula: Formula, values: Iterable[Any], numeric: Numeric | None = None) -> Tensor:
    """Compute a value from others, in float64, under an algebra of tensors.

    Raises
    ------
    WitnessError
        If it depends on an input of the graph that is not given.
    """
    graph, numeric = formula.graph, numeric or Numeric()
    known: dict[Value, Any] = {v: x for v, x in zip(formula.given, values, strict=True) if x is not None}
    for key in _cone(graph, formula.value, set(known)):
        if graph[key].op == "Input":
            raise WitnessError("0803", f"it depends on the input {key!r}")
        outputs = evaluate(numeric, graph[key], tuple(None if v is None else known[v] for v in graph.inputs_of(key)))
        known |= {Value(key, i): y for i, y in enumerate(outputs) if Value(key, i) not in known}
    result: Tensor = known[formula.value]
    return result


def _cone(graph: Graph, target: Value, known: set[Value]) -> list[str]:
    """The nodes to evaluate for `target`, in order."""
    needed: set[str] = set()
    frontier = [target]
    while frontier:
        value = frontier.pop()
        if value not in known and value.node not in needed:
            needed.add(value.node)
            frontier.extend(v for v in graph.inputs_of(value.node) if v is not None)
    return [key for key in graph.order if key in needed]
