"""Rows that linear layers read and write: a matrix of samples and positions per group of inputs that outputs share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pathlift.ir.graph import Node
from pathlift.ir.primitives.maps import Contract

if TYPE_CHECKING:
    from torch import Tensor


class Extents(NamedTuple):
    """Sizes of what `met` and `written` return for a layer.

    Parameters
    ----------
    groups, width
        Of the inputs.
    inputs
        Of one tap, the last axis of a row's ``(taps, inputs)``.
    outputs
        How many it writes.
    """

    groups: int
    width: int
    inputs: int
    outputs: int


def extents(node: Node, shape: Sequence[int]) -> Extents:
    """Return the sizes of rows for weights of this shape."""
    match node.op:
        case "Conv":
            return Extents(_groups(node), prod(shape[1:]), shape[1], shape[0])
        case "ConvTranspose":
            inputs = shape[0] // _groups(node)
            return Extents(_groups(node), inputs, inputs, shape[1] * _groups(node))
        case "Einsum":
            xs, ws, out = Contract(str(node.attrs["equation"])).terms
            sizes = dict(zip(ws, shape, strict=True))
            inside = prod(n for c, n in sizes.items() if c in xs and c not in out)
            groups = prod(n for c, n in sizes.items() if c in xs and c in out)
            return Extents(groups, inside, inside, prod(n for c, n in sizes.items() if c in out))
        case "KSLinear":
            a, d, b, c = shape
            return Extents(a * d, c, c, a * d * b)
    inputs, outputs = reversed(shape) if node.attrs.get("trans_w", False) else shape
    return Extents(1, inputs, inputs, outputs)


def _groups(node: Node) -> int:
    return int(node.attrs.get("groups", 1))  # type: ignore[arg-type]  # an int


def met(node: Node, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what an output's weights are multiplied by: ``(groups, samples and positions, taps · inputs)``.

    A transposed convolution has one tap here: each of its weights meets every position.
    """
    match node.op:
        case "Conv":
            return _patches(x, node, shape)
        case "ConvTranspose":
            return _grouped(x.movedim(1, -1), _groups(node))
        case "Einsum":
            xs, ws, out = Contract(str(node.attrs["equation"])).letters(x.ndim)
            batch = [xs.index(c) for c in ws if c in xs and c in out]
            inside = [xs.index(c) for c in ws if c in xs and c not in out]
            rest = [i for i in range(x.ndim) if i not in (*batch, *inside)]
            sizes = [int(np.prod([x.shape[i] for i in axes])) for axes in (batch, rest, inside)]
            return x.permute(*batch, *rest, *inside).reshape(sizes)
        case "KSLinear":
            a, d, _, c = shape
            x = x.mT if node.attrs.get("feature_major", False) else x
            return x.reshape(-1, a, c, d).permute(1, 3, 0, 2).reshape(a * d, -1, c)
    return x.reshape(1, -1, x.shape[-1])


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Features last, in groups."""
    return x.reshape(-1, groups, x.shape[-1] // groups).movedim(1, 0)


def _patches(x: Tensor, node: Node, shape: Sequence[int]) -> Tensor:
    """What the kernel of a convolution sees at each position, taps before channels."""
    from torch.nn import functional as F

    # Ints.
    strides, pads, dilations = (tuple(map(int, node.attrs[n])) for n in ("strides", "pads", "dilations"))  # type: ignore[arg-type]
    n, kernel, groups = len(strides), shape[2:], _groups(node)
    x = F.pad(x, [p for i in reversed(range(n)) for p in (pads[i], pads[i + n])])
    for i in range(n):
        reach = dilations[i] * (kernel[i] - 1) + 1
        x = x.unfold(2 + i, reach, strides[i])[..., :: dilations[i]]
    # (N, C, *positions, *taps) → (groups, N · positions, taps · C/groups)
    x = x.reshape(x.shape[0], groups, -1, *x.shape[2:]).movedim(2, -1).movedim(1, 0)
    return x.reshape(groups, -1, int(np.prod(kernel)) * shape[1])


def written(node: Node, y: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what a layer writes, ``(samples and positions, outputs)``, outputs as the rows of its `Layout`."""
    match node.op:
        case "Conv" | "ConvTranspose":
            y = y.movedim(1, -1)
        case "Einsum":
            contract = Contract(str(node.attrs["equation"]))
            named = [len(term.replace(".", "")) for term in contract.terms]
            _, ws, out = contract.letters(y.ndim - named[2] + named[0])
            own = [out.index(c) for c in ws if c in out]
            rest = [i for i in range(y.ndim) if i not in own]
            return y.permute(*rest, *own).reshape(-1, int(np.prod([y.shape[i] for i in own])))
        case "KSLinear":
            a, d, b, _ = shape
            y = y.mT if node.attrs.get("feature_major", False) else y
            return y.reshape(-1, a, b, d).permute(0, 1, 3, 2).reshape(-1, a * d * b)
    return y.reshape(-1, y.shape[-1])
