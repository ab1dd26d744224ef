"""Lipschitz constants hold between sampled points, and are exact for linear networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pathlift.ir.builder import Builder
from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Value
from pathlift.passes.certificates.problem import Clock, Problem
from pathlift.passes.ellipsoids.lipschitz import Lipschitz, Norm, check, lipschitz
from pathlift.passes.intervals.box import Box
from pathlift.passes.tape.record import record
from pathlift.passes.tape.tape import Tape

Tensor = torch.Tensor
Gate = Callable[[Builder, Value], Value]


def tape(seed: int, gate: Gate, depth: int = 3, outputs: int = 3) -> Tape:
    rng, b = np.random.default_rng(seed), Builder()
    x, n = b.input("x", (1, 4), "f64"), 4
    for k in range(depth):
        m = outputs if k == depth - 1 else 6
        x = b.op("Gemm", x, b.param(rng.normal(size=(n, m))), b.param(rng.normal(size=m)))
        x, n = (x if k == depth - 1 else gate(b, x)), m
    return record(b.finish(x), {"x": (1, 4)})


def found(network: Tape, norm: Norm, domain: Box | None = None, seconds: float = 0.5) -> Lipschitz:
    clock = Clock.of(seconds)
    triples = None if domain is None else Problem(network, network, [domain]).triples
    return lipschitz(network, triples, norm, lambda: clock.left)


GATES: dict[str, Gate] = {
    "Relu": lambda b, x: b.op("Relu", x),
    "Abs": lambda b, x: b.op("Abs", x),
    "Tanh": lambda b, x: b.op("Tanh", x),
    "Gelu": lambda b, x: b.op("Gelu", x),
    "residual": lambda b, x: b.op("Sub", x, b.op("Relu", x)),
    "maximum": lambda b, x: b.op("Sub", x, b.op("ReduceMax", x, axes=(1,))),
}


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("gate", GATES)
def test_constants_hold_between_points(gate: str, norm: Norm, local: bool) -> None:
    network = tape(0, GATES[gate])
    g = torch.Generator().manual_seed(0)
    low = torch.randn(1, 4, generator=g, dtype=torch.float64)
    width = 1.0 if local else 20.0
    result = found(network, norm, Box(low, low + width) if local else None)
    x = low[0] + width * torch.rand(800, 4, generator=g, dtype=torch.float64)
    step = (
        10.0 ** (-4 * torch.rand(800, 1, generator=g, dtype=torch.float64))
        * torch.randn(800, 4, generator=g, dtype=torch.float64).sign()
    )
    y = torch.minimum(torch.maximum(x + step, low[0]), low[0] + width)
    run = torch.func.vmap(lambda p: network.run([p[None]])[-1][0])
    rise = (run(y) - run(x)).abs()
    size = (y - x).abs().amax(1) if norm == "linf" else (y - x).norm(dim=1)
    ratio = rise / size.clamp(min=1e-9)[:, None]
    slack = 1 + 1e-9
    assert bool((ratio.amax(0) <= result.per_output * slack).all())
    assert float(ratio.sum(1).max()) <= result.l1 * slack
    assert float(ratio.norm(dim=1).max()) <= result.l2 * slack
    assert float(result.per_output.max()) < 30 * float(ratio.max())


@pytest.mark.parametrize("seed", range(2))
def test_linear_networks_are_exact(seed: int) -> None:
    network = tape(seed, lambda b, x: x)
    run = network.run
    at = torch.cat([torch.zeros(1, 4), torch.eye(4)]).double()
    values = torch.stack([run([x[None]])[-1][0] for x in at])
    w = (values[1:] - values[0]).T
    wide, round_ = found(network, "linf", seconds=30), found(network, "l2", seconds=30)
    torch.testing.assert_close(wide.per_output, w.abs().sum(1), rtol=1e-3, atol=0)
    torch.testing.assert_close(round_.per_output, w.norm(dim=1), rtol=1e-6, atol=0)
    assert round_.l2 == pytest.approx(float(torch.linalg.matrix_norm(w, 2)), rel=1e-6)
    assert bool((wide.per_output >= w.abs().sum(1) * (1 - 1e-12)).all())
    assert round_.l2 >= float(torch.linalg.matrix_norm(w, 2)) * (1 - 1e-12)


def test_a_check_finds_the_same_again() -> None:
    network = tape(0, GATES["Relu"])
    result = found(network, "linf")
    again = check(network, None, "linf", result.parameters)
    assert torch.equal(result.per_output, again.per_output)
    assert (result.l1, result.l2) == (again.l1, again.l2)
    other = check(network, None, "linf", {k: v * float("nan") for k, v in result.parameters.items()})
    assert bool((other.per_output >= result.per_output * 0.5).all())


def test_many_outputs_have_a_sum() -> None:
    """More than all vectors of signs are tried for."""
    network = tape(0, GATES["Relu"], depth=2, outputs=20)
    result = found(network, "l2")
    assert result.l2 <= result.l1 <= float(result.per_output.sum()) * (1 + 1e-12)


def test_what_has_no_constant_is_refused() -> None:
    attrs: dict[str, Any] = {"scale": 0.1, "zero_point": 0, "dtype": "int8", "low": -128, "high": 127}
    box = Box(torch.zeros(1, 4).double(), torch.ones(1, 4).double())
    with pytest.raises(UnsupportedError, match=r"PL1393 node .*FakeQuantize.* it jumps"):
        found(tape(0, lambda b, x: b.op("FakeQuantize", x, **attrs)), "linf", box)
