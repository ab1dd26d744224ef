"""Arithmetic on dimensions that may be symbolic or unknown: unknown in, unknown out, never a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from pathlift.ir.errors import GraphError
from pathlift.ir.types import Dim, Dims, Ints, TensorType


def broadcast(*shapes: Dims) -> Dims:
    """Return the numpy broadcast of `shapes`; a symbol against an extent > 1 gives the extent.

    Raises
    ------
    GraphError
        If two known extents differ and neither is 1.
    """
    first = shapes[0]
    if None not in first and all(s == first for s in shapes):
        return first
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


def axis(index: int, rank: int) -> int:
    """Return a non-negative axis; `index` may count from the end.

    Raises
    ------
    GraphError
        If there is no such axis.
    """
    if not -rank <= index < rank:
        raise GraphError("0536", f"axis {index} is out of range for {rank} axes")
    return index % rank


def check_windows(n: int, pads: Sequence[int], *positive: Sequence[int]) -> None:
    """Check a window's attributes over `n` axes: `pads` at both ends, and kernel, strides, dilations ≥ 1.

    Raises
    ------
    GraphError
        If one has the wrong length, or an impossible value.
    """
    if len(pads) != 2 * n or any(len(p) != n or min(p, default=1) < 1 for p in positive) or min(pads, default=0) < 0:
        given = ", ".join(str(list(p)) for p in (pads, *positive))
        raise GraphError("0530", f"the attributes {given} are no windows over {n} axes")


def unify(a: Dim, b: Dim) -> tuple[bool, Dim]:
    """Whether two claims about one extent agree, and the more precise of them."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b, a
    if isinstance(a, int) or b is None:
        return True, a
    return True, b


def alike(x: Dims, y: Dims) -> Dims:
    """Return the one shape that two claims are about: of each extent, the more precise claim.

    Raises
    ------
    GraphError
        If they contradict each other; an extent of 1 is no exception.
    """
    pairs = list(zip(x, y, strict=False))
    if len(x) != len(y) or not all(unify(a, b)[0] for a, b in pairs):
        raise GraphError("0547", f"shapes {list(x)} and {list(y)} must be one, without broadcasting")
    return tuple(unify(b, a)[1] for a, b in pairs)


def filled(known: TensorType, declared: TensorType) -> TensorType | None:
    """Return a type whose gaps another one fills; ``None`` if the two contradict each other."""
    dtype = declared.dtype if known.dtype is None else known.dtype
    if declared.dtype not in (None, dtype):
        return None
    if known.shape is None or declared.shape is None:
        return TensorType(dtype, declared.shape if known.shape is None else known.shape)
    if len(known.shape) != len(declared.shape):
        return None
    pairs = list(zip(known.shape, declared.shape, strict=True))
    agree = all(unify(a, b)[0] for a, b in pairs)
    return TensorType(dtype, tuple(b if a is None else a for a, b in pairs)) if agree else None


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


Windows = tuple[int, int, int, int, int, int]  # size, kernel, stride, begin, end, dilation: along one axis


def known_windows(sizes: Sequence[Dim], kernel: Ints, strides: Ints, pads: Ints, dilations: Ints) -> list[Windows]:
    """Return the windows along each axis of known extent."""
    rows = zip(sizes, kernel, strides, pads, pads[len(kernel) :], dilations, strict=False)
    return [(size, *rest) for size, *rest in rows if isinstance(size, int)]


def ceil_adds(windows_: Windows) -> bool:
    """Whether `ceil_mode` makes one window more."""
    return pooled(*windows_, True) != pooled(*windows_, False)


def ceil_overshoots(windows_: Windows) -> bool:
    """Whether `ceil_mode` asks for a last window in the end padding, which no execution has."""
    size, kernel, stride, begin, end, dilation = windows_
    return pooled(*windows_, True) != windows(size, kernel, stride, begin + end, dilation, True)


def reshaped(dims: Dims, target: Sequence[int]) -> Dims:
    """Resolve an ONNX Reshape target (0 copies, −1 infers) against `dims`, cancelling symbols on both sides.

    Raises
    ------
    GraphError
        If the element counts cannot agree.
    """
    if any(t < -1 for t in target) or list(target).count(-1) > 1:
        raise GraphError("0522", f"cannot reshape {list(dims)} into {list(target)}")
    out: list[Dim] = [dims[i] if t == 0 and i < len(dims) else t for i, t in enumerate(target)]
    have, want = [d for d in dims if d is not None], [d for d in out if d is not None and d != -1]
    total = prod(d for d in have if isinstance(d, int))
    fixed = prod(d for d in want if isinstance(d, int))
    symbols = Counter(d for d in have if isinstance(d, str))
    symbols.subtract(d for d in want if isinstance(d, str))
    # Symbols that cancel may be 0 themselves, where a 0 stands on one side.
    symbolic = None in dims or None in out or any(symbols.values()) or (bool(symbols) and 0 in (total, fixed))
    if -1 not in out:
        if not symbolic and total != fixed:
            raise GraphError("0522", f"cannot reshape {list(dims)} into {list(target)}")
        return tuple(out)
    inferred: Dim = None
    if not symbolic:
        if not fixed or total % fixed:
            raise GraphError("0522", f"cannot reshape {list(dims)} into {list(target)}")
        inferred = total // fixed
    elif None not in dims and None not in out and sum(symbols.values()) == 1 and total == fixed != 0:
        inferred = next((s for s, n in symbols.items() if n == 1), None) if min(symbols.values()) >= 0 else None
    out[out.index(-1)] = inferred
    return tuple(out)


def sliced(size: Dim, start: int, end: int, step: int) -> Dim:
    """Number of values that ``[start:end:step]`` picks along an axis of `size`."""
    if not isinstance(size, int):
        if start == end and step > 0:
            return 0
        return size if step == 1 and start == 0 and end >= 2**31 - 1 else None
    return len(picked(size, start, end, step))


def picked(size: int, start: int, end: int, step: int) -> range:
    """Return the positions that ``[start:end:step]`` picks along an axis of `size`.

    As ONNX defines it: negative indices count from the end, then are clamped to ``[0, size]`` going forward, and to
    ``[0, size − 1]`` (start) and ``[−1, size − 1]`` (end) going backward. numpy differs where a backward slice starts
    before the axis does. Going backward, ONNX Runtime reads the largest integers as the open end, and so do we.
    """
    if not size:
        return range(0)
    if step < 0 and end in (2**31 - 1, 2**63 - 1):
        end = -size - 1
    start, end = (i + size if i < 0 else i for i in (start, end))
    if step > 0:
        return range(min(max(start, 0), size), min(max(end, 0), size), step)
    return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)
