"""Cross-layer equalization and Wanda as onnxsim has them, in an interpreter of its own that need not have pathlift."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from pathlift.frontend.load import load
from pathlift.frontend.save import to_onnx
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array

_EQUALIZE = """
import onnx, onnxsim, sys
for file in sys.argv[1:]:
    onnx.save(onnxsim.cross_layer_equalize(file), file)
"""
_WANDA = """
import numpy, onnx, onnxsim, sys
data, sparsities, *files = sys.argv[1:]
for file, sparsity in zip(files, sparsities.split(",")):
    onnx.save(onnxsim.apply_wanda_pruning(file, [dict(numpy.load(data))], sparsity=float(sparsity)), file)
"""


def equalized(python: str, graphs: Sequence[Graph]) -> list[Graph]:
    """Return networks after cross-layer equalization, by an interpreter that has onnxsim."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(python, _EQUALIZE, [], graphs, Path(folder))


def wanda(python: str, graph: Graph, data: Mapping[str, Array], sparsities: Sequence[float]) -> list[Graph]:
    """Return a network as Wanda prunes it on the data, for each share of an output's weights that goes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npz"
        np.savez(file, **dict(data))  # type: ignore[arg-type]  # arrays by name: NumPy reads `allow_pickle` into it
        shares = ",".join(map(str, sparsities))
        return _run(python, _WANDA, [str(file), shares], [graph] * len(sparsities), Path(folder))


def _run(python: str, script: str, arguments: list[str], graphs: Sequence[Graph], folder: Path) -> list[Graph]:
    files = [folder / f"{i}.onnx" for i in range(len(graphs))]
    for file, graph in zip(files, graphs, strict=True):
        onnx.save(to_onnx(graph), file)
    subprocess.run([python, "-c", script, *arguments, *map(str, files)], check=True, capture_output=True)
    return [load(file) for file in files]
