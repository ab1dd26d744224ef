"""Two networks at once: every value and every difference lies in its box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.types import Array, Param
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.pairs import pair_differences, pair_intervals
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.steps import Bilinear
from pathlift.passes.tape.tape import Tape
from pathlift.testing.carried import TABLE, carried, pair_of
from pathlift.testing.strategies import graphs

Network = Callable[..., Tape]

OPS = (
    "KSLinear", "Gemm", "Einsum", "Conv", "ConvTranspose", "Add", "Sub", "Sum", "Neg", "Mul", "Div", "AveragePool",
    "ReduceMean", "ReduceSum", "Resize", "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Abs", "Clip", "MaxPool",
    "ReduceMax", "ReduceMin", "TopK", "Max", "Min", "Identity", "Cast", "Reshape", "Flatten", "Transpose", "Squeeze",
    "Unsqueeze", "Slice", "Gather", "Split", "Concat", "Pad", "Expand", "Tile",
    "Softmax", "LogSoftmax", "Product",
)  # fmt: skip
"""What is linear, selects, bends or is a program: the others' values are `elementwise`'s."""

CHANGES: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "none": lambda v, rng: v,
    "little": lambda v, rng: v * (1 + 1e-3 * rng.standard_normal(v.shape)),
    "signs": lambda v, rng: v * rng.choice([-1.0, 1.0], v.shape),
    "pruned": lambda v, rng: v * (rng.random(v.shape) < 0.5),
    "int8": lambda v, rng: np.round(v * 127) / 127,
    "float16": lambda v, rng: v.astype(np.float16).astype(np.float64),
    "larger": lambda v, rng: v * 1.75,
    "other": lambda v, rng: rng.uniform(-1, 1, v.shape),
}
DOMAINS: dict[str, tuple[float, float]] = {
    "point": (0.0, 0.0), "small": (1e-6, 1e-6), "medium": (0.1, 0.1), "large": (10.0, 10.0), "one side": (0.0, 1.0)
}  # fmt: skip
LAW: dict[str, Any] = {
    "deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)
}  # fmt: skip


def changed(graph: Graph, kind: str, seed: int) -> Graph:
    """The same network with other numbers; what is positive throughout (a variance) stays so."""
    rng, b = np.random.default_rng(seed), graph.edit()
    for key in graph.params:
        param = graph[key].value
        assert param is not None
        values = param.numpy()
        if values.dtype.kind == "f" and rng.random() < 0.8:
            other = CHANGES[kind](values.astype(np.float64), rng)
            if (values > 0).all():
                other = np.abs(other) + 0.01
            b.replace_node(key, value=Param.of(other.astype(values.dtype)))
    return b.finish()


def some_domain(tape: Tape, kind: str, rng: np.random.Generator) -> list[Box]:
    """A box per input, around short decimals; some axes have no extent."""
    domain = []
    for shape in tape.inputs.values():
        centre = torch.from_numpy(rng.integers(-8, 9, shape) / 4)
        below, above = (torch.from_numpy((rng.random(shape) < 0.8) * reach) for reach in DOMAINS[kind])
        domain.append(Box(centre - below, centre + above))
    return domain


def samples(domain: Sequence[Box], rng: np.random.Generator, count: int) -> list[list[torch.Tensor]]:
    """Corners and points of the domain."""
    found = []
    for i in range(count):
        shares = [
            torch.from_numpy(rng.random(b.low.shape) if i % 2 else rng.integers(0, 2, b.low.shape) * 1.0)
            for b in domain
        ]
        found.append([torch.lerp(b.low, b.high, t) for b, t in zip(domain, shares, strict=True)])
    return found


def check_soundness(first: Tape, second: Tape, domain: Sequence[Box], points: Sequence[list[torch.Tensor]]) -> None:
    triples = pair_intervals(first, second, domain)
    alone = [intervals(tape, domain) for tape in (first, second)]
    for point in points:
        ours, theirs = first.run(point), second.run(point)
        size = 1.0
        for i, (x, y, t) in enumerate(zip(ours, theirs, triples, strict=True)):
            assert t.a.low.shape == t.d.high.shape == x.shape
            size = max(size, float(x.abs().amax()), float(y.abs().amax())) if x.numel() else size
            slack = 1e-12 * size
            for value, box in ((x, t.a), (y, t.b), (y - x, t.d), (x, alone[0][i]), (y, alone[1][i])):
                assert not box.low.isnan().any()
                assert not box.high.isnan().any()
                assert bool((value >= box.low - slack).all()), f"value {i} of {first}"
                assert bool((value <= box.high + slack).all()), f"value {i} of {first}"


def run_law(graph: Graph, change: str, kind: str, seed: int) -> None:
    note(str(graph))
    rng = np.random.default_rng(seed)
    try:
        first = record(graph, input_shapes(graph))
        second = record(changed(graph, change, seed), input_shapes(graph))
    except UnsupportedError:
        assume(False)
    domain = some_domain(first, kind, rng)
    check_soundness(first, second, domain, samples(domain, rng, 8))


CASES = (
    graphs(max_nodes=6, batch=1, ops=OPS),
    st.sampled_from(sorted(CHANGES)),
    st.sampled_from(sorted(DOMAINS)),
    st.integers(0, 2**16),
)


@settings(max_examples=120, **LAW)
@given(*CASES)
def test_every_value_and_every_difference_lies_in_its_box(graph: Graph, change: str, kind: str, seed: int) -> None:
    run_law(graph, change, kind, seed)


@pytest.mark.slow
@settings(max_examples=600, **LAW)
@given(*CASES)
def test_every_value_and_every_difference_lies_in_its_box_thoroughly(
    graph: Graph, change: str, kind: str, seed: int
) -> None:
    run_law(graph, change, kind, seed)


@pytest.mark.parametrize("name", TABLE)
def test_what_programs_compute_lies_in_its_box(name: str) -> None:
    _, low, high = carried(name)
    for seed, reach in enumerate([1e-3, 1.0]):
        rng = np.random.default_rng(seed)
        first, second = (record(g, input_shapes(g)) for g in pair_of(name, rng))
        domain = []
        for shape in first.inputs.values():
            ends = np.sort(low + (high - low) * (rng.random((2, *shape)) * reach + rng.random(shape) * (1 - reach)), 0)
            domain.append(Box(*map(torch.from_numpy, ends)))
        check_soundness(first, second, domain, samples(domain, rng, 4))
        outputs = [pair_intervals(first, second, domain)[i].d for i in first.outputs.values()]
        alone = pair_differences(first, second, domain)
        assert all(
            torch.equal(x.low, y.low) and torch.equal(x.high, y.high) for x, y in zip(outputs, alone, strict=True)
        )
        assert all(d.bounded for d in alone), "where there is no pole, there is a bound"


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("terms", [1, 3])
def test_products_of_values(network: Network, square: bool, terms: int) -> None:
    rng = np.random.default_rng(5)
    first, second = (network((3, 9, 9), lambda *s: rng.standard_normal(s), gates=True) for _ in range(2))

    def multiply(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y if terms == 1 else (x.reshape(3, 3) @ y.reshape(3, 3)).reshape(1, 9)

    last = 1 + len(first.steps) - 1
    inputs = (last, last if square else last - 1)
    shapes = ((1, 9), (1, 9))
    tapes = [
        replace(tape, steps=(*tape.steps, Bilinear("p", inputs, shapes, (1, 9), multiply, terms)))
        for tape in (first, second)
    ]
    for reach in (0.0, 0.1, 2.0):
        centre = torch.from_numpy(rng.standard_normal((1, 3)))
        domain = [Box(centre - reach, centre + reach)]
        check_soundness(tapes[0], tapes[1], domain, samples(domain, rng, 20))
    if square and terms == 1:
        assert bool((pair_intervals(tapes[0], tapes[1], domain)[-1].a.low >= 0).all())
