"""Canonical forms, in which networks that are rescaled copies of each other look alike."""

from __future__ import annotations

import numpy as np

from pathlift.passes.equivalence.factors import Rescaling, scales_of
from pathlift.passes.equivalence.matched_graph import MatchedGraph
from pathlift.passes.rescaling.normal_form import prefix_norms


def canonical(side: MatchedGraph) -> MatchedGraph:
    """Rescale a network so that the prefix L2-norm of every class of neurons is 1.

    Of all norms the quadratic one is closest to the size of activations: factors stay moderate in deep networks.

    Parameters
    ----------
    side
        The network.

    Raises
    ------
    InvalidModelError
        If a weight is infinite.
    """
    found, m, e = prefix_norms(side.graph, 2.0)
    with np.errstate(divide="ignore"):
        log2 = np.where(m > 0, -(np.log2(m) + e), 0.0)
    log2[0] = 0.0
    return Rescaling(found, scales_of(side, found), log2).applied(side)
