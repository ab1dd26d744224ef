"""The witness of generated kernels: nothing but metadata changed, and packed weights hold what the factors hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pathlift.codegen.module import load
from pathlift.codegen.render import render
from pathlift.codegen.select import Choice
from pathlift.ir.errors import WitnessError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.base import Witness


@dataclass(frozen=True)
class CodegenWitness(Witness):
    """Which kernels were assigned.

    Parameters
    ----------
    choices
        By key of the node whose result a step computes.
    told
        A sentence about each layer.
    """

    choices: Mapping[str, Choice]
    told: tuple[str, ...]

    def check(self, before: Graph, after: Graph) -> None:
        for key in before.order:
            same = key in after.nx and replace(after[key], origin=before[key].origin) == before[key]
            if not same or before.inputs_of(key) != after.inputs_of(key):
                raise WitnessError("0815", f"node {before[key].label!r} is another one than before")
        if len(before.order) != len(after.order) or before.outputs != after.outputs:
            raise WitnessError("0815", "the graph has other nodes or outputs than before")
        for key, choice in self.choices.items():
            if choice.schedule is not None and not _is_packed(choice, _factors(after, key, len(choice.patterns))):
                raise WitnessError("0816", f"node {after[key].label!r}: its packed weights are not its factors")

    def describe(self) -> str:
        kernels = sum(choice.schedule is not None for choice in self.choices.values())
        made, of = f"{kernels} kernel{'s' * (kernels != 1)}", f"{len(self.told)} factor{'s' * (len(self.told) != 1)}"
        return "; ".join((f"{made} for {of}", *self.told)) if self.told else ""


def _factors(graph: Graph, key: str, count: int) -> list[Array]:
    """The factors of a step, the outermost first."""
    found: list[Array] = []
    while len(found) < count:
        x, w = graph.inputs_of(key)[:2]
        assert x is not None
        assert w is not None
        param = graph[w.node].value
        if param is None:
            return []
        found.append(param.numpy())
        key = x.node
    return found


def _is_packed(choice: Choice, factors: list[Array]) -> bool:
    """Whether each non-zero is where its number goes, once, and zeros are all else.

    Numbers 1, 2, … are packed to see where a template puts the elements of a factor; then the factors themselves. That
    a kernel reads them where they are is what its tests show.
    """
    import torch

    assert choice.schedule is not None
    if not factors:  # computed while the model runs
        return True
    module = load(render(choice.patterns, choice.schedule))
    starts = np.cumsum([1, *(k.size for k in factors)])
    numbers = [torch.arange(n, n + k.size).reshape(k.shape) for n, k in zip(starts, factors, strict=False)]
    places: list[Any] = [w.numpy() for w in module.pack(*numbers)]
    flat = np.concatenate([p.reshape(-1) for p in places])
    if not np.array_equal(np.sort(flat[flat != 0]), np.arange(1, starts[-1])):
        return False
    values = np.concatenate([np.zeros(1), *(k.astype(np.float64).reshape(-1) for k in factors)])
    packed = module.pack(*(torch.from_numpy(k.astype(np.float64)) for k in factors))
    return all(np.array_equal(w.numpy(), values[p], equal_nan=True) for w, p in zip(packed, places, strict=True))
