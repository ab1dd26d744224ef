"""Kronecker-sparse layers from PyTorch to ONNX Runtime: ``python examples/kronecker_sparse.py``.

The matrices of a perceptron are (here: exactly) products of Kronecker-sparse factors, as butterfly transforms are, but
it does not know. `KSLinear.from_linear` finds the factors; both networks are exported, and ONNX Runtime runs both files
on the same inputs. Needs ``pip install 'pathlift[cpu,export]'``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

import pathlift
from pathlift.nn import KSLinear

UP = "(1,64,32,32)(32,32,32,1)"  # 1024 → 2048: factors as they multiply
DOWN = "(32,32,32,1)(1,32,64,32)"
SAMPLES = 1024


def dense(patterns: str) -> nn.Linear:
    """A dense layer with the function of a random Kronecker-sparse one."""
    hidden = KSLinear(patterns)
    layer = nn.Linear(hidden.in_features, hidden.out_features)
    with torch.no_grad():
        layer.weight.copy_(hidden(torch.eye(hidden.in_features)).T - hidden.bias[:, None])
    return layer


def main() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(dense(UP), nn.ReLU(), dense(DOWN))
    sparse = nn.Sequential(KSLinear.from_linear(plain[0], UP), nn.ReLU(), KSLinear.from_linear(plain[2], DOWN))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "dense.onnx", Path(folder) / "kronecker_sparse.onnx"]
        for module, file in zip((plain, sparse), files, strict=True):
            pathlift.export(module, shape=(2, 1024), output=file)
        weights = [sum(p.numel() for p in module.parameters()) for module in (plain, sparse)]
        found = pathlift.bench(*files, shape={"N": SAMPLES}, runs=20).to_json()["models"]
        print(f"{'network':<20}{'weights':>9}{'KiB':>8}{'ms':>8}{'speed-up':>10}{'difference':>12}")
        for row, file, count in zip(found, files, weights, strict=True):
            figures = f"{1e3 * row['median_s']:>8.2f}{row['speedup']:>9.1f}×{row['relative_difference']:>12.0e}"
            print(f"{file.stem:<20}{count:>9}{file.stat().st_size / 1024:>8.0f}{figures}")


if __name__ == "__main__":
    main()
