"""Two networks at once: boxes are no larger than they must, and know what is known of each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.primitives.base import Activation
from pathlift.ir.types import Array
from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.pairs import Triple, pair_intervals
from pathlift.passes.intervals.rectifiers import relu, relu_difference
from pathlift.passes.tape.steps import Gate
from pathlift.passes.tape.tape import Tape

Network = Callable[..., Tape]


def difference_at(first: Tape, second: Tape, x: torch.Tensor) -> torch.Tensor:
    return second.run([x])[-1] - first.run([x])[-1]


def test_one_affine_layer_is_attained_at_a_corner(network: Network) -> None:
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
def test_monotone_networks_attain_their_bounds_at_the_highest_corner(network: Network, gates: bool) -> None:
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


def test_a_network_less_itself_is_nothing(network: Network) -> None:
    first, second = (
        network((3, 5, 2), lambda *s: np.random.default_rng(sum(s)).standard_normal(s), gates=True) for _ in range(2)
    )
    domain = [Box(torch.full((1, 3), -1.0).double(), torch.full((1, 3), 2.0).double())]
    for other in (first, second):
        for triple in pair_intervals(first, other, domain):
            assert triple.d.is_zero
            assert torch.equal(triple.a.low, triple.b.low)


def test_what_is_known_reaches_the_values_behind(network: Network) -> None:
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


def test_other_activations_are_told_apart() -> None:
    def tape(slope: float) -> Tape:
        f = Activation(
            "Leaky", (slope, 1.0), lambda x: torch.nn.functional.leaky_relu(x, slope), bends=(0.0,), affine=True
        )
        return Tape({"x": (1,)}, (Gate("g", (0,), ((1,),), (1,), f),), {"y": 1})

    domain = [Box(torch.tensor([-2.0]).double(), torch.tensor([1.0]).double())]
    triple = pair_intervals(tape(0.25), tape(0.5), domain)[-1]
    assert (triple.d.low.item(), triple.d.high.item()) == pytest.approx((-0.5, 0.0))


def test_tapes_that_do_not_agree_are_refused(network: Network) -> None:
    rng = np.random.default_rng(6)
    tapes = [network(w, lambda *s: rng.standard_normal(s), gates=True) for w in ((3, 4, 2), (3, 5, 2), (3, 4, 4, 2))]
    domain = [Box.zero((1, 3))]
    for other in tapes[1:]:
        with pytest.raises(UnsupportedError, match="PL1369"):
            pair_intervals(tapes[0], other, domain)
