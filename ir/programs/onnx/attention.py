"""Attention as one operator."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from pathlift.ir.algebras.protocol import Algebra, T
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.views import Take, Transpose
from pathlift.ir.programs.gates import TANH, power
from pathlift.ir.programs.onnx.registry import program
from pathlift.ir.programs.parts import bilinear, constant, reshaped, times
from pathlift.ir.programs.softmax import softmax
from pathlift.ir.types import Param


@program("Attention")
def attention(
    alg: Algebra[T],
    q: T,
    k: T,
    v: T,
    mask: T | None = None,
    *past: T | None,
    is_causal: int = 0,
    q_num_heads: int = 0,
    kv_num_heads: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
) -> T:
    """softmax(q·kᵀ/√n + mask)·v, where several heads of q may share one of k and v."""
    del softmax_precision
    if any(p is not None for p in past):
        raise UnsupportedError("0304", "attention to a past")
    joined = len(alg.extents(q)) == 3
    if joined:
        q, k, v = (_heads(alg, x, n) for x, n in ((q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads)))
    (_, heads, rows, size), (_, shared, columns, _) = alg.extents(q), alg.extents(k)
    if shared != heads:
        each = tuple(i // (heads // shared) for i in range(heads))
        k, v = (alg.move((x,), Take(1, each)) for x in (k, v))
    scores = bilinear(alg, q, k, _scores)
    if scale is None:
        scores = times(alg, scores, alg.gate(constant(alg, size), power(-0.5)))
    else:
        scores = alg.scale(scores, scale)
    if softcap > 0:
        scores = alg.scale(alg.gate(alg.scale(scores, softcap, reciprocal=True), TANH), softcap)
    if mask is not None:
        if alg.extents(mask)[-1] != columns:
            raise UnsupportedError("0304", "a mask that does not have as many columns as there are keys")
        scores = alg.add(scores, mask)
    if is_causal:
        scores = alg.add(scores, alg.param(Param.of(np.triu(np.full((rows, columns), -inf), 1))))
    y = bilinear(alg, softmax(alg, scores, -1), v, _mean)
    if not joined:
        return y
    batch, _, _, out = alg.extents(y)
    return reshaped(alg, alg.move((y,), Transpose((0, 2, 1, 3))), (batch, rows, heads * out))


def _scores(q: Any, k: Any) -> Any:
    return q @ k.transpose(-1, -2)


def _mean(weights: Any, v: Any) -> Any:
    return weights @ v


def _heads(alg: Algebra[T], x: T, heads: int) -> T:
    """``(batch, steps, heads·size)`` as ``(batch, heads, steps, size)``."""
    batch, steps, size = alg.extents(x)
    return alg.move((reshaped(alg, x, (batch, steps, heads, size // heads)),), Transpose((0, 2, 1, 3)))
