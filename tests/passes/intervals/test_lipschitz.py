"""Lipschitz constants by boxes: above every slope there is, and reached where that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.lipschitz import box_constant
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.tape import Tape
from pathlift.testing.strategies import graphs

PAIRS = 24
SIZES = (0.01, 0.5, 3.0, float("inf"))


def drawn(tape: Tape, centres: list[torch.Tensor], size: float, rng: np.random.Generator) -> list[list[torch.Tensor]]:
    """Pairs of points of boxes, half of them close to each other."""
    reach = min(size, 20.0)
    first = [[c + reach * torch.from_numpy(rng.uniform(-1, 1, c.shape)) for c in centres] for _ in range(PAIRS)]
    second = []
    for i, point in enumerate(first):
        near = [x + 1e-3 * reach * torch.from_numpy(rng.uniform(-1, 1, x.shape)) for x in point]
        far = [c + reach * torch.from_numpy(rng.uniform(-1, 1, c.shape)) for c in centres]
        moved = near if i % 2 else far
        second.append([x.clamp(c - reach, c + reach) for x, c in zip(moved, centres, strict=True)])
    return [*first, *second]


def outputs(tape: Tape, point: list[torch.Tensor]) -> torch.Tensor:
    values = tape.run(point)
    return torch.cat([values[i].reshape(-1) for i in tape.outputs.values()])


@settings(max_examples=25)
@given(graphs(batch=1, max_nodes=8), st.integers(0, 99), st.sampled_from(SIZES))
def test_no_chord_is_steeper(graph: Graph, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    try:
        tape = record(graph, input_shapes(graph))
    except UnsupportedError:
        return
    centres = [torch.from_numpy(rng.uniform(-1, 1, s)) for s in tape.inputs.values()]
    known = intervals(tape, [Box(c - size, c + size) for c in centres])
    try:
        bounds = {
            (norm, relaxed): box_constant(tape, known, norm, (lambda _: True) if relaxed else None)
            for norm in ("linf", "l1", "l2") for relaxed in (False, True)
        }  # fmt: skip
    except UnsupportedError:
        return  # of what jumps
    points = drawn(tape, centres, size, rng)
    for x, y in zip(points[:PAIRS], points[PAIRS:], strict=True):
        fx, fy = outputs(tape, x), outputs(tape, y)
        rise = ((fy - fx).abs() - 1e-12 * (fx.abs() + fy.abs())).clamp(min=0)
        run = torch.cat([(b - a).reshape(-1) for a, b in zip(x, y, strict=True)])
        found = {"linf": rise.max() / run.abs().max(), "l1": rise.sum() / run.abs().max()}
        found["l2"] = rise.norm() / run.norm()
        for (norm, relaxed), bound in bounds.items():
            assert float(found[norm]) <= bound * (1 + 1e-9) + 1e-12, (norm, relaxed)
    for norm in ("linf", "l1", "l2"):
        assert bounds[norm, True] <= bounds[norm, False] * (1 + 1e-9) + 1e-12


LINEAR = "%x = Input : f64[1, 2]\n%w = Param {value=[[1, -4, 2], [3, 4, 0]]} : f64[2, 3]\n%y = Gemm(%x, %w)\nreturn %y"


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_of_linear_networks_they_are_exact(norm: str, relaxed: bool) -> None:
    graph = parse_graph(LINEAR)
    tape = record(graph, input_shapes(graph))
    w = torch.tensor([[1.0, -4, 2], [3, 4, 0]]).double()
    signs = torch.tensor([[1.0, 1], [1, -1]]).double()
    exact = {"linf": 8.0, "l1": float((signs @ w).abs().sum(1).max()), "l2": float(torch.linalg.matrix_norm(w, 2))}[
        norm
    ]
    wanted = (lambda _: True) if relaxed else None
    known = intervals(tape, [Box(-torch.ones(1, 2).double(), torch.ones(1, 2).double())])
    found = box_constant(tape, known, norm, wanted)
    assert found >= exact * (1 - 1e-15)
    assert found == pytest.approx(exact, rel=2e-3 if norm == "l2" else 1e-12)


def test_elements_with_one_value_do_not_move() -> None:
    graph = parse_graph(LINEAR)
    tape = record(graph, input_shapes(graph))
    ends = Box(torch.tensor([[0.0, 2.0]]).double(), torch.tensor([[1.0, 2.0]]).double())
    for wanted in (None, lambda _: True):
        assert box_constant(tape, intervals(tape, [ends]), "linf", wanted) == pytest.approx(4)


def test_many_outputs_add_up() -> None:
    graph = parse_graph("%x = Input : f64[1, 12]\n%y = Relu(%x)\nreturn %y")
    tape = record(graph, input_shapes(graph))
    known = intervals(tape, [Box(-torch.ones(1, 12).double(), torch.ones(1, 12).double())])
    assert box_constant(tape, known, "l1") == pytest.approx(12)
    assert box_constant(tape, known, "linf") == pytest.approx(1)
