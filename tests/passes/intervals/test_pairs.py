"""Two networks at once: every value and every difference lies in its box, and boxes are no larger than they must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.primitives.base import Activation
from pathlift.ir.types import Array, Param
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.intervals import intervals
from pathlift.passes.intervals.pairs import Triple, pair_differences, pair_intervals
from pathlift.passes.intervals.rectifiers import relu, relu_difference
from pathlift.passes.tape.record import input_shapes, record
from pathlift.passes.tape.steps import Affine, Bilinear, Gate
from pathlift.passes.tape.tape import Tape
from pathlift.testing.carried import TABLE, carried, pair_of
from pathlift.testing.strategies import graphs

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


def network(widths: Sequence[int], weights: Callable[..., Array], *, gates: bool, dtype: str = "f32") -> Tape:
    b = Builder()
    x = b.input("x", (1, widths[0]), dtype)
    for i, (wide, out) in enumerate(pairwise(widths)):
        w, bias = (weights(*shape).astype(np.float32) for shape in ((wide, out), (out,)))
        x = b.op("Gemm", x, b.param(w, f"w{i}"), b.param(bias, f"b{i}"))
        x = b.op("Relu", x) if gates and i < len(widths) - 2 else x
    graph = b.finish(x)
    return record(graph, input_shapes(graph))


def exact_run(tape: Tape, x: Sequence[Fraction]) -> list[list[Fraction]]:
    """All values of a dense network, without rounding."""
    values = [list(x)]
    for step in tape.steps:
        if isinstance(step, Gate):
            values.append([max(v, Fraction(0)) for v in values[-1]])
            continue
        assert isinstance(step, Affine)
        unit = torch.eye(len(values[-1]), dtype=torch.float64)[:, None]
        rows = [step.linear(e).reshape(-1).tolist() for e in unit]
        constant = step.constant
        start = [0.0] * len(rows[0]) if constant is None else constant.values.reshape(-1).tolist()
        values.append([
            Fraction(c) + sum((v * Fraction(row[j]) for v, row in zip(values[-1], rows, strict=True)), Fraction(0))
            for j, c in enumerate(start)
        ])  # fmt: skip
    return values


@pytest.mark.parametrize("reach", [0.0, 1e-9, 0.5])
@pytest.mark.parametrize("change", ["little", "tiny", "huge", "signs"])
def test_boxes_hold_in_exact_arithmetic(reach: float, change: str) -> None:
    for seed in range(6):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        scale = 2.0**40 if change == "huge" else 1.0
        first = network((3, 4, 4, 2), lambda *s: scale * rngs[0].standard_normal(s), gates=True)  # noqa: B023
        noise = np.random.default_rng(seed + 100)

        def other(*s: int) -> Array:
            w: Array = scale * rngs[1].standard_normal(s)  # noqa: B023
            share = 2e-7 if change == "tiny" else 1e-3
            signs: Array = noise.choice([-1.0, 1.0], s)  # noqa: B023
            return w * (signs if change == "signs" else 1 + share * noise.standard_normal(s))  # noqa: B023

        second = network((3, 4, 4, 2), other, gates=True)
        centre = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 3)))
        domain = [Box(centre - reach, centre + reach)]
        triples = pair_intervals(first, second, domain)
        corners = [domain[0].low, domain[0].high, centre]
        for corner in corners:
            x = [Fraction(v) for v in corner.reshape(-1).tolist()]
            for ours, theirs, t in zip(exact_run(first, x), exact_run(second, x), triples, strict=True):
                check_exactly(ours, t.a)
                check_exactly(theirs, t.b)
                check_exactly([v - u for u, v in zip(ours, theirs, strict=True)], t.d)


def check_exactly(values: Sequence[Fraction], box: Box) -> None:
    ends = zip(box.low.reshape(-1).tolist(), box.high.reshape(-1).tolist(), strict=True)
    for value, (low, high) in zip(values, ends, strict=True):
        assert low <= value <= high


def difference_at(first: Tape, second: Tape, x: torch.Tensor) -> torch.Tensor:
    return second.run([x])[-1] - first.run([x])[-1]


def test_one_affine_layer_is_attained_at_a_corner() -> None:
    rng = np.random.default_rng(1)
    first, second = (network((4, 3), lambda *s: rng.standard_normal(s), gates=False) for _ in range(2))
    domain = Box(*(torch.from_numpy(x) for x in (-rng.random((1, 4)), rng.random((1, 4)))))
    triple = pair_intervals(first, second, [domain])[-1]
    corners = [torch.where(torch.tensor(bits) > 0, domain.high, domain.low) for bits in np.ndindex(2, 2, 2, 2)]
    ends = [(first.run([x])[-1], second.run([x])[-1]) for x in corners]
    found = ((triple.a, [a for a, _ in ends]), (triple.b, [b for _, b in ends]), (triple.d, [b - a for a, b in ends]))
    for box, attained in found:
        values = torch.stack(attained)
        assert torch.allclose(box.low, values.amin(0), atol=1e-12)
        assert torch.allclose(box.high, values.amax(0), atol=1e-12)


@pytest.mark.parametrize("gates", [False, True])
def test_monotone_networks_attain_their_bounds_at_the_highest_corner(gates: bool) -> None:
    rng = np.random.default_rng(2)
    drawn: list[Array] = []

    def smaller(*s: int) -> Array:
        drawn.append(rng.random(s))
        return drawn[-1]

    first = network((4, 6, 5, 3), smaller, gates=gates)
    second = network((4, 6, 5, 3), lambda *s: drawn.pop(0) * (1 + 0.1 * rng.random(s)), gates=gates)
    domain = Box(torch.zeros(1, 4, dtype=torch.float64), torch.from_numpy(rng.random((1, 4))))
    triple = pair_intervals(first, second, [domain])[-1]
    assert torch.allclose(triple.a.high, first.run([domain.high])[-1], rtol=1e-9, atol=0)
    assert torch.allclose(triple.b.high, second.run([domain.high])[-1], rtol=1e-9, atol=0)
    assert torch.allclose(triple.d.high, difference_at(first, second, domain.high), rtol=1e-9, atol=0)
    assert torch.allclose(triple.d.low, difference_at(first, second, domain.low), rtol=1e-9, atol=0)


def test_a_network_less_itself_is_nothing() -> None:
    first, second = (
        network((3, 5, 2), lambda *s: np.random.default_rng(sum(s)).standard_normal(s), gates=True) for _ in range(2)
    )
    domain = [Box(torch.full((1, 3), -1.0).double(), torch.full((1, 3), 2.0).double())]
    for other in (first, second):
        for triple in pair_intervals(first, other, domain):
            assert triple.d.is_zero
            assert torch.equal(triple.a.low, triple.b.low)


def test_what_is_known_reaches_the_values_behind() -> None:
    rng = np.random.default_rng(3)
    first, second = (network((3, 5, 2), lambda *s: rng.standard_normal(s), gates=True) for _ in range(2))
    domain = [Box(torch.full((1, 3), -1.0).double(), torch.full((1, 3), 1.0).double())]
    found = pair_intervals(first, second, domain)
    known = list(found)
    known[2] = Triple(found[2].a, found[2].b, Box.zero((1, 5)))
    again = pair_intervals(first, second, domain, known)
    assert again[2].d.is_zero
    assert bool((again[-1].d.magnitude < found[-1].d.magnitude).all())


def test_three_boxes_bound_each_other() -> None:
    def box(low: float, high: float) -> Box:
        return Box(*(torch.tensor(v, dtype=torch.float64) for v in (low, high)))

    found = Triple(box(0, 10), box(2, 3), box(-1, 1)).closed()
    assert (found.a.low.item(), found.a.high.item()) == pytest.approx((1, 4))
    assert (found.b.low.item(), found.b.high.item()) == pytest.approx((2, 3))
    found = Triple(box(0, 1), box(2, 3), box(-10, 10)).closed()
    assert (found.d.low.item(), found.d.high.item()) == pytest.approx((1, 3))
    assert (found.both.low.item(), found.both.high.item()) == (0, 3)
    found = Triple(box(0, 1), box(-10, 10), box(1, 2)).closed()
    assert (found.b.low.item(), found.b.high.item()) == pytest.approx((1, 3))


def test_the_difference_of_rectified_values_is_attained_on_the_hexagon() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        centre, reach = rng.uniform(-2, 2, 3), rng.exponential(1, 3) * rng.integers(0, 2, 3)
        a, b, d = (
            Box(torch.tensor(c - r), torch.tensor(c + r)) for c, r in zip(centre.tolist(), reach.tolist(), strict=True)
        )
        z, delta = np.meshgrid(
            np.linspace(a.low.item(), a.high.item(), 61), np.linspace(d.low.item(), d.high.item(), 61)
        )
        inside = (z + delta >= b.low.item() - 1e-12) & (z + delta <= b.high.item() + 1e-12)
        if not inside.any():
            continue
        values = (np.maximum(z + delta, 0) - np.maximum(z, 0))[inside]
        loose = relu_difference(a, b, d)
        t = Triple(a, b, d).closed()
        found = relu_difference(t.a, t.b, t.d)
        for box in (loose, found):
            assert box.low.item() <= values.min() + 1e-11
            assert box.high.item() >= values.max() - 1e-11
        step = max(reach) / 10
        assert found.low.item() >= values.min() - step
        assert found.high.item() <= values.max() + step
        closed = Triple(relu(t.a), relu(t.b), found)
        again = closed.closed()
        for before, after in ((closed.a, again.a), (closed.b, again.b), (closed.d, again.d)):
            assert before.low.item() == pytest.approx(after.low.item(), abs=1e-12)
            assert before.high.item() == pytest.approx(after.high.item(), abs=1e-12)


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("terms", [1, 3])
def test_products_of_values(square: bool, terms: int) -> None:
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


def test_other_activations_are_told_apart() -> None:
    def tape(slope: float) -> Tape:
        f = Activation(
            "Leaky", (slope, 1.0), lambda x: torch.nn.functional.leaky_relu(x, slope), bends=(0.0,), affine=True
        )
        return Tape({"x": (1,)}, (Gate("g", (0,), ((1,),), (1,), f),), {"y": 1})

    domain = [Box(torch.tensor([-2.0]).double(), torch.tensor([1.0]).double())]
    triple = pair_intervals(tape(0.25), tape(0.5), domain)[-1]
    assert (triple.d.low.item(), triple.d.high.item()) == pytest.approx((-0.5, 0.0))


def test_tapes_that_do_not_agree_are_refused() -> None:
    rng = np.random.default_rng(6)
    tapes = [network(w, lambda *s: rng.standard_normal(s), gates=True) for w in ((3, 4, 2), (3, 5, 2), (3, 4, 4, 2))]
    domain = [Box.zero((1, 3))]
    for other in tapes[1:]:
        with pytest.raises(UnsupportedError, match="PL1369"):
            pair_intervals(tapes[0], other, domain)
