"""Recording: the tape computes what execution computes, its parameters are what the file means, the rest is refused."""

from __future__ import annotations

from fractions import Fraction
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from onnx import helper

from pathlift.frontend.load import load
from pathlift.ir import dims as D
from pathlift.ir.algebras.interpret import run
from pathlift.ir.algebras.numeric import Numeric
from pathlift.ir.builder import Builder
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import Nonlinear
from pathlift.ir.primitives.views import Pad
from pathlift.ir.programs import parts
from pathlift.ir.programs.onnx import PROGRAMS
from pathlift.ir.types import Param
from pathlift.passes.fields.weight import Weight
from pathlift.passes.tape.affine import Constant, Moved, Scaled, Shifted, Weighted
from pathlift.passes.tape.record import Recorder, Signal, coefficients, input_shapes, record
from pathlift.passes.tape.steps import Bilinear, Within
from pathlift.testing.carried import TABLE, carried, reference
from pathlift.testing.samples import sample, samples
from pathlift.testing.strategies import graphs

LAW: dict[str, Any] = {
    "deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)
}  # fmt: skip


def check_same_as_execution(graph: Graph, seed: int, *, exact: bool = True) -> None:
    tape = record(graph, input_shapes(graph))
    rng = np.random.default_rng(seed)
    feeds = [torch.from_numpy(rng.standard_normal(shape)) for shape in tape.inputs.values()]
    values = tape.run(feeds)
    assert [tuple(v.shape) for v in values] == tape.shapes
    expected = run(graph, Numeric(), dict(zip(tape.inputs, feeds, strict=True)))
    exact = exact and not any(isinstance(step, Within) for step in tape.steps)  # a program, and its theorems
    off = 1e-5 if any(graph[key].op == "Opaque" for key in graph) else 1e-12  # which ONNX Runtime has in float32
    exact = exact and off < 1e-5
    for name, y in expected.items():
        found = values[tape.outputs[name]]
        assert torch.equal(found, y) or (not exact and torch.allclose(found, y, rtol=off, atol=off))


@settings(max_examples=150, **LAW)
@given(graphs(max_nodes=7), st.integers(0, 2**16))
def test_a_tape_computes_what_execution_computes(graph: Graph, seed: int) -> None:
    note(str(graph))
    try:
        record(graph, input_shapes(graph))
    except UnsupportedError:
        assume(False)
    # x / c is recorded as a product with 1 / c, which is rounded.
    check_same_as_execution(graph, seed, exact=not any(graph[key].op == "Div" for key in graph))


@pytest.mark.parametrize("name", samples())
def test_a_sample_is_recorded_or_refused(name: str) -> None:
    graph = sample(name)
    try:
        record(graph, input_shapes(graph))
    except UnsupportedError:
        return
    check_same_as_execution(graph, 0, exact="Div" not in name)


def test_nobody_multiplies_by_the_number_of_a_value() -> None:
    recorder = Recorder({"x": (2,), "y": (2,)})
    with pytest.raises(UnsupportedError, match="PL0311"):
        recorder.scale(Signal(0), Signal(1))


def test_scales_of_batch_norms_have_their_roundings() -> None:
    b = Builder()
    x = b.input("x", (1, 2, 3))
    params = {"g": [0.3, -1.7], "b": [0.1, 0.2], "m": [0.7, 1e4], "v": [0.9, 3.0]}
    y = b.op("BatchNormalization", x, *(b.param(np.array(v, np.float32), k) for k, v in params.items()), epsilon=1e-5)
    tape = record(b.finish(y), {"x": (1, 2, 3)})
    scaled, shifted = tape.steps
    assert isinstance(scaled, Scaled)
    assert isinstance(shifted, Shifted)
    assert scaled.factor.error is not None
    assert shifted.shift.error is not None
    g, beta, mean, var = ([Fraction(float(np.float32(v))) for v in params[k]] for k in params)
    for i in range(2):
        s = scaled.factor.values.reshape(-1)[i].item()
        error = Fraction(scaled.factor.error.reshape(-1)[i].item())
        root = (var[i] + Fraction(1e-5)) ** Fraction(1)
        low, high = (abs(Fraction(s)) + sign * error for sign in (-1, 1))
        assert low * low * root <= g[i] * g[i] <= high * high * root  # |s| = |γ|/√(var+ε)
        assert 4 * 2.0**-53 * abs(s) <= error <= 40 * 2.0**-53 * abs(s)
        shift = Fraction(shifted.shift.values.reshape(-1)[i].item())
        true = beta[i] - Fraction(float(g[i])) / Fraction(sqrt(float(root))) * mean[i]
        assert abs(shift - true) <= Fraction(shifted.shift.error.reshape(-1)[i].item()) * Fraction(2)


def test_errors_of_computed_parameters() -> None:
    values = torch.tensor([3.0, 0.0, 1e-310], dtype=torch.float64)
    assert coefficients(Weight(values)).error is None
    error = coefficients(Weight(values, roundings=5)).error
    assert error is not None
    assert error[0] >= 15 * 2.0**-53
    assert error[1] == 0
    assert error[2] > 0
    both = coefficients(Weight(values, roundings=5, error=torch.tensor([1.0, 2.0, 3.0]).double())).error
    assert both is not None
    assert both[0] > 1 + 14 * 2.0**-53
    assert both.tolist()[1:] == pytest.approx([2.0, 3.0])


def test_a_variance_below_zero_and_a_scale_that_underflows_are_refused() -> None:
    def norm(gamma: float, var: float) -> Graph:
        b = Builder()
        x = b.input("x", (1, 1, 3), "f64")
        values = [np.array([v], np.float64) for v in (gamma, 0.0, 0.0, var)]
        return b.finish(b.op("BatchNormalization", x, *(b.param(v) for v in values), epsilon=1e-5))

    with pytest.raises(InvalidModelError, match="PL0183"):
        record(norm(1.0, -1.0), {"x": (1, 1, 3)})
    with pytest.raises(UnsupportedError, match="PL0312"):
        record(norm(1e-305, 1e10), {"x": (1, 1, 3)})


def test_paddings_that_are_no_numbers_are_refused() -> None:
    recorder = Recorder({"x": (2,)})
    for value in (nan, inf):
        with pytest.raises(UnsupportedError, match="PL1368"):
            recorder.move_signals([Signal(0)], Pad((1, 1), value))
    recorder.move_signals([Signal(0)], Pad((1, 1), -inf))


def test_inputs_that_are_no_real_numbers_or_of_unknown_shape_are_refused() -> None:
    b = Builder()
    graph = b.finish(b.op("Identity", b.input("x", (2,), "i64")))
    with pytest.raises(UnsupportedError, match="PL1368"):
        record(graph, {"x": (2,)})
    b = Builder()
    graph = b.finish(b.op("Relu", b.input("x", ("N", "M"))))
    with pytest.raises(UnsupportedError, match="PL1367"):
        input_shapes(graph)
    b = Builder()
    assert input_shapes(b.finish(b.op("Relu", b.input("x", ("N", 3))))) == {"x": (1, 3)}


def test_an_output_that_is_a_parameter_is_a_constant() -> None:
    b = Builder()
    x = b.input("x", (2,))
    w = b.param(np.array([1.0, 2.0], np.float32), "w")
    tape = record(b.finish(b.op("Relu", x), w), {"x": (2,)})
    assert isinstance(tape.steps[-1], Constant)
    assert tape.run([torch.zeros(2).double()])[-1].tolist() == [1.0, 2.0]


def test_vectors_along_an_axis_are_added_there() -> None:
    recorder = Recorder({"x": (1, 3, 2), "y": (3,)})
    recorder.add_signals(Signal(0), Signal(1), -2)
    moved, added = recorder.steps
    assert isinstance(moved, Moved)
    x, y = torch.zeros(1, 3, 2).double(), torch.arange(3.0).double()
    assert added.run(x, moved.run(y))[0, :, 1].tolist() == [0.0, 1.0, 2.0]


def test_a_parameter_plus_a_value_is_a_shift() -> None:
    recorder = Recorder({"x": (2,)})
    recorder.add(Weight(torch.ones(2).double()), Signal(0))
    assert [type(step) for step in recorder.steps] == [Shifted]


def test_numbers_without_an_effect_on_parameters_leave_no_roundings() -> None:
    recorder = Recorder({})
    w = Weight(torch.tensor([0.1]).double())
    assert recorder.multiply_parameter(w, 1.0) is w
    assert recorder.multiply_parameter(w, -1.0).roundings == 0
    assert recorder.multiply_parameter(w, 3.0).roundings > 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    recorder = Recorder({"x": (2,), "y": (3,)})
    with pytest.raises(UnsupportedError, match="PL1365"):
        recorder.add(Signal(0), Signal(1))


def test_weights_keep_the_numbers_of_the_file() -> None:
    b = Builder()
    w = np.array([[0.1], [0.2]], np.float32)
    tape = record(b.finish(b.op("Gemm", b.input("x", (1, 2)), b.param(w))), {"x": (1, 2)})
    (step,) = tape.steps
    assert isinstance(step, Weighted)
    assert step.weights.error is None
    assert step.weights.values.dtype == torch.float64
    assert np.array_equal(step.weights.values.numpy(), w.astype(np.float64))


def test_products_of_values_have_one_term_or_several() -> None:
    recorder = Recorder({"x": (2, 3), "y": (3, 4), "z": (3,)})
    b = Builder()
    node = b.finish(b.op("Relu", b.input("x", (1,))))["relu"]
    elementwise = Nonlinear(node, "", shape=D.broadcast, execute=lambda x, y: x * y, bilinear=True)
    matrices = Nonlinear(node, "", shape=lambda x, y: (x[0], y[1]), execute=lambda x, y: x @ y, bilinear=True)
    recorder.apply(elementwise, (Signal(0), Signal(2)), ())
    recorder.apply(matrices, (Signal(0), Signal(1)), ())
    one, several = recorder.steps
    assert isinstance(one, Bilinear)
    assert isinstance(several, Bilinear)
    assert one.terms == 1
    assert one.shape == (2, 3)
    assert several.terms >= 3


def test_reciprocals_of_numbers_are_rounded() -> None:
    recorder = Recorder({"x": (2,)})
    for number in (3.0, 3):
        recorder.scale(Signal(0), number, reciprocal=True)
        step = recorder.steps[-1]
        assert isinstance(step, Scaled)
        assert step.factor.error is not None
        off = abs(Fraction(step.factor.values.item()) - Fraction(1, 3))
        assert 0 < off <= Fraction(step.factor.error.item())
    with pytest.raises(UnsupportedError, match="PL0314"):
        recorder.scale(Signal(0), 0.0, reciprocal=True)


@pytest.mark.parametrize("name", TABLE)
def test_a_program_computes_what_onnx_says(name: str) -> None:
    model, low, high = carried(name)
    graph = load(model)
    tape = record(graph, input_shapes(graph))
    rng = np.random.default_rng(0)
    feeds = {n: rng.uniform(low, high, shape) for n, shape in tape.inputs.items()}
    values = tape.run([torch.from_numpy(x) for x in feeds.values()])
    found, off = reference(name, feeds)
    for output, y in zip(tape.outputs.values(), found, strict=True):
        assert values[output].shape == y.shape
        assert np.allclose(values[output].numpy(), y, rtol=off, atol=off)


def test_a_memory_whose_gates_are_coupled_is_refused() -> None:
    # PyTorch's exporter writes input_forget = 0, which says that they are not; `TABLE` has that.
    model = onnx.ModelProto.FromString(carried("LSTM/both").model.SerializeToString())
    (coupled,) = [a for a in model.graph.node[0].attribute if a.name == "input_forget"]
    coupled.i = 1
    graph = load(model)
    with pytest.raises(UnsupportedError, match="PL0304"):
        record(graph, input_shapes(graph))


def test_an_even_window_of_channels_begins_at_its_own() -> None:
    # ⌊(size − 1)/2⌋ channels before, ⌈(size − 1)/2⌉ behind; ONNX Runtime knows odd sizes only.
    node = helper.make_node("LRN", ["x"], ["y"], size=2, alpha=2.0, beta=1.0, bias=1.0)
    ends = [helper.make_tensor_value_info(n, 1, [1, 3, 1]) for n in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 13)]
    )
    graph = load(model)
    tape = record(graph, input_shapes(graph))
    values = tape.run([torch.tensor([[[1.0], [2.0], [4.0]]]).double()])
    assert values[tape.outputs["y"]].reshape(-1).tolist() == pytest.approx([1 / 6, 2 / 21, 4 / 17])


def test_products_of_matrices_with_one_element_are_no_elementwise_ones() -> None:
    recorder = Recorder({"x": (3, 1), "y": (1,)})
    recorder.node = sample("Relu")["y"]
    parts.bilinear(recorder, Signal(0), Signal(1), lambda x, y: x @ y)
    (step,) = recorder.steps
    assert isinstance(step, Bilinear)
    assert step.shape == (3,)
    assert step.terms > 1


def test_whole_numbers_too_many_to_read_are_not_known() -> None:
    recorder = Recorder({"x": (2,)})
    recorder.node = sample("Relu")["y"]
    few, many = (recorder.param(Param.of(np.full(n, 7))) for n in (3, 2**20 + 1))
    assert recorder.numbers(few).tolist() == [7, 7, 7]
    with pytest.raises(UnsupportedError, match="PL0304"):
        recorder.numbers(many)


def test_every_program_has_a_node_that_it_is_tried_on() -> None:
    # No network ends in what IsNaN answers: `test_softmax.py` has it.
    assert {name.split("/")[0] for name in TABLE} >= set(PROGRAMS) - {"IsNaN"}
