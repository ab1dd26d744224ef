"""``pathlift ks fit --cluster``: the same file from any number of workers, and from none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pathlift
from pathlift.ir.builder import Builder
from pathlift.ir.graph import Graph
from pathlift.ir.work import in_turn
from pathlift.passes.kronecker.ks_fit import ApproximateLayers, Approximation

pytest.importorskip("distributed")

PROGRAM = """
import json, os, sys

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
if __name__ == "__main__":
    import numpy as np
    import pathlift

    told = []
    for cluster in (None, 1, 2):
        found = pathlift.ks_fit(
            "m.onnx", budget="flops=0.5,error=1", solver="als", steps=3, calib="data.npz", output=f"{cluster}.onnx",
            cluster=cluster, progress=lambda *call: told.append(call),
        )
    json.dump(told, sys.stdout)
"""


def network() -> Graph:
    rng, b = np.random.default_rng(0), Builder()
    h = b.input("x", ("N", 64))
    for i in range(3):
        weight = b.param(rng.standard_normal((64, 64)).astype(np.float32), f"w{i}")
        h = b.op("Relu", b.op("Gemm", h, weight, name=f"fc{i}"))
    return b.finish(h)


@pytest.mark.slow
def test_the_same_bits(tmp_path: Path) -> None:
    pathlift.save(network(), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((200, 64)).astype(np.float32))
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    files = [(tmp_path / f"{name}.onnx").read_bytes() for name in (None, 1, 2)]
    assert files[0] == files[1] == files[2]
    assert files[0].count(b"KSLinear") or "KSLinear" in str(pathlift.load(tmp_path / "None.onnx"))
    told = json.loads(done.stdout)
    assert [name for name, _, _ in told] == ["fc0", "fc1", "fc2"] * 3
    assert [number for _, number, _ in told[:3]] == [0, 1, 2]


def test_the_order_of_ends_changes_nothing() -> None:
    """A map that ends backwards, and is handed no graph."""
    sent = []

    def backwards(work, items, /):  # type: ignore[no-untyped-def]
        sent.extend(items)
        yield from reversed([(i, work(item)) for i, item in enumerate(sent)])

    fit = ApproximateLayers(patterns="(1,8,8,8)(8,8,8,1)").fit
    plain, found = fit(network(), each=in_turn), fit(network(), each=backwards)
    a, b = plain.witness, found.witness
    assert isinstance(a, Approximation)
    assert isinstance(b, Approximation)
    assert list(a.layers) == list(b.layers) == ["fc0", "fc1", "fc2"]
    for key, layer in a.layers.items():
        assert all(map(np.array_equal, layer.factors, b.layers[key].factors))
    assert str(plain.graph) == str(found.graph)
    assert not any(isinstance(value, Graph) for item in sent for value in vars(item).values())
