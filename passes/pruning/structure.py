"""Structure of what is pruned: single weights, N of M consecutive inputs, blocks, or a Kronecker-sparse support."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pathlift.ir.errors import UsageError
from pathlift.ir.types import Array
from pathlift.passes.pruning.prunable import Prunable


class Structure(Protocol):
    """What goes together; scores and masks are of one parameter."""

    def refusal(self, p: Prunable) -> str:
        """Why a parameter does not have this structure; empty if it does."""
        ...

    def units(self, p: Prunable, scores: Array) -> Array:
        """Return the scores of what goes together, ``(rows, taps, inputs)``."""
        ...

    def spread(self, p: Prunable, kept: Array) -> Array:
        """Return a mask of the parameter, in its shape, from one of the units."""
        ...


@dataclass(frozen=True)
class Single:
    """Every weight for itself."""

    def refusal(self, p: Prunable) -> str:
        """Nothing."""
        return ""

    def units(self, p: Prunable, scores: Array) -> Array:
        """Return the scores, a matrix per tap."""
        return p.layout.matrices(scores)

    def spread(self, p: Prunable, kept: Array) -> Array:
        """Return the mask in the parameter's shape."""
        return p.layout.weights(kept, p.param.shape)


@dataclass(frozen=True)
class Block:
    """Blocks of rows × inputs, in the matrix of each tap."""

    rows: int
    inputs: int

    def refusal(self, p: Prunable) -> str:
        """Say that blocks do not tile a matrix."""
        rows, _, inputs = p.layout.extents
        if p.is_bias or rows % self.rows or inputs % self.inputs:
            return f"blocks of {self.rows}×{self.inputs} do not tile {rows} outputs × {inputs} inputs"
        return ""

    def units(self, p: Prunable, scores: Array) -> Array:
        """Return the sums over blocks; −1 for one of zeros alone."""
        m = p.layout.matrices(scores)
        r, t, i = m.shape
        blocks = m.reshape(r // self.rows, self.rows, t, i // self.inputs, self.inputs)
        return np.where((blocks < 0).all((1, 4)), -1.0, np.maximum(blocks, 0.0).sum((1, 4)))

    def spread(self, p: Prunable, kept: Array) -> Array:
        """Return the mask in the parameter's shape."""
        return p.layout.weights(kept.repeat(self.rows, 0).repeat(self.inputs, 2), p.param.shape)


@dataclass(frozen=True)
class Sparse:
    """N weights stay of every M that one output has of consecutive inputs: what sparse tensor cores take as 2:4."""

    stay: int
    among: int

    def refusal(self, p: Prunable) -> str:
        """Say that inputs are no multiple of M."""
        inputs = p.layout.extents[2]
        if p.is_bias or inputs % self.among:
            return f"its {inputs} inputs are no multiple of {self.among}"
        return ""

    def kept(self, p: Prunable, scores: Array) -> Array:
        """Return the mask: the N best of every M, the later ones of equals."""
        m = p.layout.matrices(scores)
        groups = m.reshape(-1, self.among)
        order = np.argsort(groups, axis=1, kind="stable")
        mask = np.ones(groups.shape, bool)
        np.put_along_axis(mask, order[:, : self.among - self.stay], False, axis=1)
        return p.layout.weights(mask.reshape(m.shape), p.param.shape)


@dataclass(frozen=True)
class Kronecker:
    """One weight of K stays, where a pattern (a, b, c, d) with a·d = K has it: a layer that `ks-detect` finds.

    In a matrix of a·b·d rows and a·c·d columns, these are the places whose row and column lie in the same of a equal
    parts, and have the same remainder modulo d.
    """

    among: int

    def refusal(self, p: Prunable) -> str:
        """Say that weights are no matrix, or have no such pattern."""
        rows, taps, inputs = p.layout.extents
        if p.is_bias or taps > 1 or len(p.layout.rows) != 1 or len(p.layout.inputs) != 1:
            return "its weights are no matrix that a Kronecker-sparse one could be"
        if rows % self.among or inputs % self.among:
            return f"its {rows} outputs × {inputs} inputs are no multiples of {self.among}"
        return ""

    def kept(self, p: Prunable, scores: Array) -> Array:
        """Return the mask: the pattern that keeps most; of equals, the one of most blocks."""
        matrix = np.maximum(p.layout.matrices(scores), 0.0)
        a, rows, d, _, cols, _ = max(self._shapes(p), key=lambda shape: self._within(matrix.reshape(shape)).sum())
        mask = np.zeros((a, rows, d, a, cols, d), bool)
        self._within(mask)[...] = True
        return p.layout.weights(mask.reshape(matrix.shape), p.param.shape)

    def _shapes(self, p: Prunable) -> list[tuple[int, ...]]:
        """The axes (a, b, d, a, c, d) of a matrix, for every pattern."""
        k = self.among
        rows, _, cols = (extent // k for extent in p.layout.extents)
        return [(a, rows, k // a, a, cols, k // a) for a in range(k, 0, -1) if k % a == 0]

    def _within(self, split: Array) -> Array:
        """A view of what a pattern has."""
        view: Array = np.einsum("abdacd->abdc", split)
        return view


Patterned = Sparse | Kronecker
"""Structures that say themselves how much of each layer stays."""


def read_structure(pattern: str, block: str) -> Structure | Patterned:
    """Read ``2:4``, ``ks:4``, or ``16x16``, or neither.

    Raises
    ------
    UsageError
        If it is something else, or both.
    """
    if pattern and block:
        raise UsageError("1404", "a pattern and blocks are two structures", hint="one or the other")
    if match := re.fullmatch(r"ks:(\d{1,6})", pattern, re.ASCII):
        if int(match[1]) < 2:
            raise UsageError("1404", f"{pattern!r} lets nothing go", hint="ks:4 keeps a quarter")
        return Kronecker(int(match[1]))
    if pattern:
        match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", pattern, re.ASCII)
        if not match or not 0 < int(match[1]) < int(match[2]):
            hint = "2:4 keeps two of every four weights, ks:2 a Kronecker-sparse half"
            raise UsageError("1404", f"{pattern!r} is no pattern N:M or ks:K", hint=hint)
        return Sparse(int(match[1]), int(match[2]))
    if block:
        match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", block, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            raise UsageError("1404", f"{block!r} is no size of blocks", hint="16x16: outputs × inputs")
        return Block(int(match[1]), int(match[2]))
    return Single()
