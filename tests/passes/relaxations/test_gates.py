"""Gates of two networks and of one: relaxations hold at every point that boxes allow, and are reached."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.passes.intervals.box import Box
from pathlift.passes.intervals.elementwise import Curve, image
from pathlift.passes.intervals.pairs import Triple
from pathlift.passes.relaxations.gates import Chosen, GateRelaxation

Tensor = torch.Tensor
Known = Callable[..., tuple[Triple, Tensor, Tensor]]
NAMES = ["relu", "leaky", "steep", "abs", "clip", "hard sigmoid", "quantized", "tanh", "elu", "gelu", "hard swish"]


def value(curve: Curve, x: Tensor) -> Tensor:
    y: Tensor = curve.f.torch(x, *(s.values for s in curve.slopes))
    return y


def result(ours: Curve, theirs: Curve, t: Triple) -> Triple:
    a, b = image(ours, t.a), image(theirs, t.b)
    return Triple(a, b, b.minus(a))


def margins(gate: GateRelaxation, ours: Curve, theirs: Curve | None, z: Tensor, d: Tensor, p: Tensor, q: Tensor | None,
            chosen: Chosen | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Objective − bound, ``(rows, points)``, and what it may be off by."""
    s, t, offset, _ = gate.rows(p, q, chosen)
    y = value(ours, z)
    exact, bound = p @ y.T, s @ z.T + offset[:, None]
    size = p.abs() @ y.abs().T + s.abs() @ z.abs().T
    if q is not None and theirs is not None and t is not None:
        w = value(theirs, z + d)
        exact, bound = exact + q @ (w - y).T, bound + t @ d.T
        size = size + q.abs() @ (w.abs() + y.abs()).T + t.abs() @ d.abs().T
    return exact - bound, 1e-14 * size + 1e-300


@given(st.integers(0, 2**16), st.sampled_from(NAMES), st.sampled_from([*NAMES, "same"]))
@settings(max_examples=25, deadline=None)
def test_a_gate_of_two_networks_is_above_its_relaxation(
    curve: Callable[[str], Curve], known: Known, seed: int, first: str, second: str
) -> None:
    t, z, d = known(seed)
    ours, theirs = curve(first), curve(first if second == "same" else second)
    gate = GateRelaxation(ours, theirs, t, result(ours, theirs, t))
    g = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, 12, z.shape[1], generator=g, dtype=torch.float64)
    p[:3], q[3:6] = 0.0, 0.0
    p[6:8] = q[6:8]
    found, slack = margins(gate, ours, theirs, z, d, p, q)
    assert bool((found >= -slack).all())


@given(st.integers(0, 2**16), st.sampled_from(NAMES))
@settings(max_examples=15, deadline=None)
def test_a_gate_of_one_network_is_above_its_relaxation(
    curve: Callable[[str], Curve], known: Known, seed: int, name: str
) -> None:
    t, z, d = known(seed)
    gate = GateRelaxation(curve(name), None, t, Triple(image(curve(name), t.a), t.b, t.d))
    p = torch.randn(8, z.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found, slack = margins(gate, curve(name), None, z, d, p, None)
    assert bool((found >= -slack).all())


@given(st.integers(0, 2**16), st.sampled_from(["relu", "leaky", "abs", "clip", "hard sigmoid"]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_slopes_are_sound(curve: Callable[[str], Curve], known: Known, seed: int, name: str, alone: bool) -> None:
    t, z, d = known(seed)
    ours, theirs = curve(name), None if alone else curve("leaky")
    gate = GateRelaxation(ours, theirs, t, result(ours, theirs or ours, t))
    if gate.corners is None:
        return
    g = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, 6, z.shape[1], generator=g, dtype=torch.float64)
    slopes = 2 * torch.randn(len(gate.corners.at), 6, 1 if alone else 2, generator=g, dtype=torch.float64)
    for at in (gate.corners.at, gate.corners.at[::2]):
        chosen = Chosen(at, slopes[: len(at)])
        found, slack = margins(gate, ours, theirs, z, d, p, None if alone else q, chosen)
        assert bool((found >= -slack).all())


def test_offsets_are_reached_at_a_corner() -> None:
    # Any slopes: the least value of the objective less the plane is the offset, here found on a fine grid.
    relu = _relu()
    t = Triple(
        *(
            Box(torch.tensor([x], dtype=torch.float64), torch.tensor([y], dtype=torch.float64))
            for x, y in ((-1, 2), (-1.5, 1.8), (-0.6, 0.7))
        )
    )
    gate = GateRelaxation(relu, relu, t, result(relu, relu, t))
    assert gate.corners is not None
    g = torch.Generator().manual_seed(1)
    rows, slopes = torch.randn(2, 1, 50, 2, generator=g, dtype=torch.float64)
    found = gate.corners.offsets(rows, slopes)[0]
    z, d = torch.meshgrid(torch.linspace(-1, 2, 301), torch.linspace(-0.6, 0.7, 131), indexing="ij")
    z, d = z.double().flatten(), d.double().flatten()
    inside = (z + d >= -1.5 - 1e-6) & (z + d <= 1.8 + 1e-6)
    z, d = z[inside], d[inside]
    y, w = z.clamp(min=0), (z + d).clamp(min=0)
    p, q = rows[0].T
    s, r = slopes[0].T
    least = (p[:, None] * y + q[:, None] * (w - y) - s[:, None] * z - r[:, None] * d).amin(1)
    torch.testing.assert_close(found, least, rtol=0, atol=1e-5)


def test_what_does_not_bend_is_exact() -> None:
    relu = _relu()
    low, high = (
        torch.tensor([1.0, -3.0, 1.0, -3.0], dtype=torch.float64),
        torch.tensor([2.0, -1.0, 2.0, -1.0], dtype=torch.float64),
    )
    a, b = (
        Box(low, high),
        Box(
            torch.tensor([1.0, -3.0, -3.0, 1.0], dtype=torch.float64),
            torch.tensor([2.0, -1.0, -1.0, 2.0], dtype=torch.float64),
        ),
    )
    t = Triple(a, b, b.minus(a))
    gate = GateRelaxation(relu, relu, t, result(relu, relu, t))
    assert gate.corners is None
    p, q = (
        torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64),
        torch.tensor([[-1.0, 3.0, 0.5, 7.0]], dtype=torch.float64),
    )
    s, r, offset, _ = gate.rows(p, q, None)
    torch.testing.assert_close(s, torch.tensor([[1.0, 0.0, 2.5, 7.0]], dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(r, torch.tensor([[-1.0, 0.0, 0.0, 7.0]], dtype=torch.float64), rtol=0, atol=1e-14)
    assert -1e-12 < float(offset) <= 0


@pytest.mark.parametrize("alone", [True, False])
def test_steps_of_a_quantizer_count(curve: Callable[[str], Curve], alone: bool) -> None:
    f = curve("quantized")
    box = Box(torch.tensor([0.8], dtype=torch.float64), torch.tensor([1.2], dtype=torch.float64))
    t = Triple(box, box, Box.zero((1,)).widened(1e-3))
    gate = GateRelaxation(f, None if alone else f, t, result(f, f, t))
    z, one = torch.linspace(0.8, 1.2, 801, dtype=torch.float64)[:, None], torch.ones(1, 1, dtype=torch.float64)
    for p, q in ((one, 0 * one), (-one, 0 * one), (one, one), (-one, -one)):
        found, slack = margins(gate, f, None if alone else f, z, 0 * z, p, None if alone else q)
        assert bool((found >= -slack).all())


def test_where_boxes_are_unbounded_the_result_is_what_is_left(curve: Callable[[str], Curve]) -> None:
    relu, tanh = _relu(), curve("tanh")
    for f, expected in ((tanh, -3.0), (relu, -torch.inf)):
        t = Triple(Box.anything((1,)), Box.anything((1,)), Box.anything((1,)))
        gate = GateRelaxation(f, f, t, result(f, f, t))
        s, r, offset, _ = gate.rows(torch.ones(1, 1).double(), -torch.ones(1, 1).double(), None)
        assert bool((s == 0).all())
        assert r is not None
        assert bool((r == 0).all())
        assert float(offset) == pytest.approx(expected)


def _relu() -> Curve:
    from pathlift.ir.primitives.base import Activation

    return Curve(Activation("Relu", (0.0, 1.0), lambda x: x.clamp(min=0), homogeneous=True, bends=(0.0,), affine=True))
