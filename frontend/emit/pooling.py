"""Order statistics whose attributes ONNX spells differently."""

from __future__ import annotations

from pathlift.frontend.emit.writer import Site, emits
from pathlift.ir.ops.registry import Ints


@emits("MaxPool")
def max_pool(
    at: Site, x: str, *, kernel: Ints, strides: Ints, pads: Ints, dilations: Ints, ceil_mode: bool
) -> None:  # fmt: skip
    """ONNX pads with −∞ too."""
    at.emit(
        "MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads, dilations=dilations, ceil_mode=ceil_mode or None
    )


@emits("TopK")
def top_k(at: Site, x: str, *, axis: int, k: int, largest: bool) -> None:
    """The indices, which ONNX computes too, are nobody's."""
    indices = at.writer.fresh(f"{at.outputs[0]}_indices")
    at.emit("TopK", x, at.ints((k,), "k"), outputs=(at.outputs[0], indices), axis=axis, largest=largest)
