"""Masks: which elements of parameters stay; put onto a graph, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pathlift.ir.errors import UsageError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.rows import Rows
from pathlift.ir.types import Array, Param
from pathlift.passes.base import Witness
from pathlift.passes.pruning.prunable import Prunable

Masks = Mapping[str, Array]
"""By a parameter's name: bool, in its shape, true for what stays."""


@dataclass(frozen=True)
class LayerSparsity:
    """One parameter: how many elements it has, and how many of them are zero.

    Parameters
    ----------
    node
        The label of its first reader.
    parameter
        Its name.
    """

    node: str
    parameter: str
    total: int
    zeroed: int

    @property
    def empty(self) -> bool:
        """Whether nothing is left of it."""
        return self.zeroed == self.total > 0


@dataclass(frozen=True, eq=False)
class Pruned(Witness):
    """What was set to zero: parameters are masks times what they were, and nothing else is new.

    Parameters
    ----------
    masks
        Of every parameter that could be pruned, by its name: bool, true for what stays.
    holders
        The names of these parameters, by the keys of all nodes that hold them.
    layers
        In topological order.
    kept
        Why other layers of that name stay as they are, by label.
    remarks
        On what the scores rest, one sentence each.
    """

    masks: Masks
    holders: Mapping[str, str]
    layers: tuple[LayerSparsity, ...]
    kept: Mapping[str, str]
    remarks: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many weights could have gone."""
        return sum(layer.total for layer in self.layers)

    @property
    def zeroed(self) -> int:
        """How many of them are zero."""
        return sum(layer.zeroed for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return self.zeroed / max(1, self.total)

    def check(self, before: Graph, after: Graph) -> None:
        if before.order != after.order or before.outputs != after.outputs:
            raise WitnessError("0817", "pruning changed nodes of the graph")
        for key in before.order:
            a, b = before[key], after[key]
            if (a.op, a.attrs, a.types) != (b.op, b.attrs, b.types) or before.inputs_of(key) != after.inputs_of(key):
                raise WitnessError("0817", f"pruning changed node {a.label!r} ({a.op})")
            if a.value is None or b.value is None or a.value is b.value:
                continue
            mask = self.masks.get(self.holders.get(key, ""))
            if mask is None or not np.array_equal(b.value.numpy(), np.where(mask, a.value.numpy(), 0)):
                raise WitnessError("0817", f"parameter {a.label!r} is not its mask times what it was")

    def describe(self) -> str:
        kept = f"; {len(self.kept)} layers stay as they are" if self.kept else ""
        return f"{self.zeroed:,} of {self.total:,} weights are zero ({100 * self.sparsity:.4g} %){kept}"


def put_on(graph: Graph, found: Sequence[Prunable], masks: Masks) -> Graph:
    """Return the graph with zeros where masks say so: the same one if they are there already."""
    builder, changed = graph.edit(), False
    for p in found:
        if bool((masks[p.name] | (p.param.numpy() == 0)).all()):
            continue
        param, changed = _masked(p.param, masks[p.name]), True
        for key in p.keys:
            builder.replace_node(Value(key), value=param)
    return builder.finish() if changed else graph


def _masked(param: Param, mask: Array) -> Param:
    """A parameter times a mask, computed whenever it is asked for."""

    def part(rows: Rows) -> Array:
        values = param.rows(rows)
        return np.where(mask[rows], values, np.zeros((), values.dtype))

    return Param.by_rows(param.dtype, param.shape, part)


def layers_of(found: Sequence[Prunable], masks: Masks) -> tuple[LayerSparsity, ...]:
    """Count zeros, those that were there among them."""
    return tuple(
        LayerSparsity(p.node, p.name, p.param.size, int(((p.param.numpy() == 0) | ~masks[p.name]).sum())) for p in found
    )


def check_masks(found: Sequence[Prunable], masks: Mapping[str, Array]) -> None:
    """Check masks that somebody gives.

    Raises
    ------
    UsageError
        If one belongs to no prunable parameter, or has another shape or type.
    """
    known = {p.name: p for p in found}
    if not masks:
        raise UsageError("1406", "there is no mask")
    for name, mask in masks.items():
        if name not in known:
            raise UsageError("1406", f"{name!r} is no parameter that can be pruned", hint=", ".join(list(known)[:5]))
        if mask.dtype != np.bool_ or mask.shape != known[name].param.shape:
            is_, should = f"{mask.dtype}{list(mask.shape)}", f"bool{list(known[name].param.shape)}"
            raise UsageError("1406", f"the mask of {name!r} is {is_}, not {should}")
