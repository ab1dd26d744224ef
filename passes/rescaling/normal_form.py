"""The Lq normal form: every class of neurons is divided by its prefix path-norm.

Residual connections tie neurons of different depth, so that classes have no order in which they could be normalized
one after another (a sweep is neither idempotent nor unique, and may diverge). All prefix norms are taken from the
network as it is, in one pass. They scale as the classes do, so the result is the same for every rescaled copy.
"""

from __future__ import annotations

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.types import Array
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.prefix_norm import PrefixNorm
from pathlift.passes.rescaling.symmetry import Symmetry, symmetry


def prefix_factors(graph: Graph, q: float) -> tuple[Symmetry, Factors]:
    """Return the symmetry of a graph, and 1 / prefix norm of each class where weights read it last.

    Parameters
    ----------
    graph
        Any graph.
    q
        Exponent of the norm, in (0, ∞).

    Raises
    ------
    InvalidModelError
        If a weight is NaN or infinite.
    """
    import torch

    from pathlift.passes.fields.arithmetic import exact_arithmetic

    norms = PrefixNorm(q)
    with exact_arithmetic(torch.device("cpu"), torch.float64):
        found = symmetry(graph, norms)
    read = _largest(found, norms, found.read)
    # A class that no weight reads is as large as its largest member.
    m, e = (np.where(read[0] > 0, a, b) for a, b in zip(read, _largest(found, norms, None), strict=True))
    m, e = _root(m, e, q)
    shifts = _shifts(found)
    alive = (m > 0) | (shifts > 0)
    m, e = np.where(m > 0, m, shifts), np.where(m > 0, e, 0)
    return found, Factors.of(1 / np.where(m > 0, m, 1.0), -e, ~alive)


def _largest(found: Symmetry, norms: PrefixNorm, cells: Array | None) -> tuple[Array, Array]:
    """The largest sum among some cells (all, by default) of each class, as mantissas and exponents."""
    cells = np.arange(len(found.class_of)) if cells is None else cells
    m, e = norms.sums(cells)
    order = np.lexsort((m, e))
    best_m, best_e = np.zeros(found.count + 2), np.zeros(found.count + 2, np.int64)
    classes = found.class_of[cells[order]]  # −1, the class of what no parameter touches, is the last
    best_m[classes], best_e[classes] = m[order], e[order]  # of equal indices, the last one stays
    return best_m[:-1], best_e[:-1]


def _root(m: Array, e: Array, q: float) -> tuple[Array, Array]:
    """``(m · 2**e) ** (1/q)``, as mantissa and exponent."""
    if q == 1:
        return m, e
    whole = np.floor(e / q).astype(np.int64)
    with np.errstate(divide="ignore"):
        logs = (np.log2(m) + (e - whole * q)) / q
    return np.exp2(logs), whole


def _shifts(found: Symmetry) -> Array:
    """The largest parameter that is added or subtracted in the scale of each class.

    A batch norm that reads a dead neuron still subtracts its mean, whose scale is then the neuron's.
    """
    largest = np.zeros(found.count + 1)
    for use in found.uses:
        if not use.scale.over.any() and use.scale.times.any() and use.param.size:
            size = np.abs(use.param.numpy().astype(np.float64))
            np.maximum.at(largest, np.broadcast_to(use.scale.times, size.shape), size)
    return largest
