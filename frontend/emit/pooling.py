"""Order statistics whose attributes ONNX spells differently."""

from __future__ import annotations

from pathlift.frontend.emit.writer import EmissionSite, emits
from pathlift.ir import dims as D
from pathlift.ir.types import Ints


def ceil_mode_at(at: EmissionSite, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints) -> bool | None:
    """Return how to write ``ceil_mode``, so that ONNX Runtime believes the shape that its own kernels compute.

    Before opset 22, ONNX's shape inference counts a last window that would start in the end padding, and that every
    execution drops. Such a node is written without ``ceil_mode`` where that makes no other difference, else at 22.
    """
    n = len(kernel)
    spatial = (at.type(0).shape or ())[2:]
    rows = [
        (size, kernel[i], strides[i], pads[i], pads[i + n], dilations[i])
        for i, size in enumerate(spatial)
        if isinstance(size, int)
    ]
    dropped = [row for row in rows if D.pooled(*row, True) != D.windows(*row[:3], row[3] + row[4], row[5], True)]
    if at.opset >= 22 or not dropped:
        return True
    if len(rows) == n and all(D.pooled(*row, True) == D.pooled(*row, False) for row in rows):
        return None
    at.require(22)
    return True


@emits("MaxPool")
def max_pool(
    at: EmissionSite, x: str, *, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool
) -> None:  # fmt: skip
    """ONNX pads with −∞ too."""
    ceil = ceil_mode_at(at, kernel, strides, pads, dilations) if ceil_mode else None
    at.emit("MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil)


@emits("TopK")
def top_k(at: EmissionSite, x: str, *, axis: int, k: int, largest: bool) -> None:
    """The indices, which ONNX computes too, are nobody's."""
    indices = at.writer.fresh(f"{at.outputs[0]}_indices")
    at.emit("TopK", x, at.ints((k,), "k"), outputs=(at.outputs[0], indices), axis=axis, largest=largest)
