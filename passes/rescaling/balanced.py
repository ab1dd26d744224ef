"""The balanced form: the least sum of squared weights among all rescalings.

At the minimum the weights and biases that lead into a class have the same sum of squares as those that read it (Stock,
Graham, Gribonval, Jégou, "Equi-normalization of neural networks", arXiv 1902.10416). The sum is strictly convex in the
logarithms of the factors, so that all rescaled copies of a network have the same minimum.
"""

from __future__ import annotations

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import is_float
from pathlift.passes.rescaling.balance import Balance, Pairs, as_weight, zero_sided
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.normal_form import NormalForm, normal_form


def balanced_form(graph: Graph) -> NormalForm:
    """Find the factors of the balanced form. It starts from the L2 normal form, where no weight is extreme.

    Parameters
    ----------
    graph
        Any graph. A class with nothing but zeros on one side carries nothing: the other side becomes zero too.

    Raises
    ------
    InvalidModelError
        If a weight is NaN or infinite.
    """
    start = normal_form(graph, 2.0)
    found, count = start.symmetry, start.symmetry.count + 1
    pairs = [
        Pairs.of(*as_weight(u.scale, start.factors.multiplied(u, slice(None) if u.param.shape else ()) ** 2))
        for u in found.scales().values()
        if is_float(u.param.dtype) and u.param.size
    ]
    dead = zero_sided(pairs, count)
    z = Balance(pairs, np.zeros(count)).run() if any(p.m.any() for p in pairs) else np.zeros(count)
    return NormalForm(found, start.factors.times(Factors.exp(z, dead)), np.zeros(count, np.int64))
