"""Make smaller copies of digits.onnx, and files of samples, in the current folder: ``python examples/smaller_digits.py``.

`int8.onnx` is what ONNX Runtime's static quantization makes of it, `pruned.onnx` lacks the half of its weights that is
smallest. `digits.npz` holds the training images, `test.npz` twenty that were held out, with their labels. Needs
scikit-learn, whose bundled digits these are.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

HERE = Path(__file__).parent
CALIBRATED, TESTED, PRUNED = 200, 20, 0.5


class Images(CalibrationDataReader):
    """Images one by one, as quantization reads them."""

    def __init__(self, images: np.ndarray) -> None:
        self.feeds: Iterator[dict[str, np.ndarray]] = iter({"image": image[None]} for image in images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def prune(model: onnx.ModelProto, share: float) -> None:
    """Set this share of the weights of convolutions and linear layers to zero, the smallest of all together."""
    weights = [w for w in model.graph.initializer if len(w.dims) > 1]
    sizes = np.concatenate([np.abs(numpy_helper.to_array(w)).ravel() for w in weights])
    least = np.quantile(sizes, share)
    for w in weights:
        values = numpy_helper.to_array(w)
        w.CopyFrom(numpy_helper.from_array(np.where(np.abs(values) > least, values, 0).astype(values.dtype), w.name))


def main() -> None:
    parts = runpy.run_path(str(HERE / "train_digits.py"))["digits"]()
    train, test, _, labels = (part.numpy() for part in parts)
    np.savez("digits.npz", image=train)
    np.savez("test.npz", image=test[:TESTED], y=labels[:TESTED])
    model = onnx.load(HERE / "digits.onnx")
    prune(model, PRUNED)
    onnx.save(model, "pruned.onnx")
    quantize_static(
        HERE / "digits.onnx", "int8.onnx", Images(train[:CALIBRATED]),
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
    )  # fmt: skip
    print("wrote int8.onnx, pruned.onnx, digits.npz, test.npz")


if __name__ == "__main__":
    main()
