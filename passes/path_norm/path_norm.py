"""Path-norms: the graph run with |θ|^q on the all-ones input, gates open and pools read as sums.

Source: Gonon, Brisebarre, Riccietti, Gribonval, "A path-norm toolkit for modern networks" (arXiv 2310.01225): the
path-lifting Φ(θ) has one entry per path, the product of the weights along it (times the bias of its first neuron,
where that is not an input), and ‖Φ(θ)‖_q is its q-norm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

import torch

from pathlift.ir.algebras.numeric import as_tensor
from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.limits import MEMORY_LIMIT
from pathlift.ir.stages import stage
from pathlift.ir.types import is_float
from pathlift.passes.base import Analysis
from pathlift.passes.fields.arithmetic import exact_arithmetic
from pathlift.passes.fields.rounding import rounding_mode
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.batch import batch_extent, batch_note
from pathlift.passes.path_norm.evaluation import Evaluation
from pathlift.passes.path_norm.result import LayerNorm, Norm, PathNormResult
from pathlift.passes.rewrites.strip_head import StripHead
from pathlift.passes.sizes import Extents, check_sizes, missing_batches, resolve_inputs

__all__ = ["LayerNorm", "Norm", "PathNorm", "PathNormResult"]

_POOLINGS = ("sum", "max")
_DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True)
class PathNorm(Analysis[PathNormResult]):
    """Path-norms ‖Φ(θ)‖_q, exact through pools, GroupSort, skips, borders and frozen batch norms.

    Parameters
    ----------
    q
        Exponents: 0, inf, or between 1e-6 and 1e6. One, or several; 0 is the number of non-zero paths, ∞ the largest
        absolute product along a path.
    pooling
        How paths that meet in a pooling window combine. ``sum``: the path-norm. ``max``: pools as maxima, a smaller
        bound for Lipschitz purposes that is no path-norm.
    inputs_only
        Leave out paths that start at a bias.
    dtype
        Compute in this precision. Exponents are tracked, so that neither overflows.
    per_layer
        Show each layer's gain, the norm so far, and its share where paths branch. Of the first q.
    shape
        Fill in symbolic dimensions. The batch needs none.
    memory_limit
        Refuse larger tensors and models. In bytes.
    mixed
        Combine the q-norms of the outputs by an R-norm. It is ‖Φ‖_{q,R}; R is between 1e-6 and 1e6, or ∞.
    per_weight
        Compute each weight's share, for the first q.
    borders
        Compute one position per class of border situations. Otherwise every position; the norms are the same.
    device
        Compute on cpu, cuda, cuda:0, ...
    """

    name: ClassVar[str] = "path-norm"

    q: tuple[float, ...] = (1.0,)
    pooling: Literal["sum", "max"] = "sum"
    inputs_only: bool = False
    dtype: Literal["float64", "float32"] = "float64"
    per_layer: bool = False
    shape: tuple[tuple[str, int], ...] = ()
    memory_limit: int = MEMORY_LIMIT
    mixed: float | None = None
    per_weight: bool = False
    borders: bool = True
    device: str = "cpu"

    def run(self, graph: Graph) -> PathNormResult:
        """Compute the norms.

        Parameters
        ----------
        graph
            Its inputs are fed with ones; a batch axis gets extent 1, other symbolic axes come from `shape`.

        Raises
        ------
        UnsupportedError
            If a node has no exact rule (exit 4); names node, op and reason.
        InvalidModelError
            If a weight is NaN or infinite (exit 3); names the tensor.
        UsageError
            If an option is out of range or an extent is missing.
        """
        self.check()
        stripped = StripHead().run(graph)
        graph, inputs = stripped.graph, resolve_inputs(stripped.graph, dict(self.shape))
        check_sizes(graph, inputs, self.memory_limit)
        batch = batch_extent(graph, inputs)
        assumptions = [stripped.witness.describe(), *missing_batches(graph, inputs), batch_note(batch, inputs)]
        norms: list[Norm] = []
        for q in self.q:
            with stage(f"norm q={q:g}"), rounding_mode(up=False) as record, self.arithmetic():
                evaluation = self.evaluation(q)
                evaluation.run(graph, inputs, one_sample=batch > 1)
                norm = evaluation.norm()
            assumptions.extend(evaluation.algebra.caveats())
            if record.inexact:
                with stage(f"norm q={q:g}, rounded up"), rounding_mode(up=True), self.arithmetic():
                    evaluation.run(graph, inputs, one_sample=batch > 1)
                    upper = evaluation.norm()
                if norm.zero and not upper.zero:
                    assumptions.append(f"q = {q:g}: cancellation may have left nothing; the norm is an upper bound")
                norm = upper if norm.zero else dataclasses.replace(norm, upper_log10=upper.upper_log10)
            norms.append(norm)
        layers, weights = self._attribution(graph, inputs, one_sample=batch > 1)
        return PathNormResult(tuple(norms), layers, tuple(dict.fromkeys(a for a in assumptions if a)), weights)

    def shares(self, graph: Graph) -> Mapping[str, torch.Tensor]:
        """Compute each weight's share alone, as ``weights`` of `run` with `per_weight`: once forward, once backward.

        Parameters and errors are those of `run`.
        """
        self.check()
        stripped = StripHead().run(graph).graph
        inputs = resolve_inputs(stripped, dict(self.shape))
        check_sizes(stripped, inputs, self.memory_limit)
        batch = batch_extent(stripped, inputs)
        return dataclasses.replace(self, per_weight=True)._attribution(stripped, inputs, one_sample=batch > 1)[1]

    def _attribution(
        self, graph: Graph, inputs: Mapping[str, Extents], *, one_sample: bool
    ) -> tuple[tuple[LayerNorm, ...], Mapping[str, torch.Tensor]]:
        """Shares for the first q, always in float64: a backward pass has no bounds that keep it within range."""
        if not self.per_layer and not self.per_weight:
            return (), {}
        wide = dataclasses.replace(self, dtype="float64")
        with stage("shares"), rounding_mode(up=False), wide.arithmetic(gradients=True):
            leaves = self._leaves(graph) if self.per_weight else {}
            evaluation = wide.evaluation(self.q[0], attribute=self.per_layer, parameters=leaves)
            evaluation.run(graph, inputs, one_sample=one_sample)
            return evaluation.layers(), evaluation.weights()

    def arithmetic(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        """Return the context in which `evaluation` runs."""
        return exact_arithmetic(torch.device(self.device), _DTYPES[self.dtype], gradients=gradients)

    def evaluation(
        self, q: float, *, attribute: bool = False, parameters: Mapping[str, torch.Tensor] | None = None
    ) -> Evaluation:
        """Return what evaluates a graph for one exponent, with these options.

        Parameters
        ----------
        q
            The exponent.
        attribute
            Whether to find the layers' shares and gains.
        parameters
            Tensors in place of the graph's parameters, by name, to differentiate by.
        """
        dtype, device = _DTYPES[self.dtype], torch.device(self.device)
        algebra = PathNormAlgebra(q, self.pooling, self.inputs_only, dtype, attribute, device, parameters)
        return Evaluation(algebra, borders=self.borders, mixed=self.mixed)

    def check(self) -> None:
        """Check the options.

        Raises
        ------
        UsageError
            If one is out of range, or the device cannot be used.
        """
        if not self.q or not all(q in (0, inf) or 1e-6 <= q <= 1e6 for q in self.q):
            given = ", ".join(map(str, self.q)) or "nothing"
            raise UsageError("0420", f"q must be 0, inf, or between 1e-6 and 1e6, got {given}")
        if self.pooling not in _POOLINGS:
            raise UsageError("1429", f"there is no pooling {self.pooling!r}", hint=" or ".join(_POOLINGS))
        if self.dtype not in _DTYPES:
            raise UsageError("0421", f"there is no dtype {self.dtype!r}", hint=" or ".join(_DTYPES))
        if self.mixed is not None and not (self.mixed == inf or 1e-6 <= self.mixed <= 1e6):
            raise UsageError("0425", f"the outer exponent must be inf, or between 1e-6 and 1e6, got {self.mixed}")
        if self.per_weight and self.q[0] == 0:
            raise UsageError("0426", "the number of paths has no derivative by a weight", hint="a first q above 0")
        if self.device != "cpu":
            _check_device(self.device)

    def _leaves(self, graph: Graph) -> dict[str, torch.Tensor]:
        """A tensor to differentiate by, for every parameter of floats."""
        leaves = {}
        for key in graph.params:
            node = graph[key]
            if node.value is not None and is_float(node.value.dtype):
                values = as_tensor(node.value.numpy(), torch.float64, torch.device(self.device))
                leaves[node.names[0]] = values.clone().requires_grad_()
        return leaves


def _check_device(device: str) -> None:
    """Check that tensors can live on a device.

    Raises
    ------
    UsageError
        If they cannot.
    """
    try:
        torch.zeros(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).split(". ")[0].splitlines()[0][:120] if str(error) else type(error).__name__
        raise UsageError("0427", f"device {device!r} cannot be used: {reason}", hint="cpu, or cuda") from None
