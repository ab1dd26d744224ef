"""Models that ONNX's own shape inference dies of, or never ends on: it is not asked about whole models."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathlift.testing.onnx_models import info, model, node

BOOL = TensorProto.BOOL


CONDITION = info("c", (), BOOL)


@pytest.mark.timeout(120)
def test_shapes_that_double():
    doubles = [
        lambda i: node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0),
        lambda i: node("Gather", f"v{i} v{i}", f"v{i + 1}"),
        branch_node,
    ]
    start = node("Constant", "", "v0", value=numpy_helper.from_array(np.arange(8)))
    last = info("v60", None, TensorProto.INT64)
    load_or_refuse([model([start, *map(double, range(60))], [CONDITION], [last]) for double in doubles])


def branch_node(i):
    body = helper.make_graph(
        [node("Concat", f"v{i} v{i}", f"o{i}", axis=0)], "g", [], [info(f"o{i}", None, TensorProto.INT64)]
    )
    return node("If", "c", f"v{i + 1}", then_branch=body, else_branch=body)


@pytest.mark.timeout(120)
def test_nodes_that_end_the_process():
    hostile = [
        [node("Split", "x", "a b", axis=7, num_outputs=2), node("Add", "a b", "y")],
        [node("Split", "k", "a b", axis=0, num_outputs=2), node("Add", "a b", "y")],
        [node("EyeLike", "", "y")],
        [node("GatherND", "x big", "y", batch_dims=-3)],
        [node("Range", "zero big one", "r"), node("Cast", "r", "y", to=TensorProto.FLOAT)],
        [node("ConstantOfShape", "big1", "y")],
    ]
    constants = {"k": np.float32(1), "zero": np.int64(0), "one": np.int64(1), "big": np.int64(2**40)}
    constants["big1"] = np.array([2**40])
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    load_or_refuse([model(nodes, [info("x")], [info("y", None)], tensors) for nodes in hostile])


def load_or_refuse(made):
    """Load all in another process, which must end by itself, in little memory; starting it is what takes long."""
    script = """
import pickle, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from pathlift.frontend.load import load
from pathlift.ir.errors import PathliftError
for i, model in enumerate(pickle.load(sys.stdin.buffer)):
    print("model", i, file=sys.stderr, flush=True)
    try:
        load(model)
    except PathliftError:
        pass
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps([m.SerializeToString() for m in made]),
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
