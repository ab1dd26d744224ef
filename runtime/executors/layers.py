"""Kronecker-sparse layers of a graph, by generated kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pathlift.codegen.cache import Key, Measured, Measurement, measured
from pathlift.codegen.ks_codegen import hinted
from pathlift.codegen.schedule import Layout, Precision
from pathlift.ir.algebras.interpret import Kernel
from pathlift.ir.graph import Graph
from pathlift.ir.types import Ints
from pathlift.runtime.kernels import ks_linear


class _Hinted(Measured):
    """Measurements of this machine, and what a graph carries where there is none.

    Parameters
    ----------
    hints
        For any version of Triton.
    """

    def __init__(self, hints: Mapping[Key, Measurement]) -> None:
        self._hints = hints

    def get(self, key: Key) -> Measurement | None:
        """Return a measurement, or else a hint."""
        return measured().get(key) or self._hints.get(replace(key, triton=""))


def ks_kernel(graph: Graph, precision: Precision | None) -> Kernel[Any]:
    """Return what computes `KSLinear` nodes.

    Parameters
    ----------
    graph
        Nodes may carry hints of how to run them. Its values never change: weights are packed once.
    precision
        As in `pathlift.runtime.kernels.ks_linear`.
    """
    known = _Hinted(hinted(graph))

    def compute(
        x: Tensor,
        w: Tensor,
        b: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        pattern: Ints,
        feature_major: bool = False,
        activation: str = "",
    ) -> Tensor:
        layout: Layout = "features" if feature_major else "rows"
        return ks_linear(
            x,
            [w],
            bias=b,
            residual=residual,
            activation=activation,
            reads=layout,
            writes=layout,
            precision=precision,
            known=known,
            frozen=True,
        )

    return compute
