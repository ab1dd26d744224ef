"""Random nodes of every operator, read, executed here and written again: what ONNX Runtime computes, or carried."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import numpy as np
import onnx
import onnx_ir
import pytest

from pathlift.frontend.load import load
from pathlift.frontend.lower import lower
from pathlift.frontend.lower.registry import LOWERINGS
from pathlift.frontend.read import read_model
from pathlift.frontend.save import to_onnx
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.errors import GraphError, InvalidModelError, UnsupportedError
from pathlift.ir.types import Array
from pathlift.testing import onnxruntime_session, op_names
from pathlift.testing.random_nodes import MAKERS, attributes_of, opsets, random_model

# Made otherwise: from constants, or of two nodes or graphs.
ELSEWHERE = {"ConstantOfShape", "DequantizeLinear", "If", "SplitToSequence", "ConcatFromSequence"}
ELSEWHERE |= {f"Sequence{kind}" for kind in ("At", "Construct", "Empty", "Erase", "Insert", "Length")}
# Attributes of operators before opset 7.
OLD = {"consumed_inputs", "broadcast", "is_test"}


def close(found: Array, wanted: Array) -> bool:
    if found.shape != wanted.shape:
        return False
    scale = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
    return np.allclose(found.astype(np.float64), wanted.astype(np.float64), 2e-4, 2e-5 * scale, equal_nan=True)


def same(model: onnx.ModelProto, found: list[Array], wanted: list[Array]) -> bool:
    """Whether results agree; what a TopK returns in an order that ONNX leaves open does in any."""
    node = model.graph.node[0]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "TopK" and not attributes.get("sorted", 1):
        found, wanted = ([np.sort(x, axis=attributes.get("axis", -1)) for x in xs[:1]] for xs in (found, wanted))
    return all(close(x, y) for x, y in zip(found, wanted, strict=True))


def compare(model: onnx.ModelProto, feeds: dict[str, Array]) -> str:
    """Return how a model fared, raise if it became another function."""
    try:
        wanted = onnxruntime_session(model.SerializeToString()).run(None, feeds)
    except Exception:  # whatever ONNX Runtime does not take
        return "refused"
    graph = load(model)
    carried = "Opaque" in op_names(graph)
    if not carried:
        numeric = Numeric()
        try:
            found = run(graph, numeric, {name: numeric.tensor(x) for name, x in feeds.items()})
        except GraphError as error:  # an extent that becomes known, and too small for a window
            return "refused" if error.code == "PL0521" else "wrong"
        if not same(model, [y.numpy() for y in found.values()], wanted):
            return "wrong"
    try:
        written = to_onnx(graph)
    except UnsupportedError as error:
        return "old" if carried and error.code == "PL0372" else "wrong"
    again = onnxruntime_session(written.SerializeToString()).run(None, feeds)
    return ("carried" if carried else "read") if same(model, again, wanted) else "wrong"


def sweep(op_type: str, seeds: range) -> Counter[str]:
    fared: Counter[str] = Counter()
    for opset in opsets(op_type):
        for seed in seeds:
            model, feeds = random_model(op_type, opset, np.random.default_rng([seed, opset]))
            try:
                outcome = compare(model, feeds)
            except Exception as error:
                raise AssertionError(f"opset {opset}, seed {seed}: {model.graph.node[0]}") from error
            assert outcome != "wrong", f"opset {opset}, seed {seed}: {model.graph.node[0]}"
            fared[outcome] += 1
    return fared


def test_every_operator_has_random_nodes() -> None:
    assert set(MAKERS) == {name for name in LOWERINGS if "." not in name} - ELSEWHERE


@pytest.mark.parametrize("op_type", MAKERS)
def test_every_attribute_is_among_the_random_ones(op_type: str) -> None:
    given = {
        name
        for opset in opsets(op_type)
        for seed in range(50)
        for name in (
            a.name for a in random_model(op_type, opset, np.random.default_rng(seed))[0].graph.node[0].attribute
        )
    }
    assert given == attributes_of(op_type) - OLD


@pytest.mark.parametrize("op_type", MAKERS)
def test_the_same_function(op_type: str) -> None:
    sweep(op_type, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("op_type", MAKERS)
def test_the_same_function_of_many(op_type: str) -> None:
    fared = sweep(op_type, range(2, 60))
    assert fared["read"] >= fared.total() / 20, fared


def read_first(op_type: str) -> onnx_ir.Model:
    """Return a model of one node that is not carried."""
    for seed in range(100):
        model, _ = random_model(op_type, opsets(op_type)[-1], np.random.default_rng(seed))
        with suppress(InvalidModelError):
            if "Opaque" not in op_names(load(model)):
                return read_model(model).model
    raise AssertionError(op_type)


@pytest.mark.parametrize("op_type", MAKERS)
def test_an_attribute_that_nothing_reads_is_not_passed_over(op_type: str) -> None:
    model = read_first(op_type)
    (node,) = model.graph
    node.attributes["novel"] = onnx_ir.AttrInt64("novel", 1)
    graph = lower(model)
    carried = [graph[key].attrs["reason"] for key in graph if graph[key].op == "Opaque"]
    assert carried == ["no path-lifting semantics for its attribute novel"]
