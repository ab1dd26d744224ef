"""Affine steps: transposes, absolute coefficients, differences, terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.maps import Contract, ConvTranspose
from pathlift.ir.primitives.views import Pad
from pathlift.passes.tape.affine import Affine, Combined, Constant, Moved, Scaled, Shifted, Weighted
from pathlift.passes.tape.coefficients import Coefficients
from pathlift.passes.tape.record import input_shapes, record
from pathlift.testing.samples import sample, samples
from pathlift.testing.strategies import graphs

LAW: dict[str, Any] = {
    "deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)
}  # fmt: skip


def numbers(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def check_transposes(graph: Graph, seed: int) -> None:
    """⟨r, Lx⟩ = ⟨Lᵀr, x⟩, for whole numbers, and |L||x| is no less than |Lx|."""
    generator = torch.Generator().manual_seed(seed)
    for step in record(graph, input_shapes(graph)).steps:
        if not isinstance(step, Affine):
            continue
        xs = [torch.randint(-3, 4, s, generator=generator).double() for s in step.shapes]
        rows = torch.randint(-3, 4, (3, *step.shape), generator=generator).double()
        y = step.linear(*xs)
        assert tuple(y.shape) == step.shape
        with torch.no_grad():
            back = step.transpose(rows)
        assert [tuple(t.shape) for t in back] == [(3, *s) for s in step.shapes]
        for r in range(3):
            forward = float((rows[r] * y).sum())
            pulled = sum(float((t[r] * x).sum()) for t, x in zip(back, xs, strict=True))
            assert forward == pytest.approx(pulled, rel=1e-12, abs=1e-11)
        bound = step.absolute(*(x.abs() for x in xs))
        assert tuple(bound.shape) == step.shape
        assert bool((bound * (1 + 1e-12) + 1e-300 >= y.abs()).all())
        uncertain = step.uncertainty(*(x.abs() for x in xs))
        assert step.uncertain == (uncertain is not None)


@settings(max_examples=80, **LAW)
@given(graphs(max_nodes=7), st.integers(0, 2**16))
def test_transposes(graph: Graph, seed: int) -> None:
    note(str(graph))
    try:
        record(graph, input_shapes(graph))
    except UnsupportedError:
        assume(False)
    check_transposes(graph, seed)


@pytest.mark.parametrize("name", samples())
def test_transposes_of_all_samples(name: str) -> None:
    try:
        record(sample(name), input_shapes(sample(name)))
    except UnsupportedError:
        pytest.skip("not recorded")
    check_transposes(sample(name), 0)


def test_what_is_left_of_a_step_less_another() -> None:
    w = Coefficients(numbers([[1.0, 2.0]]))
    v = Coefficients(numbers([[1.0, 5.0]]))
    x = numbers([[3.0]])
    steps = [Weighted("w", (0,), ((1, 1),), (1, 2), Contract("...i,io->...o"), c) for c in (w, v)]
    rest = steps[1].minus(steps[0])
    assert rest is not None
    assert rest.linear(x).tolist() == [[0.0, 9.0]]
    assert steps[0].minus(replace(steps[0])) is None
    scaled = [Scaled("s", (0,), ((1, 1),), (1, 2), c) for c in (w, v)]
    rest = scaled[1].minus(scaled[0])
    assert rest is not None
    assert rest.linear(x).tolist() == [[0.0, 9.0]]
    assert scaled[0].minus(scaled[0]) is None
    shifted = [Shifted("s", (0,), ((1, 1),), (1, 2), c) for c in (w, v)]
    rest = shifted[1].minus(shifted[0])
    assert isinstance(rest, Constant)
    assert rest.run().tolist() == [[0.0, 3.0]]
    assert shifted[0].minus(shifted[0]) is None
    constants = [Constant("c", (), (), (1, 2), c) for c in (w, v)]
    rest = constants[1].minus(constants[0])
    assert rest is not None
    assert rest.run().tolist() == [[0.0, 3.0]]
    assert constants[0].minus(constants[0]) is None


def test_paddings_are_constants() -> None:
    step = Moved("m", (0,), ((2,),), (4,), Pad((1, 1), 7.0), torch.device("cpu"))
    x = numbers([1.0, 2.0])
    assert step.run(x).tolist() == [7.0, 1.0, 2.0, 7.0]
    assert step.linear(x).tolist() == [0.0, 1.0, 2.0, 0.0]
    assert step.constant is not None
    assert step.constant.values.tolist() == [7.0, 0.0, 0.0, 7.0]


def test_terms_of_transposed_convolutions_are_no_fewer_than_meet() -> None:
    f = ConvTranspose((1,), (0, 0), (1,), (0,), groups=2)
    w = torch.ones(4, 3, 5, dtype=torch.float64)
    step = Weighted("w", (0,), ((1, 4, 8),), (1, 6, 12), f, Coefficients(w))
    met = float(step.linear(torch.ones(1, 4, 8, dtype=torch.float64)).max())
    assert met <= step.terms <= 2 * met


@pytest.mark.parametrize("name", [n for n in samples() if n.split("/")[0] in ("AveragePool", "ReduceMean", "Resize")])
def test_terms_and_coefficients_of_averages_and_interpolations(name: str) -> None:
    graph = sample(name)
    for step in record(graph, input_shapes(graph)).steps:
        if isinstance(step, Combined):
            n = int(np.prod(step.shapes[0]))
            unit = torch.eye(n, dtype=torch.float64).reshape(n, *step.shapes[0])
            columns = torch.stack([step.linear(e).reshape(-1) for e in unit])
            assert int((columns != 0).sum(0).max()) <= step.terms
            bound = step.absolute(torch.ones(step.shapes[0], dtype=torch.float64)).reshape(-1)
            assert torch.allclose(bound, columns.abs().sum(0), rtol=1e-13)
            found = step.uncertainty(torch.ones(step.shapes[0], dtype=torch.float64))
            assert found is not None
            assert torch.allclose(found.reshape(-1), bound * 2.0**-49, atol=0)
