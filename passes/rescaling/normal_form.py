"""The Lq normal form: every class of neurons is divided by its prefix path-norm.

Residual connections tie neurons of different depth, so that classes have no order in which they could be normalized
one after another (a sweep is neither idempotent nor unique, and may diverge). All prefix norms are taken from the
network as it is, in one pass. They scale as the classes do, so the result is the same for every rescaled copy.

The norm bounds activations in the worst case, which is far from the ordinary one in deep networks: where all of a
ResNet-50 has L1-norm 1, its activations are of size 2⁻¹⁹⁰, which float32 cannot hold. Prefix L2-norms are of the size
of activations. Where the quotient of the two, which no rescaling changes, is too large for the format, neurons are
brought to the power of two nearest to it instead of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathlift.ir.graph import Graph
from pathlift.ir.rows import AT_ONCE
from pathlift.ir.types import Array, float_limits, is_float
from pathlift.passes.channels.symmetry import Symmetry, symmetry
from pathlift.passes.rescaling.factors import Factors
from pathlift.passes.rescaling.prefix_norm import PrefixNorm

_LEAST = -(2**62)
"""An exponent below that of a zero."""
MARGIN = 30
"""Octaves between ordinary activations and the smallest numbers that keep all their digits."""


@dataclass(frozen=True, eq=False)
class NormalForm:
    """How to get to the normal form.

    Parameters
    ----------
    symmetry, factors
        The classes, and their factors.
    lift
        Binary logarithm of the prefix norm that each class has in the normal form: 0, where the format permits.
    """

    symmetry: Symmetry
    factors: Factors
    lift: Array


def normal_form(graph: Graph, q: float) -> NormalForm:
    """Find the factors that bring every class of neurons to prefix norm 1, where weights read it last.

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
    found = symmetry(graph)
    if not found.count:
        return NormalForm(found, Factors.of(np.ones(1)), np.zeros(1, np.int64))
    found, m, e = prefix_norms(graph, q)
    lift = np.zeros(found.count + 1, np.int64)
    if q != 2:
        _, m2, e2 = prefix_norms(graph, 2.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotients = np.where(m > 0, np.log2(m) - np.log2(m2) + (e - e2), 0.0)
        if np.abs(quotients).max() > _room(found):
            lift = np.rint(quotients).astype(np.int64)
    shifts = _shifts(found)
    alive = (m > 0) | (shifts > 0)
    m, e = np.where(m > 0, m, shifts), np.where(m > 0, e, 0)
    return NormalForm(found, Factors.of(1 / np.where(m > 0, m, 1.0), lift - e, ~alive), lift)


def prefix_norms(graph: Graph, q: float) -> tuple[Symmetry, Array, Array]:
    """Return the symmetry of a graph, and the prefix norm of each class as mantissa (0 if dead) and exponent."""
    import torch

    from pathlift.passes.fields.arithmetic import exact_arithmetic

    norms = PrefixNorm(q)
    with exact_arithmetic(torch.device("cpu"), torch.float64):
        found = symmetry(graph, norms)
    read = _largest(found, norms, found.read)
    # A class that no weight reads is as large as its largest member.
    m, e = (np.where(read[0] > 0, a, b) for a, b in zip(read, _largest(found, norms, None), strict=True))
    return found, *_root(m, e, q)


def _room(found: Symmetry) -> float:
    """By how many octaves activations may be below 1 in the formats of the parameters."""
    dtypes = {u.param.dtype for u in found.uses if is_float(u.param.dtype)}
    octaves = [-float(np.log2(float(float_limits(dtype).smallest_normal))) for dtype in dtypes]
    return min((max(n - MARGIN, n / 2) for n in octaves), default=0.0)


def _largest(found: Symmetry, norms: PrefixNorm, cells: Array | None) -> tuple[Array, Array]:
    """The largest sum among some cells (all, by default) of each class, as mantissas and exponents."""
    count = len(found.class_of) if cells is None else len(cells)
    best_m, best_e = np.zeros(found.count + 2), np.full(found.count + 2, _LEAST)
    for start in range(0, count, AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, count)) if cells is None else cells[start : start + AT_ONCE]
        classes = found.class_of[part]  # −1, the class of what no parameter touches, is the last
        met, (m, e) = np.unique(classes), norms.sums(part)
        classes, m, e = (np.concatenate(x) for x in ((met, classes), (best_m[met], m), (best_e[met], e)))
        order = np.lexsort((m, e))
        best_m[classes[order]], best_e[classes[order]] = m[order], e[order]  # of equal indices, the last one stays
    return best_m[:-1], np.where(best_e == _LEAST, 0, best_e)[:-1]


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
