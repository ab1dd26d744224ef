"""Arithmetic on dimensions that may be symbolic or unknown: unknown in, unknown out, never a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from pathlift.ir.errors import GraphError
from pathlift.ir.types import Dim, Dims


def broadcast(*shapes: Dims) -> Dims:
    """Return the numpy broadcast of `shapes`; a symbol against an extent > 1 gives the extent.

    Raises
    ------
    GraphError
        If two known extents differ and neither is 1.
    """
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(_broadcast_dim([s[i] for s in padded], shapes) for i in range(rank))


def _broadcast_dim(dims: Sequence[Dim], shapes: Sequence[Dims]) -> Dim:
    distinct = {d for d in dims if d != 1}
    extents = {d for d in distinct if isinstance(d, int)}
    if len(extents) > 1:
        raise GraphError("0520", f"shapes {', '.join(map(str, shapes))} do not broadcast")
    if extents:
        return extents.pop()
    if not distinct:
        return 1
    return distinct.pop() if len(distinct) == 1 else None


def unify(a: Dim, b: Dim) -> tuple[bool, Dim]:
    """Whether two claims about one extent agree, and the more precise of them."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b, a
    if isinstance(a, int) or b is None:
        return True, a
    return True, b


def windows(size: Dim, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool = False) -> Dim:
    """Number of windows along one axis of a convolution or pooling; `pad` is the sum of both sides.

    ONNX and PyTorch both drop a last `ceil_mode` window that would start in the end padding; callers handle that
    (it needs the begin and end pads apart), see `pooled`.
    """
    if not isinstance(size, int):
        return size if kernel == 1 and stride == 1 and pad == 0 else None
    span = size + pad - dilation * (kernel - 1) - 1
    if span < 0:
        raise GraphError("0521", f"a window of extent {dilation * (kernel - 1) + 1} does not fit {size + pad} values")
    return (-(-span // stride) if ceil_mode else span // stride) + 1


def pooled(size: Dim, kernel: int, stride: int, begin: int, end: int, dilation: int, ceil_mode: bool) -> Dim:
    """Like `windows`, without a last `ceil_mode` window that starts beyond the input and its begin padding."""
    count = windows(size, kernel, stride, begin + end, dilation, ceil_mode)
    if ceil_mode and isinstance(count, int) and isinstance(size, int) and (count - 1) * stride >= size + begin:
        count -= 1
    return count


def reshaped(dims: Dims, target: Sequence[int]) -> Dims:
    """Resolve an ONNX Reshape target (0 copies, −1 infers) against `dims`, cancelling symbols on both sides.

    Raises
    ------
    GraphError
        If the element counts cannot agree.
    """
    out: list[Dim] = [dims[i] if t == 0 and i < len(dims) else t for i, t in enumerate(target)]
    have, want = [d for d in dims if d is not None], [d for d in out if d is not None and d != -1]
    total = prod(d for d in have if isinstance(d, int))
    fixed = prod(d for d in want if isinstance(d, int))
    symbols = Counter(d for d in have if isinstance(d, str))
    symbols.subtract(d for d in want if isinstance(d, str))
    symbolic = None in dims or None in out or any(symbols.values())
    if -1 not in out:
        if not symbolic and total != fixed:
            raise GraphError("0522", f"cannot reshape {list(dims)} into {list(target)}")
        return tuple(out)
    inferred: Dim = None
    if not symbolic:
        if (fixed == 0 and total != 0) or (fixed and total % fixed):
            raise GraphError("0522", f"cannot reshape {list(dims)} into {list(target)}")
        inferred = total // fixed if fixed else 0
    elif None not in dims and None not in out and sum(symbols.values()) == 1 and total == fixed:
        inferred = next((s for s, n in symbols.items() if n == 1), None) if min(symbols.values()) >= 0 else None
    out[out.index(-1)] = inferred
    return tuple(out)


def sliced(size: Dim, start: int, end: int, step: int) -> Dim:
    """Extent of ``range(start, end, step)`` clamped to an axis of `size`, with ONNX's negative indices."""
    if not isinstance(size, int):
        return size if step == 1 and start == 0 and end >= 2**31 - 1 else None
    return len(range(*slice(start, None if step < 0 and end < -size else end, step).indices(size)))
