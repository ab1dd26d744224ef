"""Kronecker-sparse layers of a graph, by generated kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pathlift.codegen.schedule import Layout, Precision, parse_schedule
from pathlift.ir.algebras.interpret import Kernel
from pathlift.ir.types import Ints
from pathlift.runtime.kernels import ks_linear


def ks_kernel(precision: Precision | None) -> Kernel[Any]:
    """Return what computes `KSLinear` nodes; a graph's values never change, so that weights are packed once.

    Parameters
    ----------
    precision
        As in `pathlift.runtime.kernels.ks_linear`.
    """

    def compute(
        x: Tensor,
        w: Tensor,
        b: Tensor | None = None,
        residual: Tensor | None = None,
        *,
        pattern: Ints,
        feature_major: bool = False,
        activation: str = "",
        schedule: str = "",
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
            schedule=parse_schedule(schedule) if schedule else None,
            frozen=True,
        )

    return compute
