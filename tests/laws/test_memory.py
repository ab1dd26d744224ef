"""Peak memory of verbs that go through all weights: a few times the file's, however many temporaries a weight needs."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

import pathlift
from pathlift.testing.onnx_models import f32, info, model, node

WIDTHS = (512, 1536, 1536, 1536, 1000)
MEASURE = """
import ctypes, gc, re, sys
from pathlib import Path
import pathlift

def call(folder):
    a, b = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
    if sys.argv[1] == "canonicalize":
        pathlift.canonicalize(a, output=Path(folder) / "c.onnx", force=True)
    else:
        assert pathlift.compare(a, b, modulo=sys.argv[1].split(",")).equivalence.verdict == "equivalent"

def kilobytes(key):
    return int(re.search(rf"^{key}:\\s*(\\d+) kB$", Path("/proc/self/status").read_text(), re.M)[1])

call(sys.argv[2])  # imports whatever is needed
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
call(sys.argv[3])
print(1024 * (kilobytes("VmHWM") - before))
"""


def make(folder: Path, widths: tuple[int, ...]) -> int:
    """Write a network and a rescaled copy of it, and return the bytes of its weights."""
    rng, nodes, tensors = np.random.default_rng(0), [], []
    for i, (narrow, wide) in enumerate(pairwise(widths)):
        tensors.append(numpy_helper.from_array(f32(rng, wide, narrow), f"w{i}"))
        nodes += [node("Gemm", f"h{i} w{i}", f"s{i}", transB=1), node("Relu", f"s{i}", f"h{i + 1}")]
    ends = [info("h0", ("N", widths[0]))], [info(f"h{len(widths) - 1}", ("N", widths[-1]), TensorProto.FLOAT)]
    folder.mkdir()
    graph = pathlift.load(model(nodes, *ends, tensors))
    pathlift.save(graph, folder / "a.onnx")
    pathlift.save(pathlift.opt(graph, "random-rescale{seed=1}").graph, folder / "b.onnx")
    return sum(len(tensor.raw_data) for tensor in tensors)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    ("verb", "most"), [("canonicalize", 3.0), ("rescaling", 3.7), ("rescaling,permutation", 7.7)], ids=str
)
def test_the_peak_is_a_few_times_the_weights(verb: str, most: float, tmp_path: Path) -> None:
    make(tmp_path / "small", (8, 16, 8))
    size = make(tmp_path / "large", WIDTHS)
    arguments = [sys.executable, "-c", MEASURE, verb, str(tmp_path / "small"), str(tmp_path / "large")]
    rise = int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    assert rise / size < most
