"""Methods that know no domain: whatever the network, no chord is steeper than they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathlift.ir.errors import UnsupportedError
from pathlift.ir.graph import Graph
from pathlift.ir.text import parse_graph
from pathlift.models.certificates.lipschitz import Lipschitz, Norm, path_constant
from pathlift.passes.attacks.domain import Domain
from pathlift.passes.attacks.network import Network
from pathlift.passes.tape.record import input_shapes
from pathlift.testing.strategies import graphs

NORMS: tuple[Norm, ...] = ("linf", "l1", "l2")


@settings(max_examples=40)
@given(graphs(batch=1, max_nodes=8), st.integers(0, 99), st.sampled_from([0.1, 1.0, 30.0]))
def test_no_chord_is_steeper(graph: Graph, seed: int, size: float) -> None:
    shapes = input_shapes(graph)
    domain = Domain.from_interval(shapes, -size, size)
    network = Network(graph, domain)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.uniform(-size, size, (40, domain.elements)))
    y = (x + size * torch.from_numpy(rng.uniform(-1, 1, x.shape)) * torch.logspace(-3, 0, 40)[:, None].double()).clamp(
        -size, size
    )
    fx, fy = (network(domain.unflat(point)) for point in (x, y))
    rise = ((fy - fx).abs() - 1e-12 * (fx.abs() + fy.abs())).clamp(min=0)
    run = (y - x).abs().amax(1)
    found = {"linf": rise.amax(1) / run, "l1": rise.sum(1) / run, "l2": rise.norm(dim=1) / (y - x).norm(dim=1)}
    for norm in NORMS:
        for name, bound in Lipschitz(graph, shapes, norm, (), 10**9).everywhere().bounds.items():
            assert bound.value is not None
            assert float(found[norm].max()) <= bound.value * (1 + 1e-9) + 1e-12, (norm, name)


def test_paths_say_nothing_of_what_jumps() -> None:
    """Path-norms read quantizers as the identity, of which the steps are far steeper."""
    graph = parse_graph(
        "%x = Input : f64[1, 2]\n"
        '%y = FakeQuantize(%x) {scale=0.1, zero_point=3, dtype="u8", low=0, high=255}\n'
        "return %y"
    )
    with pytest.raises(UnsupportedError, match="FakeQuantize") as error:
        path_constant(graph, "linf", (), 10**9)
    assert error.value.code == "PL1395"
