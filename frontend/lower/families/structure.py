"""Ops that rearrange whole tensors: reshaping, transposing, repeating, joining."""

from __future__ import annotations

from collections.abc import Sequence

from pathlift.frontend.lower.node import OnnxNode, Operand
from pathlift.frontend.lower.registry import GIVE_SHAPE, Refusal, lowering
from pathlift.ir.types import Dim, Dims, Ints


def reshape_target(dims: Sequence[Dim], kept: int = 1) -> Ints:
    """Return a Reshape target for these extents: 0 for an unknown one among the first `kept`, −1 for one elsewhere.

    Parameters
    ----------
    dims
        The wanted shape.
    kept
        How many leading axes are the input's own.
    """
    if any(d == 0 for d in dims[kept:]):
        raise Refusal("an empty tensor")
    target = [d if isinstance(d, int) else 0 if i < kept else -1 for i, d in enumerate(dims)]
    if target.count(-1) > 1:
        raise Refusal("more than one unknown extent", GIVE_SHAPE)
    return tuple(target)


@lowering("Reshape", takes="movable")
def reshape(node: OnnxNode) -> Operand:
    """A target that is constant, or known but for one extent."""
    x, target = node.input(0), node.extents(1)
    if target is None:
        raise Refusal("its shape is computed from data")
    if node.integer("allowzero") and 0 in target:
        raise Refusal("a literal extent of zero")
    dims = node.type(x).shape or ()
    known = [_target(d, dims[i] if i < len(dims) else None) for i, d in enumerate(target)]
    if known.count(-1) > 1:
        raise Refusal("more than one unknown extent", GIVE_SHAPE)
    return node.result("Reshape", x, shape=tuple(known))


def _target(wanted: Dim, own: Dim) -> int:
    """Return an entry of a Reshape target: a number, or 0 where the symbol is the input's own, or −1."""
    if isinstance(wanted, int):
        return wanted
    return 0 if wanted is not None and wanted == own else -1


@lowering("Flatten", takes="movable")
def flatten(node: OnnxNode) -> Operand:
    """Two axes."""
    return node.result("Flatten", node.input(0), axis=node.integer("axis", 1))


@lowering("Transpose", takes="movable")
def transpose(node: OnnxNode) -> Operand:
    """A permutation; the axes reversed, if none is given."""
    x = node.input(0)
    perm = node.integers("perm") if node.has("perm") else tuple(reversed(range(len(node.dims(x)))))
    return node.result("Transpose", x, perm=perm)


@lowering("Squeeze", takes="movable")
def squeeze(node: OnnxNode) -> Operand:
    """Drop the named axes, or all of extent 1."""
    x, axes = node.input(0), node.axes(1)
    if axes is None:
        dims = node.dims(x)
        if not all(isinstance(d, int) for d in dims):
            raise Refusal("which axes have extent 1 is not known", GIVE_SHAPE)
        axes = tuple(i for i, d in enumerate(dims) if d == 1)
    elif not axes:
        raise Refusal("an empty list of axes, which runtimes read in two ways")
    return node.result("Squeeze", x, axes=axes)


@lowering("Unsqueeze", takes="movable")
def unsqueeze(node: OnnxNode) -> Operand:
    """New axes of extent 1."""
    axes = node.axes(1)
    if axes is None:
        raise Refusal("its axes are left out")
    return node.result("Unsqueeze", node.input(0), axes=axes)


@lowering("Concat", takes="movable")
def concat(node: OnnxNode) -> Operand:
    """Join along an axis."""
    operands, axis = [x for x in node.operands if x is not None], node.integer("axis")
    return operands[0] if len(operands) == 1 else node.result("Concat", *operands, axis=axis)


@lowering("Tile", takes="movable")
def tile(node: OnnxNode) -> Operand:
    """Repeat along every axis."""
    return node.result("Tile", node.input(0), repeats=node.settled(1, "its repeats are computed from data"))


@lowering("DepthToSpace", takes="movable")
def depth_to_space(node: OnnxNode) -> Operand:
    """Blocks of channels become blocks of pixels."""
    x, block = node.input(0), node.integer("blocksize", 1)
    n, c, h, w = _image(node, x)
    if c % block**2:
        raise Refusal(f"{c} channels in blocks of {block}x{block}")
    rest = c // block**2
    if node.choice("mode", "DCR", "CRD") == "DCR":
        return _regroup(node, x, (n, block, block, rest, h, w), (0, 3, 4, 1, 5, 2), (n, rest, h * block, w * block))
    return _regroup(node, x, (n, rest, block, block, h, w), (0, 1, 4, 2, 5, 3), (n, rest, h * block, w * block))


@lowering("SpaceToDepth", takes="movable")
def space_to_depth(node: OnnxNode) -> Operand:
    """Blocks of pixels become channels."""
    x, block = node.input(0), node.integer("blocksize", 1)
    n, c, h, w = _image(node, x)
    if h % block or w % block:
        raise Refusal(f"{h}x{w} pixels in blocks of {block}x{block}")
    h, w = h // block, w // block
    order = (3, 5, 1) if node.choice("mode", "DCR", "CRD") == "DCR" else (1, 3, 5)
    return _regroup(node, x, (n, c, h, block, w, block), (0, *order, 2, 4), (n, c * block**2, h, w))


def _image(node: OnnxNode, x: Operand) -> tuple[Dim, int, int, int]:
    dims = node.dims(x)
    if len(dims) != 4:
        raise Refusal(f"an input of {len(dims)} axes")
    n, c, h, w = dims
    if not isinstance(c, int) or not isinstance(h, int) or not isinstance(w, int) or 0 in dims:
        raise Refusal("an unknown extent other than the batch", GIVE_SHAPE)
    return n, c, h, w


def _regroup(node: OnnxNode, x: Operand, split: Dims, perm: Ints, joined: Dims) -> Operand:
    y = node.emit("Transpose", node.emit("Reshape", x, shape=reshape_target(split)), perm=perm)
    return node.result("Reshape", y, shape=reshape_target(joined))
