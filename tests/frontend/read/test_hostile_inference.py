"""Models that ONNX's own shape inference dies of, or never ends on: it is not asked about whole models."""

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.testing.onnx_models import info, model, node

BOOL = TensorProto.BOOL


CONDITION = info("c", (), BOOL)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "double",
    [
        lambda i: node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0),
        lambda i: node("Gather", f"v{i} v{i}", f"v{i + 1}"),
        lambda i: branch_node(i),
    ],
)
def test_shapes_that_double(double):
    start = node("Constant", "", "v0", value=numpy_helper.from_array(np.arange(8)))
    nodes = [start, *(double(i) for i in range(60))]
    loads_or_refuses(model(nodes, [CONDITION], [info("v60", None, TensorProto.INT64)]))


def branch_node(i):
    body = helper.make_graph(
        [node("Concat", f"v{i} v{i}", f"o{i}", axis=0)], "g", [], [info(f"o{i}", None, TensorProto.INT64)]
    )
    return node("If", "c", f"v{i + 1}", then_branch=body, else_branch=body)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hostile",
    [
        lambda: [node("Split", "x", "a b", axis=7, num_outputs=2), node("Add", "a b", "y")],
        lambda: [node("Split", "k", "a b", axis=0, num_outputs=2), node("Add", "a b", "y")],
        lambda: [node("EyeLike", "", "y")],
        lambda: [node("GatherND", "x big", "y", batch_dims=-3)],
        lambda: [node("Range", "zero big one", "r"), node("Cast", "r", "y", to=TensorProto.FLOAT)],
        lambda: [node("ConstantOfShape", "big1", "y")],
    ],
    ids=["split-axis", "split-scalar", "eye", "gather", "range", "constant-of-shape"],
)
def test_nodes_that_end_the_process(hostile):
    constants = {"k": np.float32(1), "zero": np.int64(0), "one": np.int64(1), "big": np.int64(2**40)}
    constants["big1"] = np.array([2**40])
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    loads_or_refuses(model(hostile(), [info("x")], [info("y", None)], tensors))


def loads_or_refuses(made):
    """Load in another process, which must end by itself, in little memory."""
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from pathlift.frontend.load import load
from pathlift.ir.errors import PathliftError
try:
    load(sys.stdin.buffer.read())
except PathliftError:
    pass
"""
    run = subprocess.run(
        [sys.executable, "-c", script], input=made.SerializeToString(), capture_output=True, timeout=50, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
