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
    known = D.known_windows((at.type(0).shape or ())[2:], kernel, strides, pads, dilations)
    if at.opset >= 22 or not any(map(D.ceil_overshoots, known)):
        return True
    if len(known) == len(kernel) and not any(map(D.ceil_adds, known)):
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
