"""One evaluation of a graph for one exponent: the norm, its upper bound, and what contributes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp2, inf, log2, nextafter

import numpy as np
import torch

from pathlift.ir.algebras.interpret import run
from pathlift.ir.graph import Graph, Node
from pathlift.passes.fields import figures
from pathlift.passes.fields.field import Field
from pathlift.passes.fields.scaled import Scaled, log2_of
from pathlift.passes.fields.semiring import Semiring
from pathlift.passes.fields.weight import Weight
from pathlift.passes.path_norm.algebra import PathNormAlgebra
from pathlift.passes.path_norm.result import LayerNorm, Norm
from pathlift.passes.sizes import Extents

Tensor = torch.Tensor
_LOG10_2 = figures.LOG10_2


class Evaluation:
    """One q on one graph.

    Parameters
    ----------
    algebra
        Says which q, and whether to find the layers' shares and gains.
    borders
        Whether equal positions of the input share a class; without, every position is computed for itself.
    mixed
        The exponent over output elements; ``None`` for q.
    """

    def __init__(self, algebra: PathNormAlgebra, *, borders: bool = True, mixed: float | None = None) -> None:
        self.algebra, self.borders, self.mixed = algebra, borders, mixed
        self.outputs: dict[str, Field] = {}
        self._listed: list[Field] = []
        """The outputs as the graph lists them: one that it lists twice is two, and the network has its paths twice."""
        self._gains: list[tuple[str, Node, float | None, float | None]] = []
        """By layer, log10 of the norm of its outputs over that of its inputs, and log10 of the former alone."""

    def run(self, graph: Graph, inputs: Mapping[str, Extents], *, one_sample: bool = False) -> None:
        """Evaluate the graph on ones, within `exact_arithmetic`; of outputs, perhaps keep the first sample alone."""
        algebra = self.algebra
        feeds = {
            name: Field.ones(inputs.get(name, ()), algebra.dtype, algebra.device, classes=self.borders)
            for name in (graph[key].names[0] for key in graph.inputs)
        }
        results = run(graph, algebra, feeds, observe=self._observe if algebra.attribute else None)
        self.outputs = {name: algebra.signal(y) for name, y in results.items()}
        if one_sample:
            self.outputs = {name: y.taken(0, np.zeros(1, np.int64)) for name, y in self.outputs.items()}
        self._listed = [self.outputs[graph.name_of(v)] for v in graph.outputs]

    def _observe(
        self, key: str, node: Node, inputs: tuple[Weight | Field | None, ...], outputs: tuple[Weight | Field, ...]
    ) -> None:
        if key in self.algebra.probes:
            assert inputs[0] is not None
            x, y = self.algebra.signal(inputs[0]), self.algebra.signal(outputs[0])
            before, after = (_log2_total([z], self.semiring) * self.semiring.root * _LOG10_2 for z in (x, y))
            gain, log10 = (figure if abs(figure) < inf else None for figure in (after - before, after))
            self._gains.append((key, node, gain, log10))

    @property
    def semiring(self) -> Semiring:
        """What becomes of paths that meet."""
        return self.algebra.semiring

    def total(self) -> Scaled:
        """All paths to all outputs combined, before the root: a scalar."""
        return figures.total(self._listed, self.semiring)

    def norm(self) -> Norm:
        """The norm over all outputs, each as often as the graph lists it."""
        elementwise = {name: self._log10(y) for name, y in self.outputs.items()}
        log2_norm, slack, value = self._mixed() if self.mixed is not None else self._whole_norm()
        algebra = self.algebra
        is_path_norm = algebra.pooling == "sum" and not algebra.inputs_only and not algebra.bounded
        figures: tuple[float | None, float | None, float | None] = (None, 0.0, None)
        if log2_norm > -inf:
            figures = (log2_norm * _LOG10_2, value, nextafter((log2_norm + slack) * _LOG10_2, inf))
        return Norm(algebra.q, *figures, algebra.pooling, is_path_norm, elementwise, self.mixed)

    def _whole_norm(self) -> tuple[float, float, float | None]:
        """log2 of the norm, by how much it may be too low, and its value."""
        total, root = self.total(), self.semiring.root
        mantissa, exponent = total.m.item(), int(total.e)
        log2_norm = log2_of(mantissa, exponent) * root
        return log2_norm, self._slack(total.roundings, log2_norm), figures.plain_value(mantissa, exponent, root)

    def _slack(self, roundings: int, log2_norm: float) -> float:
        return figures.slack(roundings, log2_norm, self.semiring.root, self.algebra.dtype)

    def _log10(self, y: Field) -> Tensor:
        return y.log2() * (self.semiring.root * _LOG10_2)

    def _mixed(self) -> tuple[float, float, float | None]:
        """The same for the r-norm of the outputs' norms, from their logarithms."""
        r = self.mixed
        assert r is not None
        logs = torch.cat([self._log10(y).reshape(-1) for y in self._listed] or [torch.zeros(0)]) / _LOG10_2
        top = float(logs.max()) if logs.numel() else -inf
        if top == -inf:
            return -inf, 0.0, 0.0
        terms = float(torch.exp2((logs - top) * min(r, 2.0**60)).sum()) if r < inf else 1.0
        log2_norm = top + log2(terms) / r
        # Each logarithm is off by the slack of its sum; adding up n terms costs n roundings more.
        roundings = max(y.value.roundings for y in self.outputs.values())
        largest = max(abs(top), abs(float(logs[logs > -inf].min())))
        slack = self._slack(roundings, largest) + (len(logs) + 8) * 2.0**-52 * (1 + 1 / r)
        value = exp2(log2_norm) if -1022 <= log2_norm < 1023.999 else None
        return log2_norm, slack, value

    def layers(self) -> tuple[LayerNorm, ...]:
        """Shares from one backward pass: ∂ log Σ / ∂t of a factor t on a node's weights, at t = 1."""
        total = self.total().m
        probes = self.algebra.probes
        shares: dict[str, Tensor] = {}
        if probes and total.requires_grad and total.item() > 0:
            grads = torch.autograd.grad(total.log(), list(probes.values()), allow_unused=True, retain_graph=True)
            for (key, probe), g in zip(probes.items(), grads, strict=True):
                share = torch.zeros_like(probe) if g is None else g
                shares[key] = share.detach().double().reshape(-1).cpu()
        return tuple(
            LayerNorm(
                node.label, node.op, float(shares[key].sum()) if key in shares else None, gain, shares.get(key), log10
            )
            for key, node, gain, log10 in self._gains
        )

    def weights(self) -> dict[str, Tensor]:
        """π = θ·∂log‖Φ‖_q/∂θ for every parameter that was put in place of the graph's."""
        parameters, total = self.algebra.parameters, self.total().m
        if not parameters or not total.requires_grad or not total.item() > 0:
            return {name: torch.zeros_like(p) for name, p in parameters.items()}
        log_norm = total.log() * self.semiring.root
        grads = torch.autograd.grad(log_norm, list(parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if g is None else (p * g).detach()
            for (name, p), g in zip(parameters.items(), grads, strict=True)
        }


def _log2_total(fields: Sequence[Field], semiring: Semiring) -> float:
    total = figures.total(fields, semiring)
    return log2_of(total.m.item(), int(total.e))
