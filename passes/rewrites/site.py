"""The witness that all local rewrites share: values that both graphs have, computed from others that both have.

A rewrite changes how some values are computed. Each of them is a `Site`: its output, and the values its computation
starts from. The check evaluates both computations on random values, so that it knows nothing of the rewrite's algebra.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pathlift.ir.errors import PathliftError, WitnessError
from pathlift.ir.graph import Graph, Value
from pathlift.ir.types import Dims, TensorType, is_float
from pathlift.passes.base import Witness

if TYPE_CHECKING:
    from torch import Tensor

RTOL = {8: 1e-9, 4: 1e-5, 2: 3e-2}
"""Of the output's largest magnitude, by the bytes of its element type: new weights are rounded to it."""
_SMALL = 9
"""Spatial extents are cut to this, where the computation allows it."""


@dataclass(frozen=True)
class Site:
    """One place that was rewritten.

    Parameters
    ----------
    output
        Name of a value that both graphs have.
    inputs
        Names of the values, in both graphs, that it is computed from; parameters need not be named.
    what
        What a reader is told: ``"conv1 + bn1"``.
    """

    output: str
    inputs: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Rewritings(Witness):
    """Where a rewrite took place.

    Parameters
    ----------
    kind
        What was done, in the plural: ``"batch norms folded"``.
    sites
        The places.
    skipped
        Why places that looked alike were left: one sentence each, naming the node.
    """

    kind: str
    sites: tuple[Site, ...]
    skipped: tuple[str, ...] = field(default=())

    def check(self, before: Graph, after: Graph) -> None:
        for what, a, b in (
            ("inputs", _interface(before, map(Value, before.inputs)), _interface(after, map(Value, after.inputs))),
            ("outputs", _interface(before, before.outputs), _interface(after, after.outputs)),
        ):
            if a != b:
                raise WitnessError("0803", f"{self.kind}: the {what} were {a} and are {b}")
        values = [{name: Value(key, i) for key in g for i, name in enumerate(g[key].names)} for g in (before, after)]
        for site in self.sites:
            _check_site(self.kind, site, (before, after), values)

    def describe(self) -> str:
        done = f"{len(self.sites)} {self.kind}" if self.sites else ""
        return "; ".join(filter(None, (done, *self.skipped)))


def _interface(graph: Graph, values: Iterator[Value] | tuple[Value, ...]) -> list[str]:
    return [f"{graph.name_of(v)}: {graph.type_of(v)}" for v in values]


def _check_site(kind: str, site: Site, graphs: tuple[Graph, Graph], values: list[dict[str, Value]]) -> None:
    missing = [n for n in (site.output, *site.inputs) if any(n not in v for v in values)]
    if missing:
        raise WitnessError("0803", f"{kind}: {site.what}: only one graph has the value {missing[0]!r}")
    types = {name: graphs[0].type_of(values[0][name]) for name in site.inputs}
    small = {n: _random(t, i, _SMALL) for i, (n, t) in enumerate(types.items()) if isinstance(t, TensorType)}
    try:
        a, b = (_evaluate(g, v, site.output, small) for g, v in zip(graphs, values, strict=True))
    except (PathliftError, RuntimeError, IndexError, ValueError):  # a computation that needs the full extents
        full = {n: _random(t, i, None) for i, (n, t) in enumerate(types.items()) if isinstance(t, TensorType)}
        a, b = (_evaluate(g, v, site.output, full) for g, v in zip(graphs, values, strict=True))
    type_ = graphs[0].type_of(values[0][site.output])
    rtol = RTOL[max(2, type_.dtype.itemsize)] if isinstance(type_, TensorType) and type_.dtype else RTOL[8]
    difference, size = float((a - b).abs().max()) if a.numel() else 0.0, float(a.abs().max()) if a.numel() else 0.0
    if a.shape != b.shape or not difference <= rtol * size:
        raise WitnessError("0803", f"{kind}: {site.what}: {site.output!r} differs by {difference:.2g} of {size:.2g}")


def _random(type_: TensorType, seed: int, limit: int | None) -> Tensor:
    import torch

    shape = _extents(type_.shape or (), limit)
    generator = torch.Generator().manual_seed(seed)
    if type_.dtype is not None and not is_float(type_.dtype):
        return torch.zeros(shape, dtype=torch.int64)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _extents(shape: Dims, limit: int | None) -> list[int]:
    """Known extents, cut to `limit` behind batch and channel; 2 for a batch, and one for all others."""
    return [
        (min(d, limit) if limit and i >= 2 else d) if isinstance(d, int) else (2 if i == 0 else limit or _SMALL)
        for i, d in enumerate(shape)
    ]


def _evaluate(graph: Graph, values: Mapping[str, Value], output: str, feeds: Mapping[str, Tensor]) -> Tensor:
    """Compute one value from others, in float64."""
    from pathlift.ir.interpret import evaluate
    from pathlift.ir.numeric import Numeric

    numeric = Numeric()
    known: dict[Value, Any] = {values[name]: x for name, x in feeds.items()}
    target = values[output]
    for key in _cone(graph, target, set(known)):
        node = graph[key]
        if node.op == "Input":
            raise WitnessError("0803", f"{output!r} depends on the input {key!r}")
        outputs = evaluate(numeric, node, tuple(None if v is None else known[v] for v in graph.inputs_of(key)))
        known.update({Value(key, i): y for i, y in enumerate(outputs) if Value(key, i) not in known})
    result: Tensor = known[target]
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
