"""Softmaxes with masks: what is hidden by -inf has no weight, and leaves no trace in any bound."""

from __future__ import annotations

from math import exp, inf

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from pathlift.frontend.load import load
from pathlift.ir.errors import InvalidModelError, UnsupportedError
from pathlift.ir.types import Array
from pathlift.passes.ellipsoids.plan import Networks
from pathlift.passes.ellipsoids.steps import increments
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.jacobian import jacobian
from pathlift.passes.intervals.pairs import pair_differences, pair_intervals
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.tape import Tape

F64 = onnx.TensorProto.DOUBLE


def tape_of(nodes: list[onnx.NodeProto], shape: tuple[int, ...], **arrays: Array) -> Tape:
    ends = [helper.make_tensor_value_info("x", F64, list(shape)), helper.make_tensor_value_info("y", F64, None)]
    parameters = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], parameters)
    network = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    return record(network, input_shapes(network))


def masked(how: str, hidden: Array, shape: tuple[int, ...], *, axis: int = -1, weight: float = 1.0) -> Tape:
    """softmax(w·x) without what is hidden, in one of the ways in which exporters spell it."""
    node = helper.make_node
    arrays = {"w": np.array(weight)}
    if how == "add":
        nodes = [node("Add", ["z", "m"], ["s"])]
        arrays["m"] = np.where(hidden, -inf, 0.25)
    elif how == "where":
        nodes = [node("Where", ["m", "f", "z"], ["s"])]
        arrays |= {"m": hidden, "f": np.array(-inf)}
    elif how == "moved":
        turned = list(range(len(shape)))[::-1]
        nodes = [
            node("Add", ["z", "m"], ["t"]),
            node("Transpose", ["t"], ["u"], perm=turned),
            node("Transpose", ["u"], ["s"], perm=turned),
        ]
        arrays["m"] = np.where(hidden, -inf, 0.25)
    else:
        nodes = [node("Add", ["z", "m"], ["s"])]
        arrays["m"] = np.where(hidden, float(how), 0.25)
    nodes = [node("Mul", ["x", "w"], ["z"]), *nodes, node("Softmax", ["s"], ["y"], axis=axis)]
    return tape_of(nodes, shape, **arrays)


def box_of(low: Array, high: Array) -> list[Box]:
    return [Box(torch.from_numpy(low), torch.from_numpy(high))]


@pytest.mark.parametrize("how", ["add", "where", "moved", "-3.4e38"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4), -1), ((2, 3, 4), 1), ((2, 40), 1), ((40, 2), 0)])
def test_what_is_hidden_has_no_weight_and_no_difference(how: str, shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.random(shape[-2:] if len(shape) == 3 else shape) < 0.5
    np.moveaxis(hidden, axis, 0)[rng.integers(hidden.shape[axis])] = False
    first, second = masked(how, hidden, shape, axis=axis), masked(how, hidden, shape, axis=axis, weight=1.125)
    low = rng.uniform(-2, 2, shape)
    domain = box_of(low, low + 0.5)
    triple = pair_intervals(first, second, domain)[first.outputs["y"]]
    everywhere = torch.from_numpy(np.broadcast_to(hidden, shape).copy())
    for box in (triple.a, triple.b, triple.d):
        assert float(box.magnitude[everywhere].max()) < 1e-250
    assert float(triple.d.magnitude.max()) < 0.9
    (d,) = pair_differences(first, second, domain)
    assert torch.equal(d.high, triple.d.high)
    for _ in range(40):
        x = torch.from_numpy(low + 0.5 * rng.choice([0.0, 1.0, rng.random()], shape))
        ys = []
        for tape, weight, box in ((first, 1.0, triple.a), (second, 1.125, triple.b)):
            y = (weight * x).masked_fill(everywhere, -inf).softmax(axis)
            assert torch.allclose(tape.run([x])[tape.outputs["y"]], y, rtol=1e-12, atol=1e-15)
            assert bool(((box.low <= y + 1e-14) & (y <= box.high + 1e-14)).all())
            ys.append(y)
        assert bool(((d.low <= ys[1] - ys[0] + 1e-14) & (ys[1] - ys[0] <= d.high + 1e-14)).all())


def test_bounds_of_two_that_are_left_are_attained() -> None:
    tape = masked("add", np.array([False, True, False]), (3,))
    (box,) = [intervals(tape, box_of(np.array([0.0, -50.0, 1.0]), np.array([0.5, 50.0, 3.0])))[tape.outputs["y"]]]
    assert box.low.tolist() == pytest.approx([1 / (1 + exp(3.0)), 0.0, 1 / (1 + exp(-0.5))], abs=1e-13)
    assert box.high.tolist() == pytest.approx([1 / (1 + exp(0.5)), 0.0, 1 / (1 + exp(-3.0))], abs=1e-13)


def test_a_long_axis_takes_away_the_largest_that_is_left() -> None:
    # What is hidden is larger by far than what is not.
    hidden = np.arange(40) >= 2
    tape = masked("add", hidden, (40,))
    x = np.where(hidden, 800.0, 0.0)
    (box,) = [intervals(tape, box_of(x, x))[tape.outputs["y"]]]
    assert box.low[:2].tolist() == pytest.approx([0.5, 0.5])
    assert box.high[:2].tolist() == pytest.approx([0.5, 0.5])


def test_where_all_is_hidden_there_is_no_softmax() -> None:
    with pytest.raises(UnsupportedError, match=r"PL0304.*all masked by -inf"):
        masked("add", np.array([[True, True], [False, True]]), (2, 2))


def test_infinity_is_no_number_anywhere_else() -> None:
    mask = np.array([0.0, -inf])
    node = helper.make_node
    for nodes in ([node("Relu", ["s"], ["y"])], [node("LogSoftmax", ["s"], ["y"])], [node("Mul", ["s", "x"], ["y"])]):
        with pytest.raises(UnsupportedError, match=r"PL1368.*-inf"):
            tape_of([node("Add", ["x", "m"], ["s"]), *nodes], (2,), m=mask)
    with pytest.raises(InvalidModelError, match=r"PL0180.*1 of 2 values are infinite"):
        tape_of([node("Mul", ["x", "m"], ["y"])], (2,), m=mask)
    with pytest.raises(InvalidModelError, match="PL0180"):
        tape_of([node("Add", ["x", "m"], ["s"]), node("Softmax", ["s"], ["y"])], (2,), m=-mask)


def test_infinity_is_no_output() -> None:
    mask = np.array([0.0, -inf])
    add = helper.make_node("Add", ["x", "m"], ["s"])
    for node in (helper.make_node("Identity", ["s"], ["y"]), helper.make_node("Gather", ["s", "k"], ["y"])):
        with pytest.raises(UnsupportedError, match=r"PL1368.*output 'y' holds -inf"):
            tape_of([add, node], (2,), m=mask, k=np.array([1]))
    with pytest.raises(InvalidModelError, match="PL0180"):
        tape_of([helper.make_node("Pow", ["x", "m"], ["y"])], (2,), m=np.array(-inf))


def test_what_is_taken_from_beside_a_mask_is_a_number() -> None:
    nodes = [
        helper.make_node("Add", ["x", "m"], ["s"]),
        helper.make_node("Gather", ["s", "k"], ["t"]),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    tape = tape_of(nodes, (2,), m=np.array([0.5, -inf]), k=np.array([0]))
    assert tape.run([torch.tensor([1.0, 2.0]).double()])[tape.outputs["y"]].tolist() == [1.5]


@pytest.mark.parametrize("how", ["add", "where"])
def test_a_softmax_has_slopes(how: str) -> None:
    hidden = np.array([[False, True, False], [True, False, False]])
    tape = masked(how, hidden, (2, 3))
    low = np.array([[0.0, 5.0, 1.0], [-1.0, 0.0, 2.0]])
    (found,) = jacobian(tape, intervals(tape, box_of(low, low + 0.5)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = torch.from_numpy(low + 0.5 * rng.random(low.shape))

        def f(x: torch.Tensor) -> torch.Tensor:
            return x.masked_fill(torch.from_numpy(hidden), -inf).softmax(-1).flatten()

        exact = torch.autograd.functional.jacobian(f, x)  # type: ignore[no-untyped-call]  # torch has no types for it
        assert bool(((found.low - 1e-12 <= exact) & (exact <= found.high + 1e-12)).all())
    assert float(found.magnitude.max()) < 1


def test_where_an_exponential_may_be_capped_a_softmax_has_no_slopes_that_are_known() -> None:
    for far, known in ((580.0, True), (620.0, False)):
        tape = masked("add", np.zeros(3, bool), (3,))
        (box,) = box_of(np.array([0.0, 0.0, far]), np.array([1.0, 1.0, far]))
        networks = Networks(tape, tape, pair_intervals(tape, tape, [box]), ())
        if known:
            jacobian(tape, intervals(tape, [box]))
            increments(networks, None)
            continue
        with pytest.raises(UnsupportedError, match=r"PL1395.*NextToNothing"):
            jacobian(tape, intervals(tape, [box]))
        with pytest.raises(UnsupportedError, match=r"PL1393.*NextToNothing"):
            increments(networks, None)


def test_whether_a_softmax_is_nan_is_known_and_of_a_root_it_is_not() -> None:
    node = helper.make_node
    rest = [node("IsNaN", ["s"], ["n"]), node("Where", ["n", "zero", "s"], ["y"])]
    tape = tape_of([node("Softmax", ["x"], ["s"]), *rest], (3,), zero=np.array(0.0))
    x = torch.tensor([1.0, 2.0, 3.0]).double()
    assert torch.allclose(tape.run([x])[tape.outputs["y"]], x.softmax(0), rtol=1e-12)
    for first in ("Sqrt", "Log", "Reciprocal"):
        with pytest.raises(UnsupportedError, match=r"PL0304.*may not be a number"):
            tape_of([node(first, ["x"], ["r"]), node("Neg", ["r"], ["s"]), *rest], (3,), zero=np.array(0.0))
