"""Ways to multiply by a Kronecker-sparse factor that PyTorch offers; the best of them counts."""

from __future__ import annotations

import functools
import math
import os
import runpy
from collections.abc import Callable

import torch
from benchmarks.gpu.kernels import Call, block_diagonal, dense
from torch import Tensor, nn

from pathlift.codegen.schedule import Layout
from pathlift.ir.kronecker import Pattern

Product = Callable[[Tensor, Tensor], Tensor]
_LARGEST_DENSE = 2**31
"""Elements of the dense matrix beyond which nobody would hold it."""


def baselines(p: Pattern, x: Tensor, factor: Tensor, layout: Layout) -> dict[str, Callable[[], Call]]:
    """Return what makes each contestant; a maker may fail, which says that the way is not open.

    Parameters
    ----------
    p
        The pattern.
    x
        (samples, features), or (features, samples) in the layout ``features``; so is the result.
    factor
        Non-zeros, (a, d, b, c).
    layout
        Of x and the result.
    """
    rows = layout == "rows"
    bmm, einsum = (bmm_rows, einsum_rows) if rows else (bmm_features, einsum_features)
    found: dict[str, Callable[[], Call]] = {
        "bmm": lambda: lambda: bmm(x, factor),
        "einsum": lambda: lambda: einsum(x, factor),
    }
    if p.rows * p.cols < _LARGEST_DENSE:
        found["dense"] = lambda: _dense(x, factor, rows)
        found["bsr"] = lambda: _bsr(p, x, factor, rows)
    if (p.a == 1 and not rows) or p.d == 1:
        found["bmm in place"] = lambda: _in_place(p, x, factor, rows)
    for more in _others():
        found |= more(p, x, factor, layout)
    return found


@functools.cache
def _others() -> tuple[Callable[[Pattern, Tensor, Tensor, Layout], dict[str, Callable[[], Call]]], ...]:
    """What the user adds: the function ``contestants`` of each file that the variable CONTESTANTS names."""
    files = filter(None, os.environ.get("CONTESTANTS", "").split(os.pathsep))
    return tuple(runpy.run_path(file)["contestants"] for file in files)


def compiled(x: Tensor, factor: Tensor, layout: Layout) -> Call:
    """The batched product as torch.compile tunes it; takes seconds to make."""
    torch.compiler.reset()  # every pattern is a program of its own
    product: Product = torch.compile(
        bmm_rows if layout == "rows" else bmm_features, mode="max-autotune-no-cudagraphs", dynamic=False
    )
    product(x, factor)
    return lambda: product(x, factor)


def bmm_rows(x: Tensor, factor: Tensor) -> Tensor:
    """A batched product between permutations."""
    a, d, b, c = factor.shape
    blocks = x.view(-1, a, c, d).permute(1, 3, 0, 2).reshape(a * d, -1, c)
    y = torch.bmm(blocks, factor.view(a * d, b, c).mT)
    return y.view(a, d, -1, b).permute(2, 0, 3, 1).reshape(-1, a * b * d)


def bmm_features(x: Tensor, factor: Tensor) -> Tensor:
    """The same where features come first."""
    a, d, b, c = factor.shape
    blocks = x.view(a, c, d, -1).transpose(1, 2).reshape(a * d, c, -1)
    y = torch.bmm(factor.view(a * d, b, c), blocks)
    return y.view(a, d, b, -1).transpose(1, 2).reshape(a * b * d, -1)


def einsum_rows(x: Tensor, factor: Tensor) -> Tensor:
    """The definition, left to PyTorch."""
    a, d, b, c = factor.shape
    return torch.einsum("nakd,adbk->nabd", x.view(-1, a, c, d), factor).reshape(-1, a * b * d)


def einsum_features(x: Tensor, factor: Tensor) -> Tensor:
    """The same where features come first."""
    a, d, b, c = factor.shape
    return torch.einsum("akdn,adbk->abdn", x.view(a, c, d, -1), factor).reshape(a * b * d, -1)


def _dense(x: Tensor, factor: Tensor, rows: bool) -> Call:
    matrix = dense([factor])
    return (lambda: nn.functional.linear(x, matrix)) if rows else (lambda: torch.mm(matrix, x))


def _in_place(p: Pattern, x: Tensor, factor: Tensor, rows: bool) -> Call:
    """A batched product of strided views, into a strided view: nothing is permuted."""
    samples, weights = x.shape[0 if rows else 1], factor.view(p.a * p.d, p.b, p.c)
    if rows:  # d = 1
        blocks = x.view(samples, p.a, p.c).transpose(0, 1)

        def call() -> Tensor:
            y = x.new_empty(samples, p.rows)
            torch.bmm(blocks, weights.mT, out=y.view(samples, p.a, p.b).transpose(0, 1))
            return y

    else:  # a = 1, or d = 1: one of the two counts the blocks
        blocks = x.view(p.a, p.c, p.d, samples).transpose(1, 2).flatten(0, 1)

        def call() -> Tensor:
            y = x.new_empty(p.rows, samples)
            torch.bmm(weights, blocks, out=y.view(p.a, p.b, p.d, samples).transpose(1, 2).flatten(0, 1))
            return y

    assert blocks.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return call


def _bsr(p: Pattern, x: Tensor, factor: Tensor, rows: bool) -> Call:
    """A block-sparse matrix of square blocks, between permutations where d > 1."""
    side = math.gcd(p.b, p.c)
    if side < 16:
        raise ValueError(f"blocks of {side} are too small")
    blocks = factor.reshape(1, p.a * p.d, p.b, p.c).transpose(0, 1)  # as if d were 1
    matrix = block_diagonal(blocks.flatten(0, 1)).to_sparse_bsr((side, side))

    def on_rows() -> Tensor:
        blocks = x.view(-1, p.a, p.c, p.d).transpose(2, 3).reshape(-1, p.cols)
        return nn.functional.linear(blocks, matrix).view(-1, p.a, p.d, p.b).transpose(2, 3).reshape(-1, p.rows)

    def on_features() -> Tensor:
        blocks = x.view(p.a, p.c, p.d, -1).transpose(1, 2).reshape(p.cols, -1)
        return torch.mm(matrix, blocks).view(p.a, p.d, p.b, -1).transpose(1, 2).reshape(p.rows, -1)

    return on_rows if rows else on_features
