"""A graph as a function of batches of candidates, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import PathliftError, UsageError
from pathlift.ir.foreign import FAILURES, running
from pathlift.ir.graph import Graph, Node
from pathlift.ir.types import Param, TensorType, is_float
from pathlift.passes.attacks.domain import Domain, Point

Tensor = torch.Tensor
SAME = 1e-9
"""Of the largest output: what batches of two may differ from batches of one by rounding."""
PAIRS = 2


class _Held(Numeric):
    """Execution that converts each parameter once."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, tuple[Param, Tensor]] = {}

    def param(self, p: Param) -> Tensor:
        if id(p) not in self._held:
            self._held[id(p)] = (p, super().param(p))
        return self._held[id(p)][1]


class Network:
    """All outputs of a graph, flat, for candidates of which none has a say in another's outputs.

    Parameters
    ----------
    graph
        Its inputs and outputs are of real numbers.
    domain
        A box of its inputs, in their order.
    names
        What the domain calls the graph's inputs; as the graph does, by default.

    Attributes
    ----------
    shapes
        Of the outputs of one candidate.
    numbers
        How many numbers are computed for one candidate.
    is_free
        Whether candidates can be executed as a batch; otherwise they are, one by one. The batch may be fixed in the
        file, or an op may mix samples: batches of two random points are compared with each of them alone.

    Raises
    ------
    UsageError
        If the box is none of these inputs, or they or the outputs are not of real numbers.
    ExecutionError
        If the graph cannot be executed.
    """

    def __init__(self, graph: Graph, domain: Domain, names: Sequence[str] | None = None) -> None:
        self.graph, self._algebra = graph, _Held()
        own = [graph[key].names[0] for key in graph.inputs]
        self._names = dict(zip(own, own if names is None else names, strict=True))
        self._check(domain)
        self.shapes, self.numbers = self._measured(domain)
        self.is_free = self._tried(domain)

    def __call__(self, inputs: Point) -> Tensor:
        """Return ``(batch, elements of all outputs)``."""
        count = len(next(iter(inputs.values()))) if inputs else 1
        if self.is_free or count == 1:
            return self._run(inputs, count)
        return torch.cat([self._run({n: x[i : i + 1] for n, x in inputs.items()}, 1) for i in range(count)])

    def _run(self, inputs: Point, count: int) -> Tensor:
        feeds = {own: inputs[name] for own, name in self._names.items()}
        with running():
            found = run(self.graph, self._algebra, feeds)
            return torch.cat([found[self.graph.name_of(v)].reshape(count, -1) for v in self.graph.outputs], 1)

    def _check(self, domain: Domain) -> None:
        if set(self._names.values()) != domain.low.keys():
            raise UsageError("1486", f"the box is of {sorted(domain.low)}, the inputs are {sorted(self._names)}")
        for key in self.graph.inputs:
            name, type_ = self.graph[key].names[0], self.graph[key].types[0]
            if not isinstance(type_, TensorType) or not is_float(type_.dtype):
                raise UsageError("1486", f"input {name!r} is {type_}, and not of real numbers")
            found = tuple(domain.low[self._names[name]].shape)
            # A symbol stands for any extent; a graph with a fixed batch takes none but this, of one sample.
            known = type_.shape is None or (
                len(type_.shape) == len(found)
                and all(not isinstance(d, int) or d == e for d, e in zip(type_.shape, found, strict=True))
            )
            if not known:
                raise UsageError("1486", f"input {name!r} is {type_}, the box has shape {list(found)}")
        for value in self.graph.outputs:
            type_ = self.graph.type_of(value)
            if not isinstance(type_, TensorType) or (type_.dtype is not None and not is_float(type_.dtype)):
                raise UsageError("1487", f"output {self.graph.name_of(value)!r} is {type_}, and not of real numbers")

    def _measured(self, domain: Domain) -> tuple[tuple[tuple[int, ...], ...], int]:
        numbers = domain.elements

        def observe(_: str, node: Node, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]) -> None:
            nonlocal numbers
            if node.op != "Param":
                numbers += sum(y.numel() for y in outputs if isinstance(y, Tensor))

        with running(), torch.no_grad():
            feeds = {own: domain.centre[name] for own, name in self._names.items()}
            found = run(self.graph, self._algebra, feeds, observe=observe)
        return tuple(tuple(found[self.graph.name_of(v)].shape) for v in self.graph.outputs), numbers

    def _tried(self, domain: Domain) -> bool:
        generator, width = torch.Generator().manual_seed(0), domain.flat_high - domain.flat_low
        for _ in range(PAIRS):
            draws = torch.rand(2, domain.elements, generator=generator, dtype=torch.float64)
            pair = domain.unflat(domain.flat_low + width * draws)
            with torch.no_grad():
                alone = torch.cat([self._run({n: x[i : i + 1] for n, x in pair.items()}, 1) for i in range(2)])
                try:
                    both = self._run(pair, 2)
                except (PathliftError, *FAILURES):
                    return False
            finite = alone[alone.isfinite()].abs()
            limit = SAME * float(finite.max()) if finite.numel() else 0.0
            if both.shape != alone.shape or not torch.allclose(both, alone, rtol=0.0, atol=limit, equal_nan=True):
                return False
        return True
