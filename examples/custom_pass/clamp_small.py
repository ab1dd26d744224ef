"""Clamp small weights: those of linear layers whose magnitude is below a threshold become zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Param, is_float
from pathlift.passes.base import Effect, Rewritten, Transform, Witness

LINEAR = ("Conv", "ConvTranspose", "Einsum", "Gemm")


@dataclass(frozen=True)
class Clamped(Witness):
    """By name of the parameter: how many of its weights became zero, and the largest magnitude among them."""

    clamped: dict[str, tuple[int, float]]

    def check(self, before: Graph, after: Graph) -> None:
        """Compare all parameters, from nothing but the two graphs."""
        if list(before) != list(after):
            raise WitnessError("0899", "there is more that changed than weights")
        for key in before.params:
            if parameter(before, key) is parameter(after, key):
                continue
            old, new = parameter(before, key).numpy(), parameter(after, key).numpy()
            count, largest = self.clamped.get(key, (0, 0.0))
            zeroed = (old != 0) & (new == 0)
            same = np.array_equal(old[~zeroed], new[~zeroed], equal_nan=True)
            if not same or zeroed.sum() != count or np.abs(old[zeroed]).max(initial=0) > largest:
                raise WitnessError("0899", f"{key!r} changed in another way than {count} weights up to {largest:.2g}")

    def describe(self) -> str:
        """One line for the user."""
        count = sum(count for count, _ in self.clamped.values())
        largest = max((largest for _, largest in self.clamped.values()), default=0.0)
        return f"{count} weights set to zero, the largest {largest:.2g}" if count else ""


@dataclass(frozen=True)
class ClampSmall(Transform):
    """Set the weights of linear layers below a threshold to zero."""

    name: ClassVar[str] = "clamp-small"
    effect: ClassVar[Effect] = Effect.LOWERS  # paths are lost, and none gets heavier

    threshold: float = field(metadata={"help": "Magnitudes below it become zero."})

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError(f"threshold {self.threshold:g} is not positive")

    def run(self, graph: Graph) -> Rewritten:
        builder = graph.edit()
        clamped: dict[str, tuple[int, float]] = {}
        new: dict[Param, Param] = {}  # what was one tensor under two names stays one
        for key in filter(lambda key: is_weight(graph, key), graph.params):
            old = parameter(graph, key)
            weights = old.numpy()
            small = (np.abs(weights) < self.threshold) & (weights != 0)
            if small.any():
                new.setdefault(old, Param.of(np.where(small, weights.dtype.type(0), weights)))
                builder.replace_node(Value(key), value=new[old])
                clamped[key] = int(small.sum()), float(np.abs(weights[small]).max())
        # Unchanged means the same graph.
        return Rewritten(builder.finish() if clamped else graph, Clamped(clamped))


def is_weight(graph: Graph, key: str) -> bool:
    """Whether a parameter of floats is the weight of linear layers and nothing else, and callers cannot replace it."""
    users = graph.users(key)
    weight = bool(users) and all(graph[user].op in LINEAR and slot == 1 for user, slot, _ in users)
    return weight and is_float(parameter(graph, key).dtype) and graph[key].names[0] not in graph.info.overridable


def parameter(graph: Graph, key: str) -> Param:
    """The tensor of a parameter node."""
    value = graph[key].value
    assert value is not None
    return value
