"""The canonical representative of a network among all its neuron-wise rescalings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, float_limits, is_float
from pathlift.passes.base import Effect, Rewritten, Transform
from pathlift.passes.channels.symmetry import Symmetry
from pathlift.passes.rescaling.balanced import balanced_form
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.normal_form import NormalForm, normal_form
from pathlift.passes.rescaling.path_conditioned import path_conditioned_form
from pathlift.passes.rescaling.rescaled import rescaled

SETTLED = 32
"""A network whose factors are all within so many roundings of 1 is in canonical form already."""
_SLACK = 1e-6
"""Octaves by which a factor may exceed a power of two and still be rounded to it: factors are found by computation."""


@dataclass(frozen=True)
class Canonicalize(Transform):
    """Rescale neurons so that every rescaled copy of a network ends up with the same weights.

    Parameters
    ----------
    norm
        l1, l2, lq:Q, balanced or path-conditioned. Q is between 0.001 and 1000.
    exact
        By powers of two, which round nothing: outputs stay the same to the last bit, save where a layer that changes
        has to be spelled anew (a Gemm with ``alpha``).
    shape
        Fill in symbolic dimensions, for path-conditioned. The batch needs none.
    """

    name: ClassVar[str] = "canonicalize"
    effect: ClassVar[Effect] = Effect.KEEPS

    norm: str = "l1"
    exact: bool = False
    shape: tuple[tuple[str, int], ...] = ()

    def run(self, graph: Graph) -> Rewritten:
        """Rescale the neurons of a graph.

        Parameters
        ----------
        graph
            Any graph; neurons whose scale is fixed (inputs, outputs, around activations that are not positively
            homogeneous) keep it.

        Raises
        ------
        UsageError
            If there is no such norm; for ``path-conditioned``, if an extent is missing.
        InvalidModelError
            If a weight is NaN or infinite.
        UnsupportedError
            For ``path-conditioned``, if a node has no exact rule; for all, when a weight is read that its format cannot
            hold.
        """
        form = _form(graph, self.norm, self.shape)
        found, factors = form.symmetry, form.factors
        if self.exact:
            factors = factors.rounded(_SLACK)
        if _settled(factors, found):
            factors = Factors.of(np.ones(found.count + 1))
        return rescaled(graph, found, factors, lift=form.lift)


def _form(graph: Graph, norm: str, shape: tuple[tuple[str, int], ...]) -> NormalForm:
    """Read ``l1``, ``l2``, ``lq:Q``, ``balanced`` or ``path-conditioned``."""
    if norm == "balanced":
        return balanced_form(graph)
    if norm == "path-conditioned":
        return path_conditioned_form(graph, shape)
    try:
        q = float({"l1": "1", "l2": "2"}.get(norm, norm.removeprefix("lq:")))
    except ValueError:
        q = 0.0
    if not (norm in ("l1", "l2") or norm.startswith("lq:")) or not 1e-3 <= q <= 1e3:
        hint = "l1, l2, lq:Q with Q between 0.001 and 1000, balanced, or path-conditioned"
        raise UsageError("0450", f"there is no norm {norm!r}", hint=hint)
    return normal_form(graph, q)


def _settled(factors: Factors, found: Symmetry) -> bool:
    if factors.dead.any():
        return False
    eps = max((float(float_limits(u.param.dtype).eps) for u in found.uses if is_float(u.param.dtype)), default=0.0)
    drift: Array = np.abs(factors.log2())
    return bool(drift.max(initial=0) <= SETTLED * eps)
