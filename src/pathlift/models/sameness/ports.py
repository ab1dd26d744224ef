"""Inputs and outputs of two models, matched; and inputs that both take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathlift.ir.extents import address
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import TensorType, is_float
from pathlift.models.probes import Feeds, Signature, signature
from pathlift.passes.equivalence.matching import unified

Pairs = tuple[tuple[Value, Value], ...]


@dataclass(frozen=True)
class Ports:
    """Which input of one model is which of the other, and which output.

    Parameters
    ----------
    first, second
        The models' graphs.
    inputs, outputs
        By name if names are the same, else in order.
    """

    first: Graph
    second: Graph
    inputs: Pairs
    outputs: Pairs

    @property
    def output_names(self) -> tuple[tuple[str, str], ...]:
        """What either file calls each output."""
        return tuple((self.first.name_of(x), self.second.name_of(y)) for x, y in self.outputs)

    def signature(self, sizes: Mapping[str, int], memory_limit: int) -> Signature:
        """Choose inputs that both models take, in the coarser of two formats of real numbers.

        Raises
        ------
        UnsupportedError, UsageError, UnsafeModelError
            As `pathlift.models.probes.signature`.
        """
        fixed, coarse = dict[str, int](), dict[str, np.dtype[Any]]()
        for x, y in self.inputs:
            name, ours, theirs = self.first.name_of(x), self.first.type_of(x), self.second.type_of(y)
            if not isinstance(ours, TensorType) or not isinstance(theirs, TensorType):
                continue
            for axis, (dim, other) in enumerate(zip(ours.shape or (), theirs.shape or (), strict=False)):
                if not isinstance(dim, int) and isinstance(other, int):
                    fixed[address(name, axis, dim)] = other
            if theirs.dtype is not None and is_float(theirs.dtype):
                coarse[name] = theirs.dtype
        found = signature(self.first, {**fixed, **sizes}, memory_limit)
        return {name: (_coarser(dtype, coarse.get(name)), shape) for name, (dtype, shape) in found.items()}

    def for_first(self, feeds: Feeds) -> Feeds:
        """Return inputs, which go by the first model's names, as that one takes them."""
        return {self.first.name_of(x): _cast(feeds[self.first.name_of(x)], self.first, x) for x, _ in self.inputs}

    def for_second(self, feeds: Feeds) -> Feeds:
        """Return the same inputs as the second model takes them."""
        return {self.second.name_of(y): _cast(feeds[self.first.name_of(x)], self.second, y) for x, y in self.inputs}


def _coarser(dtype: np.dtype[Any], other: np.dtype[Any] | None) -> np.dtype[Any]:
    return other if other is not None and other.itemsize < dtype.itemsize else dtype


def _cast(array: Any, graph: Graph, value: Value) -> Any:
    type_ = graph.type_of(value)
    real = isinstance(type_, TensorType) and type_.dtype is not None and is_float(type_.dtype)
    return array.astype(type_.dtype, copy=False) if real else array  # type: ignore[union-attr]  # a tensor's type


def ports(a: Graph, b: Graph) -> Ports | str:
    """Match inputs and outputs of two graphs; a text is why that is impossible."""
    found = []
    for what, ours, theirs in (
        ("input", [Value(k) for k in a.inputs], [Value(k) for k in b.inputs]),
        ("output", a.outputs, b.outputs),
    ):
        if len(ours) != len(theirs):
            return f"the first has {_count(ours, what)}, the second {len(theirs)}"
        names = {b.name_of(y): y for y in theirs}
        by_name = [(x, names[a.name_of(x)]) for x in ours if a.name_of(x) in names]
        pairs = by_name if len(by_name) == len(theirs) else list(zip(ours, theirs, strict=True))
        for x, y in pairs:
            s, t = a.type_of(x), b.type_of(y)
            if unified(s, t) is None:
                return f"{what} {a.name_of(x)!r} of the first is {s}, {b.name_of(y)!r} of the second {t}"
        found.append(tuple(pairs))
    return Ports(a, b, *found)


def _count(values: Sequence[Value], what: str) -> str:
    return f"{len(values)} {what}{'s' * (len(values) != 1)}"
